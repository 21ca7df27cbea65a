//! Rules: what asking the policy costs a call, by itself and on the live path, with rules and without.

use std::hint::black_box;
use std::time::{Duration, Instant};

use http::HeaderMap;
use offpeak::clock::Timestamp;
use offpeak::domain::glance::{BodyFacts, Glance};
use offpeak::domain::policy::{Action, Cache, Condition, Course, Facts, Policy, Reply, Rule};

use crate::Options;
use crate::comparison::{Comparison, Report, Unit};
use crate::live::{Manner, Proxy, Shape, Upstream, Way, load};

/// How long one contender is measured in one round.
const ROUND: Duration = Duration::from_secs(2);
const CONNECTIONS: usize = 32;

/// As many calls as make a round without a live path.
const ASKED: u32 = 5_000;

/// Rules as people write them, of which none matches: every call asks all of them.
fn by_header(count: usize) -> Vec<String> {
    let when =
        |number| format!("headers[\"user-agent\"].startsWith(\"airflow/{number}\") && workload == \"w{number}\"");
    (0..count).map(when).collect()
}

/// Rules that only the interpreter can answer.
fn by_clock(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("now.getHours() > 23 && now.getMinutes() == {number}")).collect()
}

/// A rule that has to see the model, which stands at the body's beginning.
fn by_body() -> Vec<String> {
    vec!["request.model.startsWith(\"claude-opus\") && request.max_tokens > 100000".to_owned()]
}

pub(crate) async fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    alone(options, report)?;
    on_the_live_path(options, report).await
}

fn alone(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let mut row = Comparison::new("rules: asking all of them, nothing else".to_owned(), Unit::Microseconds);
    if !report.wants(row.name()) {
        return Ok(());
    }
    for _ in 0..options.rounds {
        for (contender, count) in [("10 rules by header", 10), ("100 rules by header", 100)] {
            row.note(contender, micros(&policy(&by_header(count))?));
        }
        row.note("100 rules by the clock", micros(&policy(&by_clock(100))?));
        row.note("1 rule by body", micros(&policy(&by_body())?));
    }
    report.add(row);
    Ok(())
}

fn policy(conditions: &[String]) -> anyhow::Result<Policy> {
    let rule = |(number, when): (usize, &String)| {
        let when = Condition::compile(when).map_err(|mistakes| anyhow::anyhow!("{mistakes:?}"))?;
        let (action, reply, cache) = (Action::Live, Reply::Hold, Cache::Off);
        let name = number.to_string().into();
        anyhow::Ok(Rule {
            name,
            when,
            action,
            rollout: 100,
            deadline: None,
            reply,
            workload: None,
            callback: None,
            cache,
        })
    };
    Ok(Policy::new(conditions.iter().enumerate().map(rule).collect::<Result<_, _>>()?))
}

/// What one call takes to be asked about.
fn micros(policy: &Policy) -> f64 {
    let mut headers = HeaderMap::new();
    for (name, value) in [("user-agent", "Anthropic/Python 2.12.0"), ("accept", "application/json"), ("x-team", "a")] {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    let mut glance = Glance::default();
    glance.read(b"{\"model\":\"claude-haiku-4-5\",\"max_tokens\":64}");
    let (body, nothing): (&BodyFacts, _) = (glance.facts(), "");
    let now = Timestamp::from_millis(1_795_350_000_000);
    let begin = Instant::now();
    for _ in 0..ASKED {
        let facts = Facts {
            headers: &headers,
            path: "/v1/messages",
            tenant: nothing,
            workload: nothing,
            now,
            body,
            is_record: false,
        };
        black_box(policy.go_on(&mut Course::default(), black_box(&facts)));
    }
    begin.elapsed().as_secs_f64() * 1e6 / f64::from(ASKED)
}

async fn on_the_live_path(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let name = |what: &str| format!("rules: live json, {CONNECTIONS} connections: {what}");
    let mut answers = Comparison::new(name("answers"), Unit::PerSecond);
    let mut cpu = Comparison::new(name("CPU of the proxy per answer"), Unit::Microseconds);
    if !report.wants(answers.name()) && !report.wants(cpu.name()) {
        return Ok(());
    }
    for _ in 0..options.rounds {
        let upstream = Upstream::start()?;
        for (contender, conditions) in [
            ("no rules", Vec::new()),
            ("10 rules by header", by_header(10)),
            ("100 rules by header", by_header(100)),
            ("1 rule by body", by_body()),
        ] {
            let proxy = Proxy::with_rules(&upstream, Way::Plain, &file(&conditions))?;
            let measured = load(proxy.address(), proxy.pid(), Shape::Json, CONNECTIONS, ROUND, Manner::AtOnce).await?;
            answers.note(contender, measured.answers_per_second);
            cpu.note(contender, measured.cpu_micros);
        }
    }
    report.add(answers);
    report.add(cpu);
    Ok(())
}

/// The settings file with these rules.
fn file(conditions: &[String]) -> String {
    let rule = |(number, when): (usize, &String)| {
        format!("[[rule]]\nname = \"{number}\"\nwhen = '{when}'\naction = \"defer\"\n")
    };
    conditions.iter().enumerate().map(rule).collect()
}
