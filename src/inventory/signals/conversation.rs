//! Not a conversation, or one: whether calls go on from the answers of earlier ones.

use std::collections::HashMap;

use super::Findings;
use crate::inventory::assessment::{SignalKind, VetoKind};
use crate::inventory::figures::{count, percent};
use crate::inventory::sample::{Sample, Seen as Call};
use crate::inventory::workload::Workload;

/// Points for calls none of which goes on from another.
const WEIGHT: i32 = 10;

/// The part of calls that may go on from an earlier one without it being a conversation.
const HARDLY: f64 = 0.05;
/// The part from which on it is one.
const OFTEN: f64 = 0.2;
/// The part of calls with several turns, of many lengths, that makes a conversation although the sample does not show
/// its earlier calls.
const SEVERAL_TURNS: f64 = 0.4;
/// How many lengths are many: examples in a prompt make every call equally long.
const LENGTHS: usize = 5;
/// How many calls it takes to tell.
const ENOUGH: usize = 12;

pub(super) fn look(workload: &Workload, found: &mut Findings) {
    let sample = &workload.sample;
    if workload.knows_messages() {
        by_messages(sample, found);
    } else {
        by_tokens(sample, found);
    }
}

/// Where the message lists are known: one that has grown since an earlier call with the same opening goes on from it.
fn by_messages(sample: &Sample, found: &mut Findings) {
    let mut shortest: HashMap<u64, u32> = HashMap::new();
    let mut lengths: HashMap<u32, usize> = HashMap::new();
    let (mut calls, mut grown, mut several) = (0usize, 0usize, 0usize);
    for call in sample.calls().filter(|call| call.messages > 0) {
        calls += 1;
        let known = shortest.entry(call.opening_hash).or_insert(call.messages);
        grown += usize::from(call.messages > *known);
        *known = call.messages.min(*known);
        // A user, an assistant, and a user again.
        several += usize::from(call.messages >= 3);
        *lengths.entry(call.messages).or_default() += 1;
    }
    if calls < ENOUGH {
        return;
    }
    let part = |some: usize| some as f64 / calls as f64;
    if part(grown) >= OFTEN {
        let evidence =
            format!("{} % of calls go on from an earlier one, their message lists growing", percent(part(grown)));
        found.veto(VetoKind::Conversation, evidence);
    } else if part(several) >= SEVERAL_TURNS && lengths.len() >= LENGTHS {
        let evidence = format!(
            "{} % of calls carry several turns, {} different numbers of them",
            percent(part(several)),
            lengths.len()
        );
        found.veto(VetoKind::Conversation, evidence);
    } else if part(grown) <= HARDLY {
        let evidence = format!("{} % of {} calls go on from an earlier one", percent(part(grown)), count(calls as u64));
        found.signal(SignalKind::NoConversation, WEIGHT, 1.0 - part(grown) / HARDLY / 2.0, evidence);
    }
}

/// Where they are not: within one session, a prompt that each time has become longer by about the answer before goes on
/// from it.
fn by_tokens(sample: &Sample, found: &mut Findings) {
    let mut last: HashMap<u64, &Call> = HashMap::new();
    let (mut pairs, mut grown) = (0usize, 0usize);
    for call in sample.calls().filter(|call| call.tokens.prompt() > 0) {
        if let Some(before) = last.insert(call.opening_hash, call) {
            pairs += 1;
            grown += usize::from(goes_on(before, call));
        }
    }
    if pairs >= ENOUGH && grown as f64 / pairs as f64 >= MOSTLY_GROWN {
        let evidence = format!(
            "{} % of {} calls bring the prompt and the answer of the one before",
            percent(grown as f64 / pairs as f64),
            count(pairs as u64)
        );
        found.veto(VetoKind::Conversation, evidence);
    }
}

/// The part of prompts grown by the answer before that makes a conversation. By chance it is up to a half.
const MOSTLY_GROWN: f64 = 0.62;

fn goes_on(before: &Call, call: &Call) -> bool {
    let (prompt, answer) = (before.tokens.prompt(), before.tokens.output);
    // Some of an answer may be left out (thinking), and what is new is rarely longer than all that was before.
    let after = prompt + answer / 3;
    call.tokens.prompt() >= after.max(prompt + 1) && call.tokens.prompt() <= 2 * prompt + 2 * answer + 20_000
}
