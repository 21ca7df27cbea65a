//! `offpeak try-rule`: had these rules been on, what would they have done?

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::AdminArgs;
use super::config::environment;
use super::table::pairs;
use crate::domain::policy::Rule;
use crate::domain::units::{format_duration, parse_duration};
use crate::settings::{Settings, Sources};

/// Which rules, over which time.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A settings file with [[rule]] sections, such as `offpeak inventory --suggest` prints
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How far back to look
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration)]
    since: Duration,
    #[command(flatten)]
    admin: AdminArgs,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|since| !since.is_zero())
        .ok_or_else(|| "expected a duration such as 7d or 12h".to_owned())
}

/// What the gateway tells.
#[derive(Deserialize)]
struct Told {
    data: Vec<Tried>,
    calls: u64,
    since: String,
    until: String,
    complete: bool,
}

#[derive(Deserialize)]
struct Tried {
    rule: String,
    matched: u64,
    unknown: u64,
    failed: u64,
    eligible: u64,
    ineligible: BTreeMap<String, u64>,
    deferred_already: u64,
    rollout: u8,
    live_price: f64,
    saving: f64,
    saving_at_rollout: f64,
    unpriced: u64,
    tool_turns: u64,
    streams: u64,
    hung_up: u64,
    live_ms: Percentiles,
    batch_ms: Percentiles,
}

#[derive(Deserialize)]
struct Percentiles {
    p50: Option<u64>,
    p90: Option<u64>,
    p99: Option<u64>,
}

/// Asks a running gateway, and shows what it tells.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let sources = Sources { file: Some(args.file.clone()), environment: environment() };
    let rules = Settings::load(&sources)?.settings.intake.rules;
    if rules.is_empty() {
        bail!("{} has no [[rule]] in it", args.file.display());
    }
    let question = json!({"rules": rules.iter().map(asked).collect::<Vec<_>>()}).to_string();
    let path = format!("/api/rules/try?since={}", format_duration(args.since));
    args.admin.open()?.put_question(&path, question, |told: &Told| shown(told)).await
}

fn asked(rule: &Rule) -> Value {
    let deadline = rule.deadline.map(|deadline| format!("{}ms", deadline.as_millis()));
    json!({"name": &*rule.name, "when": rule.when.text(), "rollout": rule.rollout, "deadline": deadline})
}

fn shown(told: &Told) -> String {
    let mut parts: Vec<String> = told.data.iter().map(one).collect();
    let of = format!("Out of {} from {} to {}.", calls(told.calls), told.since, told.until);
    parts.push(if told.complete { of } else { format!("{of} There are more: a shorter --since shows the newest.") });
    parts.join("\n\n")
}

fn one(tried: &Tried) -> String {
    let mut facts = vec![("rule", tried.rule.clone()), ("would decide over", calls(tried.matched))];
    let mut some = |name, count: u64, what: &str| {
        if count > 0 {
            facts.push((name, format!("{}{what}", calls(count))));
        }
    };
    some("cannot be told of", tried.unknown, ": it asks for what a record does not keep");
    some("would fail on", tried.failed, ", which is no match");
    some("deferred anyway", tried.deferred_already, "");
    some("could be deferred", tried.eligible, "");
    for (reason, count) in &tried.ineligible {
        facts.push(("could not", format!("{} ({reason})", calls(*count))));
    }
    if tried.eligible > 0 {
        facts.push(("cost live", dollars(tried.live_price)));
        let rollout = format!("{} at a rollout of {} %", dollars(tried.saving_at_rollout), tried.rollout);
        let partly = if tried.rollout < 100 { format!(", {rollout}") } else { String::new() };
        facts.push(("would save", format!("{}{partly}", dollars(tried.saving))));
        if tried.unpriced > 0 {
            facts.push(("without a price", calls(tried.unpriced)));
        }
        facts.push(("took live", times(&tried.live_ms)));
    }
    if tried.batch_ms.p50.is_some() {
        facts.push(("took in batches", times(&tried.batch_ms)));
    }
    let waits = [(tried.tool_turns, "within a tool loop"), (tried.streams, "streams"), (tried.hung_up, "given up")];
    let waits: Vec<_> = waits.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if !waits.is_empty() {
        facts.push(("may be waited for", waits.join(", ")));
    }
    pairs(&facts)
}

fn calls(count: u64) -> String {
    if count == 1 { "1 call".to_owned() } else { format!("{count} calls") }
}

fn dollars(amount: f64) -> String {
    format!("${amount:.4}")
}

fn times(times: &Percentiles) -> String {
    let one = |millis: Option<u64>| format_duration(Duration::from_millis(rounded(millis.unwrap_or(0))));
    format!("{} (p50), {} (p90), {} (p99)", one(times.p50), one(times.p90), one(times.p99))
}

/// No finer than it was kept: whole seconds from one on.
fn rounded(millis: u64) -> u64 {
    if millis < 1_000 { millis } else { millis / 1_000 * 1_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_what_there_is_to_see() {
        let told = json!({
            "data": [
                {"rule": "nightly", "matched": 10, "unknown": 2, "failed": 1, "eligible": 6, "ineligible": {"thread": 3},
                 "deferred_already": 1, "rollout": 10, "live_price": 1.5, "saving": 0.75, "saving_at_rollout": 0.075,
                 "unpriced": 1, "tool_turns": 2, "streams": 0, "hung_up": 1,
                 "live_ms": {"p50": 900, "p90": 2_400, "p99": 61_000}, "batch_ms": {"p50": 600_000, "p90": 1, "p99": 1}},
                {"rule": "none", "matched": 0, "unknown": 0, "failed": 0, "eligible": 0, "ineligible": {},
                 "deferred_already": 0, "rollout": 100, "live_price": 0, "saving": 0, "saving_at_rollout": 0,
                 "unpriced": 0, "tool_turns": 0, "streams": 0, "hung_up": 0,
                 "live_ms": {"p50": null, "p90": null, "p99": null}, "batch_ms": {"p50": null, "p90": null, "p99": null}},
            ],
            "calls": 100, "since": "a", "until": "b", "complete": false,
        });
        insta::assert_snapshot!(shown(&serde_json::from_value(told).unwrap()), @r##"
        rule               nightly
        would decide over  10 calls
        cannot be told of  2 calls: it asks for what a record does not keep
        would fail on      1 call, which is no match
        deferred anyway    1 call
        could be deferred  6 calls
        could not          3 calls (thread)
        cost live          $1.5000
        would save         $0.7500, $0.0750 at a rollout of 10 %
        without a price    1 call
        took live          900ms (p50), 2s (p90), 1m1s (p99)
        took in batches    10m (p50), 1ms (p90), 1ms (p99)
        may be waited for  2 within a tool loop, 1 given up

        rule               none
        would decide over  0 calls

        Out of 100 calls from a to b. There are more: a shorter --since shows the newest.
        "##);
    }
}
