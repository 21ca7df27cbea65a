//! Prompt repeats: the share of the prompt that calls have in common, which a cache would serve at a fraction.

use std::collections::HashMap;

use super::Findings;
use crate::inventory::assessment::SignalKind;
use crate::inventory::figures::{percent, share};
use crate::inventory::workload::Workload;

/// Points for prompts that are nearly all shared: jobs fill forms, people write.
const WEIGHT: i32 = 5;

/// Less than this part is not worth a word.
const LITTLE: f64 = 0.2;
/// How many calls it takes to tell.
const ENOUGH: usize = 12;

pub(super) fn look(workload: &Workload, found: &mut Findings) {
    let (mut bytes, mut prefix_bytes, mut calls) = (0u64, 0u64, 0usize);
    let mut prefixes: HashMap<u64, usize> = HashMap::new();
    for call in workload.sample.calls() {
        calls += 1;
        bytes += call.request_bytes;
        prefix_bytes += call.prefix_bytes.min(call.request_bytes);
        if call.prefix_hash != 0 {
            *prefixes.entry(call.prefix_hash).or_default() += 1;
        }
    }
    if calls < ENOUGH {
        return;
    }
    let tokens = &workload.sums.tokens;
    let cached = share(tokens.cache_read, tokens.prompt());
    let prefix = share(prefix_bytes, bytes);
    // A prefix that no second call has is shared with nobody.
    let in_common = prefixes.values().filter(|calls| **calls > 1).sum::<usize>() as f64 / calls as f64;
    let repeats = (prefix * in_common).max(cached);
    if repeats >= LITTLE {
        let shared = format!("{} % of the prompt is tools and system prompt in common", percent(prefix * in_common));
        let evidence = match (prefix > 0.0, cached > 0.0) {
            (_, false) => shared,
            (true, true) => format!("{shared}; {} % is read from the cache", percent(cached)),
            (false, true) => format!("{} % of the prompt is read from the cache", percent(cached)),
        };
        found.signal(SignalKind::SharedPrompt, WEIGHT, repeats, evidence);
    }
}
