//! Caching in batches: who goes ahead, who follows, what it costs, and that nobody waits for it who has no time.

mod gains;
mod month;
mod off;

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::app::{Engine, Setup, TestApp, on_both_engines};

on_both_engines! {
    one_goes_ahead_and_the_others_read_what_it_wrote,
    who_has_no_time_goes_at_once,
    a_first_call_that_takes_too_long_is_not_waited_for,
    a_flush_sends_those_who_wait,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

const RULE: &str = r#"
[[rule]]
name = "nightly"
when = 'true'
action = "defer"
reply = "ticket"
workload = "nightly"
cache = "auto"
"#;

/// One whose batches take so long.
async fn with_batches_of(engine: Engine, batch_time: Duration, deadline: &str) -> TestApp {
    let file = format!("{RULE}deadline = \"{deadline}\"\n");
    Setup::on(engine).file(&file).batch_time(batch_time).start().await
}

/// A call whose system prompt is long, and the same for the same letter.
fn alike(letter: &str, number: usize) -> String {
    let system = format!("{letter} is for all. ").repeat(700);
    let messages = format!(r#"[{{"role":"user","content":"{number}"}}]"#);
    format!(r#"{{"model":"claude-haiku-5-5","max_tokens":16,"system":"{system}","messages":{messages}}}"#)
}

async fn ask(app: &TestApp, letter: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    let mut ids = Vec::new();
    for number in numbers {
        ids.push(app.call(alike(letter, number)).send().await.id());
    }
    ids
}

/// So many calls of a workload that share a beginning, until they are done.
async fn of_workload(app: &TestApp, workload: &str, letter: &str, count: usize) {
    for number in 0..count {
        app.call(alike(letter, number)).header("x-defer-workload", workload).send().await.id();
    }
    app.finish().await;
}

/// How many calls each batch had, and whether all of them were marked.
fn batches(app: &TestApp) -> Vec<(usize, bool)> {
    let is_marked = |params: &[u8]| params.windows(4).any(|four| four == b"\"1h\"");
    let batches = app.books().batches;
    batches.iter().map(|batch| (batch.items.len(), batch.items.iter().all(|item| is_marked(&item.params)))).collect()
}

/// Whether a call wrote to the cache, and whether it read from it.
async fn cached(app: &TestApp, id: &str) -> (bool, bool) {
    let usage: Value = app.message(id).await.expect(200).json()["usage"].clone();
    let of = |name: &str| usage[name].as_u64().unwrap() > 0;
    (of("cache_creation_input_tokens"), of("cache_read_input_tokens"))
}

async fn one_goes_ahead_and_the_others_read_what_it_wrote(engine: Engine) {
    let app = with_batches_of(engine, 5 * MINUTE, "12h").await;
    let ids = ask(&app, "A", 0..6).await;
    app.finish().await;
    assert_eq!(batches(&app), [(1, true), (5, true)]);
    let mut usages = Vec::new();
    for id in &ids {
        usages.push(cached(&app, id).await);
    }
    assert_eq!(usages.iter().filter(|usage| **usage == (true, false)).count(), 1);
    assert_eq!(usages.iter().filter(|usage| **usage == (false, true)).count(), 5);
    assert_eq!(app.storage().count("select count(*) from entry where marked").await, 6);

    // While it is warm a single one reads it too, and waits for nobody.
    ask(&app, "A", 6..7).await;
    app.finish().await;
    assert_eq!(batches(&app)[2..], [(1, true)]);
    let shown = app.operator(Method::GET, "/api/batches").send().await.expect(200).json();
    let cache = |at: usize| &shown["data"][at]["cache"];
    assert!(cache(0)["read_tokens"].as_u64() > Some(0) && cache(0)["gained"].as_f64() > Some(0.0), "{shown}");
    assert!(cache(2)["write_tokens"].as_u64() > Some(0) && cache(2)["gained"].as_f64() < Some(0.0), "{shown}");
    assert_eq!(shown["caching_off"], json!([]));
}

async fn who_has_no_time_goes_at_once(engine: Engine) {
    let app = with_batches_of(engine, 5 * MINUTE, "2h").await;
    ask(&app, "A", 0..6).await;
    app.finish().await;
    assert_eq!(batches(&app), [(6, false)]);
}

async fn a_first_call_that_takes_too_long_is_not_waited_for(engine: Engine) {
    let app = with_batches_of(engine, 2 * HOUR, "12h").await;
    ask(&app, "A", 0..6).await;
    app.settle().await;
    assert_eq!(batches(&app), [(1, true)]);
    app.clock.advance(24 * MINUTE);
    app.settle().await;
    assert_eq!(batches(&app), [(1, true)]);
    app.clock.advance(MINUTE);
    app.settle().await;
    assert_eq!(batches(&app), [(1, true), (5, false)]);
    app.finish().await;
}

async fn a_flush_sends_those_who_wait(engine: Engine) {
    let app = with_batches_of(engine, 5 * MINUTE, "12h").await;
    ask(&app, "A", 0..6).await;
    app.settle().await;
    app.operator(Method::POST, "/api/flush").send().await.expect(202);
    app.settle().await;
    assert_eq!(batches(&app), [(1, true), (5, false)]);
    app.finish().await;
}
