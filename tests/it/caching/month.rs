//! A month of traffic: it costs little more than it must, and no workload pays for being cached.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use offpeak::clock::Timestamp;
use offpeak::domain::price::{PriceTable, Tier};
use offpeak::domain::usage::{Billed, Pass, Tokens, Usage};
use serde_json::{Value, json};

use super::{HOUR, MINUTE};
use crate::it::app::{Engine, Setup, TestApp, on_both_engines};

on_both_engines! {
    a_month_costs_little_more_than_it_must,
}

const DAYS: u32 = 30;
const BATCH_TIME: Duration = Duration::from_secs(6 * 60);

/// How long the provider keeps what was written or read.
const LIFE: Duration = HOUR;

/// When the jobs of the night run, and those of each hour, which rest on two days of seven.
const NIGHT: u32 = 2;
const WORKING_HOURS: std::ops::Range<u32> = 9..12;
const WORKING_DAYS: std::ops::Range<u32> = 0..5;

/// When calls are sent: at once, while the first ones are out, and when those behind them are; in minutes.
const SENT_AT: [u32; 3] = [0, 3, 8];

/// When something of these jobs is sent or over; in minutes.
const NIGHTLY_LOOKS: [u32; 6] = [0, 3, 6, 8, 12, 14];
const HOURLY_LOOKS: [u32; 3] = [0, 6, 12];

const RULES: &str = r#"
[[rule]]
name = "hurried"
when = 'workload == "hurried"'
action = "defer"
reply = "ticket"
deadline = "2h"
cache = "auto"

[[rule]]
name = "others"
when = 'true'
action = "defer"
reply = "ticket"
deadline = "12h"
cache = "auto"
"#;

/// A job of the night or of each hour.
struct Job {
    workload: &'static str,
    model: &'static str,
    /// How many calls it sends, at each of [`SENT_AT`].
    calls: [u32; 3],
    /// The tools and the system prompt of a call, by the day and by the call's number.
    prompt: fn(u32, u32) -> (Value, Value),
    /// Whether anything can be gained: not where the beginnings are too short, or there is no time to wait.
    is_cacheable: bool,
}

const NIGHTLY: [Job; 6] = [
    Job {
        workload: "digests",
        model: "claude-haiku-5-5",
        calls: [5, 2, 1],
        prompt: always_the_same,
        is_cacheable: true,
    },
    Job { workload: "dated", model: "claude-opus-5-5", calls: [4, 0, 1], prompt: date_at_the_end, is_cacheable: true },
    Job {
        workload: "drifting",
        model: "claude-sonnet-5",
        calls: [4, 0, 0],
        prompt: date_at_the_beginning,
        is_cacheable: true,
    },
    Job { workload: "short", model: "claude-opus-4-8", calls: [3, 0, 0], prompt: always_the_same, is_cacheable: false },
    Job { workload: "unlike", model: "claude-haiku-5-5", calls: [2, 0, 0], prompt: each_its_own, is_cacheable: true },
    Job { workload: "hurried", model: "claude-haiku-5-5", calls: [3, 0, 0], prompt: in_a_hurry, is_cacheable: false },
];

const HOURLY: Job =
    Job { workload: "hourly", model: "claude-opus-5-5", calls: [3, 0, 0], prompt: every_hour, is_cacheable: true };

fn text(start: &str, bytes: usize) -> String {
    let mut text = start.to_owned();
    while text.len() < bytes {
        text.push_str(" and so on");
    }
    text
}

fn always_the_same(_: u32, _: u32) -> (Value, Value) {
    (Value::Null, text("You write digests", 3_000).into())
}

fn every_hour(_: u32, _: u32) -> (Value, Value) {
    (Value::Null, json!([{"type": "text", "text": text("You sort tickets", 4_000)}]))
}

fn in_a_hurry(_: u32, _: u32) -> (Value, Value) {
    (Value::Null, text("Be quick", 3_000).into())
}

fn date_at_the_end(day: u32, _: u32) -> (Value, Value) {
    let tools =
        json!([{"name": "look_up", "description": text("Looks up", 3_000), "input_schema": {"type": "object"}}]);
    let date = format!("Today is day {day}.");
    (tools, json!([{"type": "text", "text": text("You review", 3_000)}, {"type": "text", "text": date}]))
}

fn date_at_the_beginning(day: u32, _: u32) -> (Value, Value) {
    (Value::Null, text(&format!("Day {day}: you plan"), 6_000).into())
}

fn each_its_own(day: u32, number: u32) -> (Value, Value) {
    (Value::Null, text(&format!("Case {number} of day {day}"), 3_000).into())
}

/// What was sent: of one job with one beginning, how many calls at which times; and how many tokens that has.
#[derive(Default)]
struct Sent {
    tokens: u64,
    runs: Vec<(Timestamp, i64)>,
}

/// All that was sent, by workload and beginning.
type Books = HashMap<(&'static str, String), Sent>;

async fn a_month_costs_little_more_than_it_must(engine: Engine) {
    let app = Setup::on(engine).file(RULES).batch_time(BATCH_TIME).start().await;
    let mut books = Books::new();
    for day in 0..DAYS {
        for hour in 0..24 {
            let next_hour = app.clock.now().plus(HOUR);
            if hour == NIGHT {
                run(&app, (&NIGHTLY, &NIGHTLY_LOOKS), day, &mut books).await;
            } else if WORKING_HOURS.contains(&hour) && WORKING_DAYS.contains(&(day % 7)) {
                run(&app, (&[HOURLY], &HOURLY_LOOKS), day, &mut books).await;
            }
            app.clock.advance(next_hour.since(app.clock.now()));
        }
    }
    app.finish().await;
    check(&app, &books).await;
}

/// Sends the calls of some jobs, and lets all of them be done.
async fn run(app: &TestApp, (jobs, looks): (&[Job], &[u32]), day: u32, books: &mut Books) {
    let start = app.clock.now();
    for &minute in looks {
        app.clock.advance(start.plus(minute * MINUTE).since(app.clock.now()));
        if let Some(time) = SENT_AT.iter().position(|at| *at == minute) {
            send(app, jobs, day, time, books).await;
        }
        app.settle_batches().await;
    }
}

/// Sends what is sent at this one of the times.
async fn send(app: &TestApp, jobs: &[Job], day: u32, time: usize, books: &mut Books) {
    let mut calls = Vec::new();
    for job in jobs {
        let before: u32 = job.calls[..time].iter().sum();
        for number in before..before + job.calls[time] {
            let (tools, system) = (job.prompt)(day, number);
            let sent = books.entry((job.workload, format!("{tools}{system}"))).or_default();
            sent.tokens = tokens(&[&tools, &system]);
            match sent.runs.last_mut() {
                Some((at, calls)) if *at == app.clock.now() => *calls += 1,
                _ => sent.runs.push((app.clock.now(), 1)),
            }
            calls
                .push(app.call(body(job.model, tools, system, number)).header("x-defer-workload", job.workload).send());
        }
    }
    for ticket in join_all(calls).await {
        ticket.expect(202);
    }
}

fn body(model: &str, tools: Value, system: Value, number: u32) -> String {
    let messages = json!([{"role": "user", "content": format!("Number {number}.")}]);
    let mut body = json!({"model": model, "max_tokens": 16, "system": system, "messages": messages});
    if !tools.is_null() {
        body["tools"] = tools;
    }
    body.to_string()
}

/// The tokens of these, as the stand-in counts them: four bytes of text are one. A plain prompt is marked as a block.
fn tokens(parts: &[&Value]) -> u64 {
    fn bytes(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len(),
            Value::Array(list) => list.iter().map(bytes).sum(),
            Value::Object(members) => members.values().map(bytes).sum(),
            _ => 0,
        }
    }
    let block = |part: &&Value| if part.is_string() { "text".len() } else { 0 };
    parts.iter().map(|part| bytes(part) + block(part)).sum::<usize>().div_ceil(4) as u64
}

/// What a beginning costs once in a batch, in nano-dollars: read plainly, written for an hour, read from the cache.
struct Costs {
    plain: i64,
    write: i64,
    read: i64,
}

impl Costs {
    fn of(model: &str, tokens: u64, at: Timestamp) -> Self {
        let prices = PriceTable::built_in().unwrap();
        let cost = |tokens: Tokens| {
            let usage = Usage { passes: vec![Pass { model: None, tokens }], ..Usage::default() };
            prices.cost(&Billed { model: model.to_owned(), usage }, Tier::Batch, at).unwrap().0
        };
        Self {
            plain: cost(Tokens { input: tokens, ..Tokens::default() }),
            write: cost(Tokens { cache_write_1h: tokens, ..Tokens::default() }),
            read: cost(Tokens { cache_read: tokens, ..Tokens::default() }),
        }
    }
}

/// The most that could be spared of what a beginning costs, by somebody who knows all that will be sent: before each run
/// it is in the cache or not, and either all of it is read plainly, or one call writes and the others read.
fn most_spared(sent: &Sent, costs: &Costs) -> i64 {
    // What is there is there until an hour after the last of a run has read it.
    let kept = LIFE + 2 * BATCH_TIME;
    // The least that it may have cost so far, without and with it being there.
    let (mut least, mut with) = (0, 0);
    let mut before = None;
    for &(at, calls) in &sent.runs {
        // What is there need not be counted on.
        let is_there = before.is_some_and(|before: Timestamp| at < before.plus(kept));
        let so_far = least.min(with);
        let written = so_far + costs.write + (calls - 1) * costs.read;
        with = if is_there { written.min(with + calls * costs.read) } else { written };
        least = so_far + calls * costs.plain;
        before = Some(at);
    }
    let calls: i64 = sent.runs.iter().map(|(_, calls)| calls).sum();
    calls * costs.plain - least.min(with)
}

async fn check(app: &TestApp, books: &Books) {
    let report = app.operator(Method::GET, "/api/savings?since=40d").send().await.expect(200).json();
    let figures = |workload: &str| {
        let row = report["workloads"].as_array().unwrap().iter().find(|row| row["name"] == workload).unwrap();
        let nanos = |name: &str| (row["figures"][name].as_f64().unwrap() * 1e9).round() as i64;
        (nanos("paid"), nanos("uncached"))
    };
    let (mut all_paid, mut all_uncached, mut all_optimum) = (0, 0, 0);
    for job in NIGHTLY.iter().chain([&HOURLY]) {
        let (paid, uncached) = figures(job.workload);
        let own = books.iter().filter(|((workload, _), _)| job.is_cacheable && *workload == job.workload);
        let spared: i64 =
            own.map(|(_, sent)| most_spared(sent, &Costs::of(job.model, sent.tokens, sent.runs[0].0))).sum();
        let optimum = uncached / 2 - spared;
        assert!(2 * paid <= uncached, "{}: {paid} with caching, twice {uncached} without", job.workload);
        assert!(paid >= optimum, "{}: {paid} is less than the least, {optimum}", job.workload);
        (all_paid, all_uncached, all_optimum) = (all_paid + paid, all_uncached + uncached, all_optimum + optimum);
    }
    assert!(100 * all_paid <= 105 * all_optimum, "{all_paid} where {all_optimum} would do");
    // There was much to be spared: two parts of five.
    assert!(10 * all_optimum < 3 * all_uncached, "{all_optimum} of half of {all_uncached}");
}
