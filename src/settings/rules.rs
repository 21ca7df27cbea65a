//! The `[[rule]]` sections.

use std::time::Duration;

use url::Url;

use super::lists::names_are_unique;
use super::reader::Reader;
use crate::domain::likeness::nearest;
use crate::domain::policy::{Action, Cache, Condition, NAME_FORM, Reply, Rule, is_name};
use crate::domain::units::DURATION_MAX;
use crate::egress;

/// The most rules: each call may have to ask all of them.
const RULES_MAX: usize = 1_000;

/// What a callback may look like, for error texts.
const CALLBACK_FORM: &str = "a receiver's name or an https URL";

/// Reads them; what they call upon, receivers and hosts, was read before.
pub(super) fn rules(read: &mut Reader<'_>, receivers: &[String], egress: &egress::Settings) -> Vec<Rule> {
    let items = read.items("rule");
    if let Some(item) = items.get(RULES_MAX) {
        read.fault(item, format!("there are at most {RULES_MAX} rules; join some with || in one condition"));
    }
    let rules = items.iter().map(|item| rule(read, item, receivers, egress)).collect();
    names_are_unique(read, "rule");
    rules
}

fn rule(read: &mut Reader<'_>, item: &str, receivers: &[String], egress: &egress::Settings) -> Rule {
    let path = |key: &str| format!("{item}.{key}");
    Rule {
        name: read.string(&path("name"), NAME_FORM, is_name).into(),
        when: condition(read, &path("when")),
        action: read.choice(&path("action"), &Action::ALL.map(|action| (action.as_str(), action)), Action::Live),
        rollout: given(read, &path("rollout"), |read, path| read.integer(path, 0..=100))
            .map_or(100, |percent| u8::try_from(percent).unwrap_or(100)),
        deadline: given(read, &path("deadline"), |read, path| read.duration(path, Duration::ZERO..=DURATION_MAX)),
        reply: given(read, &path("reply"), |read, path| {
            read.choice(path, &[Reply::Hold, Reply::Ticket].map(|reply| (reply.as_str(), reply)), Reply::Hold)
        })
        .unwrap_or(Reply::Hold),
        workload: given(read, &path("workload"), |read, path| read.name(path)),
        callback: given(read, &path("callback"), |read, path| callback(read, path, receivers, egress)),
        cache: given(read, &path("cache"), |read, path| {
            read.choice(path, &[Cache::Off, Cache::Auto].map(|cache| (cache.as_str(), cache)), Cache::Off)
        })
        .unwrap_or(Cache::Off),
    }
}

/// Reads a key that may be left out.
fn given<T>(read: &mut Reader<'_>, path: &str, how: impl FnOnce(&mut Reader<'_>, &str) -> T) -> Option<T> {
    read.is_given(path).then(|| how(read, path))
}

fn condition(read: &mut Reader<'_>, path: &str) -> Condition {
    let text = read.string(path, "a CEL expression in a text", |text| !text.is_empty());
    if text.is_empty() {
        return Condition::default();
    }
    Condition::compile(&text).unwrap_or_else(|mistakes| {
        for mistake in mistakes {
            read.fault_within(path, mistake.at, mistake.problem);
        }
        Condition::default()
    })
}

/// A callback that is judged now as far as that goes: where the name in a URL leads is judged at every call.
fn callback(read: &mut Reader<'_>, path: &str, receivers: &[String], egress: &egress::Settings) -> String {
    let text = read.hidden(path, CALLBACK_FORM, |text| Some(text.to_owned())).unwrap_or_default();
    if receivers.contains(&text) {
        return text;
    }
    match Url::parse(&text).ok().filter(|_| text.contains("://")) {
        Some(url) => {
            if let Err(forbidden) = egress.check(&url) {
                read.fault(
                    path,
                    format!("{forbidden}; a [[receiver]] may be anywhere, and webhooks.allow_hosts excepts"),
                );
            }
        }
        None => {
            let names: Vec<&str> = receivers.iter().map(String::as_str).collect();
            let instead = match (nearest(&text, &names), names.as_slice()) {
                (Some(near), _) => format!("did you mean \"{near}\"?"),
                (None, []) => "no [[receiver]] is configured".to_owned(),
                (None, names) => format!("the receivers are {}", names.join(", ")),
            };
            read.fault(path, format!("expected {CALLBACK_FORM}; {instead}"));
        }
    }
    text
}
