//! The condition by which a rule knows the calls of a workload.

use super::quote::cel;
use crate::inventory::workload::{Share, Workload};

/// What a condition begins with that compares a prompt.
const SYSTEM: &str = "request.system_prefix";

/// The part of calls whose models and clients a condition must name; the rest is strays.
const NEARLY_ALL: f64 = 0.98;

/// So many models or clients are named; of more, what they have in common.
const NAMED_MAX: usize = 3;

/// So many characters of a prompt's beginning are in `request.system_prefix`.
const PREFIX_MAX: usize = 200;

/// A beginning of a prompt with fewer characters than this says too little.
const PREFIX_MIN: usize = 16;

/// A condition.
pub(super) struct Condition {
    /// In CEL.
    pub(super) text: String,
    /// Whether calls of other workloads may match as well.
    pub(super) is_broad: bool,
    /// What to know about it.
    pub(super) notes: Vec<String>,
}

/// The condition that the calls of a workload match.
pub(super) fn condition(workload: &Workload) -> Condition {
    let profile = &workload.profile;
    if profile.is_imported {
        let name = super::workload_name(&profile.workload);
        let notes = vec![
            "The file does not show how to recognise these calls. Let them send the header".to_owned(),
            format!("x-defer-workload: {name}"),
        ];
        return Condition { text: format!("workload == {}", cel(&name)), is_broad: false, notes };
    }
    if profile.is_named() {
        let text = format!("workload == {}", cel(&profile.workload));
        return Condition { text, is_broad: false, notes: Vec::new() };
    }
    by_looks(workload)
}

/// The condition for a workload that has no name.
fn by_looks(workload: &Workload) -> Condition {
    let profile = &workload.profile;
    let mut parts = Vec::new();
    parts.extend(one_of("request.model", &profile.models, undated));
    parts.extend(one_of("headers[\"user-agent\"]", &profile.clients, unversioned));
    parts.push(match profile.tools {
        (fewest, most) if fewest == most => format!("request.tools == {fewest}"),
        (fewest, most) => format!("request.tools >= {fewest} && request.tools <= {most}"),
    });
    if let [tenant] = profile.tenants.as_slice() {
        parts.push(format!("tenant == {}", cel(&tenant.name)));
    }
    let mut notes = Vec::new();
    let has_prompt = workload.sample.calls().any(|call| call.prefix_bytes > 0);
    let is_broad = match (&profile.system_prefix, has_prompt) {
        (Some(prefix), _) if !prefix.is_empty() => {
            parts.push(format!("{SYSTEM}.startsWith({})", cel(lasting(prefix))));
            false
        }
        (_, true) => {
            notes.push(
                "How its system prompt begins is not kept (inventory.prompt_preview), so other workloads may".into(),
            );
            notes.push("match as well. Narrow the condition before you let it defer.".into());
            true
        }
        (_, false) => {
            parts.push(format!("{SYSTEM} == \"\""));
            false
        }
    };
    Condition { text: parts.join(" && "), is_broad, notes }
}

/// That a value begins like one of these; nothing if they have nothing in common.
fn one_of(what: &str, shares: &[Share], begin: fn(&str) -> &str) -> Option<String> {
    let all: u64 = shares.iter().map(|share| share.calls).sum();
    let mut begins: Vec<&str> = Vec::new();
    let mut named = 0;
    for share in shares {
        if named as f64 >= NEARLY_ALL * all as f64 && !begins.is_empty() {
            break;
        }
        named += share.calls;
        let begin = begin(&share.name);
        if !begins.contains(&begin) {
            begins.push(begin);
        }
    }
    if begins.len() > NAMED_MAX {
        begins = vec![in_common(&begins)];
    }
    let parts: Vec<_> = begins
        .iter()
        .filter(|begin| !begin.is_empty())
        .map(|begin| format!("{what}.startsWith({})", cel(begin)))
        .collect();
    match parts.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        some => Some(format!("({})", some.join(" || "))),
    }
}

/// What some texts have in common at their beginning.
fn in_common<'a>(texts: &[&'a str]) -> &'a str {
    let Some((first, rest)) = texts.split_first() else { return "" };
    let same = |end: &usize| rest.iter().all(|text| text.starts_with(&first[..*end]));
    let ends = first.char_indices().map(|(at, c)| at + c.len_utf8());
    &first[..ends.take_while(same).last().unwrap_or(0)]
}

/// A model without the date behind it.
fn undated(model: &str) -> &str {
    match model.rsplit_once('-') {
        Some((name, date)) if date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => model,
    }
}

/// A client without its version, which changes with every update.
fn unversioned(client: &str) -> &str {
    match client.find(|c: char| c.is_ascii_digit()) {
        None | Some(0) => client,
        Some(digit) => &client[..digit],
    }
}

/// The part of a prompt's beginning that will hold tomorrow: not the date, if one is in it.
fn lasting(prefix: &str) -> &str {
    let prefix = prefix.char_indices().nth(PREFIX_MAX).map_or(prefix, |(end, _)| &prefix[..end]);
    let digit = prefix.find(|c: char| c.is_ascii_digit()).unwrap_or(prefix.len());
    let lasting = &prefix[..digit];
    if lasting.chars().count() >= PREFIX_MIN { lasting } else { prefix }
}
