//! Suggested rules are rules: they parse, they match the calls that they are for, and no text breaks out of them.

use cel::{Context, Program, Value};
use proptest::prelude::*;
use serde::Deserialize;

use super::suggest;
use crate::clock::Timestamp;
use crate::domain::money::NanoUsd;
use crate::domain::policy;
use crate::domain::record::CallRecord;
use crate::inventory::workload::{Profile, Share, Sums, Window, Workload};
use crate::inventory::{Assessment, Ineligible, Part, Sample, Savings, Signal, SignalKind, Verdict};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    rule: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    name: String,
    when: String,
    action: String,
    rollout: u8,
    deadline: String,
    reply: String,
    workload: Option<String>,
    cache: String,
}

/// What a rule can see of a call.
struct Call<'a> {
    model: &'a str,
    client: &'a str,
    system: &'a str,
    tools: i64,
    workload: &'a str,
    tenant: &'a str,
}

fn workload(name: &str, system: Option<&str>) -> Workload {
    let share = |name: &str| Share { name: name.to_owned(), calls: 10 };
    let call = CallRecord { messages: 1, prefix_bytes: 40, request_bytes: 100, ..CallRecord::default() };
    Workload {
        profile: Profile {
            workload: name.to_owned(),
            tenants: vec![share("team-reports")],
            models: vec![share("claude-haiku-4-5-20251001")],
            clients: vec![share("Anthropic/Python 2.12.0")],
            system_prefix: system.map(str::to_owned),
            tools: (2, 2),
            is_imported: false,
        },
        window: Window { from: Timestamp::from_millis(0), to: Timestamp::from_millis(86_400_000) },
        sums: Sums { calls: 10, ..Sums::default() },
        hours: Vec::new(),
        sample: Sample::of([[&call]], true),
    }
}

fn assessment(verdict: Verdict, batch: i64) -> Assessment {
    let signal = |kind, every_seconds| Signal { kind, strength: 90, every_seconds, evidence: "seen 30 times".into() };
    Assessment {
        verdict,
        score: 90,
        parts: vec![Part { points: 90, reason: "all of it".into() }],
        signals: vec![signal(SignalKind::Schedule, Some(43_200)), signal(SignalKind::Queue, None)],
        vetoes: Vec::new(),
        savings: Savings {
            monthly_calls: 34_846,
            monthly_live: NanoUsd(2 * batch),
            batch: NanoUsd(batch),
            batch_cached: NanoUsd(batch + batch / 4),
            ineligible: vec![Ineligible { reason: "speed".into(), monthly_calls: 12, monthly_live: NanoUsd(5) }],
            unpriced_calls: 0,
        },
    }
}

fn rules(assessed: &[(Workload, Assessment)]) -> Vec<Rule> {
    let text = suggest(assessed);
    let rules = toml::from_str::<Settings>(&text).unwrap_or_else(|error| panic!("{error}\n{text}")).rule;
    for rule in &rules {
        assert!(policy::is_name(&rule.name), "{}", rule.name);
        policy::Condition::compile(&rule.when).unwrap_or_else(|mistakes| panic!("{}: {mistakes:?}", rule.when));
    }
    rules
}

fn matches(rule: &Rule, call: &Call) -> bool {
    let program = Program::compile(&rule.when).unwrap_or_else(|error| panic!("{error}: {}", rule.when));
    let mut context = Context::default();
    let request = serde_json::json!({"model": call.model, "system_prefix": call.system, "tools": call.tools});
    context.add_variable("request", request).unwrap();
    context.add_variable("headers", serde_json::json!({"user-agent": call.client})).unwrap();
    context.add_variable("workload", call.workload).unwrap();
    context.add_variable("tenant", call.tenant).unwrap();
    program.execute(&context).unwrap() == Value::Bool(true)
}

const PROMPT: &str = "You summarise reports of a machine's day";

fn call() -> Call<'static> {
    Call {
        model: "claude-haiku-4-5-20251001",
        client: "Anthropic/Python 2.13.1",
        system: PROMPT,
        tools: 2,
        workload: "",
        tenant: "team-reports",
    }
}

#[test]
fn the_most_valuable_comes_first_with_its_reasons() {
    let assessed = [
        (workload("digests", None), assessment(Verdict::Candidate, 5_060_000_000)),
        (
            workload("wkl_0123456789abcdef", Some("You are the reader of today's mail")),
            assessment(Verdict::Candidate, 77_000_000_000),
        ),
        (workload("uploads", None), assessment(Verdict::Look, 3_000_000_000)),
        (workload("chat", None), assessment(Verdict::KeepLive, 9_000_000_000)),
        (workload("done-already", None), assessment(Verdict::Candidate, 0)),
    ];
    insta::assert_snapshot!(suggest(&assessed), @r##"
    # Suggested from recorded traffic, the most valuable first. Each rule begins with 10 % of its calls; the
    # same calls stay with it when `rollout` is raised. To see first what it would do, write action = "observe".

    # wkl_0123456789abcdef: 34,846 calls a month for $154.00
    # saves $77.00 a month in batches, and up to $96.25 with the shared prompt cached; score 90 of 100
    # - on a schedule: seen 30 times
    # - queue-like: seen 30 times
    # 12 calls a month stay live, since no batch takes them: speed
    # Its workers wait for each answer, which now takes minutes: give the job more of them, or let it
    # send `x-defer` and collect tickets, before you raise `rollout`.
    [[rule]]
    name = "wkl_0123456789abcdef"
    when = 'request.model.startsWith("claude-haiku-4-5") && headers["user-agent"].startsWith("Anthropic/Python ") && request.tools == 2 && tenant == "team-reports" && request.system_prefix.startsWith("You are the reader of today\u0027s mail")'
    action = "defer"
    rollout = 10
    deadline = "12h"
    reply = "hold"
    cache = "auto"

    # digests: 34,846 calls a month for $10.12
    # saves $5.06 a month in batches, and up to $6.33 with the shared prompt cached; score 90 of 100
    # - on a schedule: seen 30 times
    # - queue-like: seen 30 times
    # 12 calls a month stay live, since no batch takes them: speed
    # Its workers wait for each answer, which now takes minutes: give the job more of them, or let it
    # send `x-defer` and collect tickets, before you raise `rollout`.
    [[rule]]
    name = "digests"
    when = 'workload == "digests"'
    action = "defer"
    rollout = 10
    deadline = "12h"
    reply = "hold"
    workload = "digests"
    cache = "auto"

    # Not suggested, but worth a look by somebody who knows them:
    # uploads: up to $3.00 a month, score 90 of 100
    "##);
}

#[test]
fn a_rule_matches_the_calls_of_its_workload_and_no_others() {
    let mut assessed = [(workload("wkl_0123456789abcdef", Some(PROMPT)), assessment(Verdict::Candidate, 9))];
    let [rule] = rules(&assessed).try_into().unwrap();
    assert!(matches(&rule, &call()));
    assert_eq!((rule.name.as_str(), rule.action.as_str(), rule.rollout), ("wkl_0123456789abcdef", "defer", 10));
    assert_eq!((rule.deadline.as_str(), rule.reply.as_str(), rule.cache.as_str()), ("12h", "hold", "auto"));
    assert_eq!(rule.workload, None);
    for other in [
        Call { model: "claude-opus-5-5", ..call() },
        Call { client: "claude-cli/2.1", ..call() },
        Call { system: "You answer people", ..call() },
        Call { tools: 3, ..call() },
        Call { tenant: "team-chat", ..call() },
    ] {
        assert!(!matches(&rule, &other));
    }
    assessed[0].0.profile.tools = (1, 4);
    assessed[0].0.profile.models.push(Share { name: "claude-sonnet-5-5".into(), calls: 9 });
    let [rule] = rules(&assessed).try_into().unwrap();
    assert!(matches(&rule, &Call { model: "claude-sonnet-5-5", tools: 4, ..call() }));
    assert!(!matches(&rule, &Call { tools: 5, ..call() }));
}

#[test]
fn a_name_is_enough_for_those_that_have_one() {
    let assessed = [(workload("digests", Some(PROMPT)), assessment(Verdict::Candidate, 9))];
    let [rule] = rules(&assessed).try_into().unwrap();
    assert_eq!((rule.when.as_str(), rule.workload.as_deref()), (r#"workload == "digests""#, Some("digests")));
    assert!(matches(&rule, &Call { workload: "digests", ..call() }) && !matches(&rule, &call()));
}

#[test]
fn what_cannot_be_told_from_others_is_only_observed() {
    let assessed = [(workload("wkl_0123456789abcdef", None), assessment(Verdict::Candidate, 9))];
    let [rule] = rules(&assessed).try_into().unwrap();
    assert_eq!(rule.action, "observe");
    assert!(suggest(&assessed).contains("inventory.prompt_preview"));
}

#[test]
fn a_date_in_the_prompt_is_not_part_of_the_condition() {
    let dated = "You are the night desk. Today is 2026-11-25. Summarise";
    let assessed = [(workload("wkl_0123456789abcdef", Some(dated)), assessment(Verdict::Candidate, 9))];
    let [rule] = rules(&assessed).try_into().unwrap();
    let tomorrow = dated.replace("25", "26");
    assert!(matches(&rule, &Call { system: &tomorrow, ..call() }), "{}", rule.when);
}

#[test]
fn names_are_unique_and_fit() {
    let long = "n".repeat(80);
    let names = ["same/name", "same/name", "", " \"quoted\\\" ", "nächtlich\n[[rule]]", &long, &long];
    let assessed: Vec<_> = names.map(|name| (workload(name, None), assessment(Verdict::Candidate, 9))).into();
    let rules = rules(&assessed);
    let mut found: Vec<_> = rules.iter().map(|rule| rule.name.clone()).collect();
    assert!(found.iter().all(|name| (1..=64).contains(&name.len()) && name.is_ascii() && name.trim() == name));
    found.sort();
    found.dedup();
    assert_eq!(found.len(), names.len());
    let fits = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    assert!(rules.iter().filter_map(|rule| rule.workload.as_deref()).all(fits));
}

#[test]
fn without_candidates_there_are_words_and_no_rules() {
    assert!(rules(&[(workload("chat", None), assessment(Verdict::KeepLive, 9))]).is_empty());
}

proptest! {
    /// Whatever stands in a prompt, a name or a client: the rule parses, compiles, and matches its own calls.
    #[test]
    fn any_text_makes_a_rule_that_matches_its_calls(
        prompt in "(?s).{0,120}",
        client in "[ -~]{0,40}",
        model in "[a-z0-9.\"'\\\\-]{1,30}",
        tenant in "(?s).{1,20}",
        name in "(?s).{0,70}",
    ) {
        let mut one = workload("wkl_0123456789abcdef", Some(&prompt).filter(|prompt| !prompt.is_empty()).map(String::as_str));
        let share = |name: &str| vec![Share { name: name.to_owned(), calls: 1 }];
        one.profile.tenants = share(&tenant);
        one.profile.models = share(&model);
        one.profile.clients = share(&client);
        let named = (workload(&name, None), assessment(Verdict::Candidate, 1));
        let rules = rules(&[(one, assessment(Verdict::Candidate, 2)), named]);
        prop_assert_eq!(rules.len(), 2);
        let call = Call { model: &model, client: &client, system: &prompt, tools: 2, workload: "", tenant: &tenant };
        prop_assert!(matches(&rules[0], &call), "{}", rules[0].when);
        let sent = Call { workload: &name, ..call };
        prop_assert!(matches(&rules[1], &sent), "{}", rules[1].when);
    }
}
