//! What the calls of one job look like: prompt, answer, and how long the answer takes.

use offpeak::clock::Timestamp;
use offpeak::domain::money::NanoUsd;
use offpeak::domain::record::CallRecord;
use offpeak::domain::usage::Tokens;
use rand::RngExt as _;
use rand::rngs::StdRng;

/// Bytes of a request for each token of its prompt.
pub(crate) const BYTES: u64 = 4;

/// Nano-dollars for a search of the web, live or in a batch.
const SEARCH: u64 = 10_000_000;

/// A job.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    pub(crate) model: &'static str,
    pub(crate) client: &'static str,
    /// Tokens of its tools and system prompt.
    pub(crate) prefix: u64,
    /// Tokens that are each call's own, from and to.
    pub(crate) own: (u64, u64),
    /// Tokens of its answers, from and to.
    pub(crate) answer: (u64, u64),
    pub(crate) stream: bool,
    pub(crate) tools: u32,
    /// Whether its prefix comes from the cache already.
    pub(crate) cached: bool,
    /// How often each of its calls searches the web.
    pub(crate) searches: u64,
    /// Which prompt it has: a change of it is another number.
    pub(crate) prompt: u64,
}

pub(crate) const JOB: Job = Job {
    model: "claude-haiku-5-5",
    client: "Anthropic/Python 2.12.0",
    prefix: 900,
    own: (200, 1_500),
    answer: (60, 400),
    stream: false,
    tools: 0,
    cached: false,
    searches: 0,
    prompt: 1,
};

impl Job {
    /// A call of it.
    pub(crate) fn call(&self, random: &mut StdRng, at: i64) -> CallRecord {
        let own = random.random_range(self.own.0..=self.own.1);
        let opening = random.random();
        self.turn(random, at, own, 1, opening)
    }

    /// A call with so many tokens of its own, in a list of so many messages that begins with `opening`.
    pub(crate) fn turn(&self, random: &mut StdRng, at: i64, own: u64, messages: u32, opening: u64) -> CallRecord {
        let output = random.random_range(self.answer.0..=self.answer.1);
        let input = self.prefix + own;
        let first_byte_ms = random.random_range(350..1_400);
        // JSON around the text, which is not much.
        let around = random.random_range(98..103);
        CallRecord {
            at: Timestamp::from_millis(at),
            tenant: "team".to_owned(),
            model: self.model.to_owned(),
            tokens: match self.cached {
                true => Tokens { input: own, output, cache_read: self.prefix, ..Tokens::default() },
                false => Tokens { input, output, ..Tokens::default() },
            },
            fees: NanoUsd((self.searches * SEARCH) as i64),
            status: 200,
            request_bytes: input * BYTES * around / 100,
            answer_bytes: output * 4 + 400,
            first_byte_ms,
            duration_ms: first_byte_ms + output * random.random_range(10..17),
            client: self.client.to_owned(),
            stream: self.stream,
            max_tokens: 1_024,
            messages,
            tools: self.tools,
            system_hash: self.prompt,
            tools_hash: u64::from(self.tools) * 7_919,
            opening_hash: opening,
            prefix_bytes: self.prefix * BYTES,
            ..CallRecord::default()
        }
    }
}
