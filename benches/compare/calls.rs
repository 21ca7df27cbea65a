//! Calls and results of 2 KB, as workloads have them: a system prompt, a text, parameters; an answer with its usage.

use offpeak::domain::body::Item;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// What a body and a result weigh.
const BYTES: usize = 2_000;

/// Different texts; each row is compressed by itself, so that a repetition gains nothing.
const TEXTS: usize = 1_000;

const MODEL: &str = "claude-haiku-4-5";

const WORDS: &str = "the of and to in a is that for it as was with be by on not he his but at are this have from or had \
    an they which one you were all her she there would their we him been has when who will no more if out so said what \
    up its about into than them can only other time new some could these two may first then do any like my now over \
    such our man me even most made after also did many off before must well back through years much where your way \
    down should because long each just state those people too mister how little good world make very year still see \
    own work men day get here between both life being under three never know same last another while us might great \
    go come since against right came take used himself few house american use place during high without again home \
    around small however found school part once general upon every war does got united left number course until \
    always away something fact water though less public put think almost hand enough took far head yet government \
    system set better told nothing night end why called eyes find going look asked later point knew next city \
    business case group toward young days let room word within side social given several order national possible \
    shipment customer refund invoice warranty delivery damaged replacement agent ticket priority summary category";

/// Texts of 2 KB with a word order of their own, the same in every run.
pub(crate) struct Texts {
    prompts: Vec<Item>,
    answers: Vec<String>,
}

impl Texts {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let words: Vec<&str> = WORDS.split_whitespace().collect();
        let mut random = StdRng::seed_from_u64(7);
        let mut prose = |bytes: usize| {
            let mut text = String::with_capacity(bytes + 16);
            while text.len() < bytes {
                // Squared, so that the words in front are the frequent ones, as in prose.
                let place = random.random::<f64>().powi(2) * words.len() as f64;
                text.push_str(words[place as usize]);
                text.push(' ');
            }
            text.truncate(bytes);
            text
        };
        let mut prompts = Vec::with_capacity(TEXTS);
        let mut answers = Vec::with_capacity(TEXTS);
        for number in 0..TEXTS {
            let prompt = prompt(&prose(BYTES - prompt("").len()));
            let refused = |why: offpeak::domain::body::NotDeferrable| anyhow::anyhow!(why.message);
            prompts.push(Item::read(prompt.as_bytes(), None).map_err(refused)?);
            answers.push(answer(number, &prose(BYTES - answer(number, "").len())));
        }
        Ok(Self { prompts, answers })
    }

    /// The body of a call.
    pub(crate) fn prompt(&self, number: usize) -> &Item {
        &self.prompts[number % TEXTS]
    }

    /// The Message of a result.
    pub(crate) fn answer(&self, number: usize) -> &str {
        &self.answers[number % TEXTS]
    }
}

fn prompt(text: &str) -> String {
    format!(
        r#"{{"model":"{MODEL}","max_tokens":512,"temperature":0.2,"system":"You sort the letters of customers. Answer with one category and a summary.","metadata":{{"user_id":"nightly"}},"messages":[{{"role":"user","content":[{{"type":"text","text":"{text}"}}]}}]}}"#
    )
}

fn answer(number: usize, text: &str) -> String {
    format!(
        r#"{{"id":"msg_{number:024}","type":"message","role":"assistant","model":"{MODEL}","content":[{{"type":"text","text":"{text}"}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":512,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":{{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}},"output_tokens":431,"service_tier":"batch"}}}}"#
    )
}
