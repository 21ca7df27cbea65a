//! Suggesting rules: what an operator may paste into the settings, the most valuable first.
//!
//! A rule begins with a tenth of its calls. That is enough to see whether anybody complains, and the rollout is sticky:
//! raising it later moves further calls and takes none back. Whoever would rather look first writes `observe`.

mod condition;
mod quote;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Duration;

use crate::domain::units::format_duration;
use crate::inventory::assessment::{Assessment, SignalKind, Verdict};
use crate::inventory::figures::{count, dollars};
use crate::inventory::workload::Workload;

use condition::{Condition, condition};
use quote::{comment, toml};

/// The part of a workload's calls that a rule begins with, in percent.
const ROLLOUT: u8 = 10;

/// A deadline is as long as the job's period, within these: a batch takes up to an hour as a rule, and a day at most.
const DEADLINE_MIN: Duration = Duration::from_secs(3_600);
const DEADLINE_MAX: Duration = Duration::from_secs(86_400);

/// So many workloads that are worth a look are named below the rules.
const LOOKS_MAX: usize = 10;

/// The longest name of a rule, and of a workload.
const NAME_MAX: usize = 64;

/// Rules for the candidates among these as TOML, and what else is worth a look as comments. Without a candidate there
/// are comments alone.
pub fn suggest(assessed: &[(Workload, Assessment)]) -> String {
    let mut ranked: Vec<_> = assessed.iter().collect();
    ranked.sort_by_key(|(workload, assessment)| {
        (Reverse(assessment.savings.batch_cached), workload.profile.workload.as_str())
    });
    let of = |verdict| ranked.iter().filter(move |(_, assessment)| assessment.verdict == verdict);
    let worth = |one: &&&(Workload, Assessment)| one.1.savings.batch.0 > 0;
    let mut names = HashSet::new();
    let rules: Vec<_> = of(Verdict::Candidate).filter(worth).map(|one| rule(one, &mut names)).collect();
    let mut text = head(rules.len());
    for rule in rules {
        text.push('\n');
        text.push_str(&rule);
    }
    let looks: Vec<_> = of(Verdict::Look).filter(worth).take(LOOKS_MAX).map(|one| look(one)).collect();
    if !looks.is_empty() {
        text.push_str("\n# Not suggested, but worth a look by somebody who knows them:\n");
        text.push_str(&looks.concat());
    }
    text
}

fn head(rules: usize) -> String {
    if rules == 0 {
        return "# No workload looks as if nobody waited for it, so there is no rule to suggest.\n".to_owned();
    }
    format!(
        "# Suggested from recorded traffic, the most valuable first. Each rule begins with {ROLLOUT} % of its calls; the\n\
         # same calls stay with it when `rollout` is raised. To see first what it would do, write action = \"observe\".\n"
    )
}

/// One rule with the reasons for it.
fn rule((workload, assessment): &(Workload, Assessment), names: &mut HashSet<String>) -> String {
    let name = unique(rule_name(&workload.profile.workload), names);
    let Condition { text: when, is_broad, notes } = condition(workload);
    let mut lines = reasons(workload, assessment);
    lines.extend(notes);
    let mut text: String = lines.iter().map(|line| comment(line)).collect();
    let action = if is_broad { "observe" } else { "defer" };
    let settings = [
        ("name", toml(&name)),
        ("when", toml(&when)),
        ("action", toml(action)),
        ("rollout", ROLLOUT.to_string()),
        ("deadline", toml(&format_duration(deadline(assessment)))),
        ("reply", toml("hold")),
        ("workload", toml(&workload_name(&workload.profile.workload))),
        ("cache", toml(cache(assessment))),
    ];
    text.push_str("[[rule]]\n");
    for (key, value) in settings {
        // A fingerprint is a name already; given to a workload as one, it would begin another.
        if key != "workload" || workload.profile.is_named() {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text
}

/// What speaks for it: calls, dollars, and what was seen.
fn reasons(workload: &Workload, assessment: &Assessment) -> Vec<String> {
    let savings = &assessment.savings;
    let cached = match savings.batch_cached > savings.batch {
        true => format!(", and up to {} with the shared prompt cached", dollars(savings.batch_cached)),
        false => String::new(),
    };
    let mut lines = vec![
        format!(
            "{}: {} calls a month for {}",
            workload.profile.workload,
            count(savings.monthly_calls),
            dollars(savings.monthly_live)
        ),
        format!("saves {} a month in batches{cached}; score {} of 100", dollars(savings.batch), assessment.score),
    ];
    lines.extend(assessment.signals.iter().map(|signal| format!("- {}: {}", signal.kind.as_str(), signal.evidence)));
    for one in &savings.ineligible {
        let calls = count(one.monthly_calls);
        lines.push(format!("{calls} calls a month stay live, since no batch takes them: {}", one.reason));
    }
    if assessment.signals.iter().any(|signal| signal.kind == SignalKind::Queue) {
        lines.push(
            "Its workers wait for each answer, which now takes minutes: give the job more of them, or let it".into(),
        );
        lines.push("send `x-defer` and collect tickets, before you raise `rollout`.".into());
    }
    lines
}

/// A result is of use until the next run.
fn deadline(assessment: &Assessment) -> Duration {
    let every = assessment.signals.iter().find_map(|signal| signal.every_seconds);
    every.map_or(DEADLINE_MAX, |seconds| Duration::from_secs(seconds).clamp(DEADLINE_MIN, DEADLINE_MAX))
}

fn cache(assessment: &Assessment) -> &'static str {
    if assessment.savings.batch_cached > assessment.savings.batch { "auto" } else { "off" }
}

fn look((workload, assessment): &(Workload, Assessment)) -> String {
    let savings = dollars(assessment.savings.batch);
    comment(&format!("{}: up to {savings} a month, score {} of 100", workload.profile.workload, assessment.score))
}

/// A name that a rule may have: visible ASCII and blanks, no quotes.
fn rule_name(workload: &str) -> String {
    let allowed = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\\');
    let name: String = workload.chars().map(|c| if allowed(c) { c } else { '-' }).take(NAME_MAX).collect();
    match name.trim() {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    }
}

/// The name that a workload may have: `A-Za-z0-9._-`.
fn workload_name(workload: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = workload.chars().map(|c| if allowed(c) { c } else { '-' }).take(NAME_MAX).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

/// A name that no rule above has.
fn unique(name: String, names: &mut HashSet<String>) -> String {
    let numbered = (2..).map(|number| {
        let end = format!("-{number}");
        // Names are ASCII, so that any place is between two characters.
        format!("{}{end}", &name[..name.len().min(NAME_MAX - end.len())])
    });
    let free = std::iter::once(name.clone()).chain(numbered).find(|name| !names.contains(name));
    let free = free.unwrap_or(name);
    names.insert(free.clone());
    free
}
