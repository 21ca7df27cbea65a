//! A sample of a workload's calls: runs of consecutive ones, so that what follows on what can still be seen.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::domain::record::CallRecord;
use crate::domain::usage::Tokens;

/// Runs of consecutive calls. If every call of the window is in it, that is one run; else several short runs spread
/// over the window tell more than one long one.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    runs: Vec<Vec<Seen>>,
    models: Vec<Arc<str>>,
    whole: bool,
}

/// What is looked at of one call.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it arrived.
    pub at: Timestamp,
    /// From arrival to the end of the answer, in milliseconds.
    pub duration_ms: u64,
    /// From arrival to the first byte of the answer, in milliseconds.
    pub first_byte_ms: u64,
    /// How long the answer stood still because its reader did not take it, in milliseconds.
    pub reader_wait_ms: u64,
    /// The model that was asked for.
    pub model: Arc<str>,
    /// What it took.
    pub tokens: Tokens,
    /// The length of the request's body, in bytes.
    pub request_bytes: u64,
    /// The length of its tools and system prompt, in bytes.
    pub prefix_bytes: u64,
    /// How many messages it carries.
    pub messages: u32,
    /// A hash of its first message.
    pub opening_hash: u64,
    /// A hash of its tools and system prompt; 0 without either.
    pub prefix_hash: u64,
    /// Whether it asked for a stream.
    pub stream: bool,
    /// A turn within a tool loop, or an answer that stopped to use a tool.
    pub tools_used: bool,
    /// Whether its client left before the answer's end.
    pub hung_up: bool,
}

impl Sample {
    /// A sample of these runs, each in order of arrival; `whole` says that no call of the window is missing.
    pub fn of<'a, R>(runs: impl IntoIterator<Item = R>, whole: bool) -> Self
    where
        R: IntoIterator<Item = &'a CallRecord>,
    {
        let mut sample = Self { whole, ..Self::default() };
        for run in runs {
            let run = run.into_iter().map(|call| sample.see(call)).collect::<Vec<_>>();
            sample.push(run);
        }
        sample
    }

    /// What is looked at of a call; the names of models are kept once.
    pub fn see(&mut self, call: &CallRecord) -> Seen {
        let model = match self.models.iter().find(|known| ***known == *call.model) {
            Some(known) => known.clone(),
            None => {
                let model: Arc<str> = call.model.as_str().into();
                self.models.push(model.clone());
                model
            }
        };
        Seen {
            at: call.at,
            duration_ms: call.duration_ms,
            first_byte_ms: call.first_byte_ms,
            reader_wait_ms: call.reader_wait_ms,
            model,
            tokens: call.tokens,
            request_bytes: call.request_bytes,
            prefix_bytes: call.prefix_bytes,
            messages: call.messages,
            opening_hash: call.opening_hash,
            // Odd, so that no bit of either is lost; equal hashes must not cancel each other out.
            prefix_hash: call.system_hash ^ call.tools_hash.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            stream: call.stream,
            tools_used: call.tool_turn || call.tool_stop,
            hung_up: call.hung_up,
        }
    }

    /// Adds a run, in order of arrival; an empty one is none.
    pub fn push(&mut self, run: Vec<Seen>) {
        if !run.is_empty() {
            self.runs.push(run);
        }
    }

    /// Says whether no call of the window is missing.
    pub(super) fn set_whole(&mut self, whole: bool) {
        self.whole = whole;
    }

    /// Its runs.
    pub fn runs(&self) -> &[Vec<Seen>] {
        &self.runs
    }

    /// Its calls.
    pub fn calls(&self) -> impl Iterator<Item = &Seen> {
        self.runs.iter().flatten()
    }

    /// How many calls it has.
    pub fn len(&self) -> usize {
        self.runs.iter().map(Vec::len).sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether no call of the window is missing.
    pub fn is_whole(&self) -> bool {
        self.whole
    }
}
