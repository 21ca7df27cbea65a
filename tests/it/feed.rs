//! The feed as its consumers meet it: followed, stopped and resumed, waited for, and each tenant's own.

use std::collections::HashSet;
use std::time::Duration;

use http::Method;
use offpeak::simulator::{Effect, Endpoint, Fault};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::app::{Answer, Call, Engine, KEY, OTHER_KEY, Setup, TestApp, body, on_both_engines};
use super::wire::Wire;

on_both_engines! {
    a_line_is_the_deferral_as_it_stands,
    a_consumer_goes_on_where_it_stopped,
    a_restart_changes_no_cursor,
    an_answer_ends_where_its_head_says,
    an_answer_of_many_pages_is_whole,
    every_end_comes_with_its_error,
    waiting_ends_with_the_next_line,
    waiting_ends_with_its_time,
    waiting_ends_with_the_gateway,
    a_tenant_sees_its_own_lines,
    what_is_forgotten_is_passed_over,
    a_feed_that_began_anew_is_not_read_on,
    a_store_that_is_gone_is_said_to_be,
}

/// A poll that would not hear the bell would look again by itself only after its whole wait.
const BELL_LIMIT: Duration = Duration::from_secs(4);

/// A line as a consumer reads it.
struct Line {
    cursor: String,
    deferral: Value,
}

impl Line {
    fn id(&self) -> &str {
        self.deferral["id"].as_str().unwrap()
    }
}

fn ask(app: &TestApp, query: &str) -> Call {
    app.get(&format!("/deferred/results{query}"))
}

/// The lines of an answer, whose form is checked.
#[track_caller]
fn lines(answer: &Answer) -> Vec<Line> {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-jsonl")), "{}", answer.text());
    assert!(answer.text().is_empty() || answer.text().ends_with('\n'));
    let lines: Vec<Line> = answer
        .text()
        .split_terminator('\n')
        .map(|line| {
            let Value::Object(mut line) = serde_json::from_str(line).unwrap() else { panic!("{line}") };
            assert_eq!(line.keys().collect::<Vec<_>>(), ["cursor", "deferral"]);
            let deferral = line.remove("deferral").unwrap();
            Line { cursor: line["cursor"].as_str().unwrap().to_owned(), deferral }
        })
        .collect();
    if let Some(last) = lines.last() {
        assert_eq!(answer.header("x-defer-cursor"), Some(last.cursor.as_str()));
    }
    lines
}

fn ids(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(Line::id).collect()
}

/// Everything behind a cursor.
async fn read(app: &TestApp, after: &str) -> Vec<Line> {
    lines(&ask(app, &format!("?after={after}")).send().await)
}

async fn a_line_is_the_deferral_as_it_stands(engine: Engine) {
    let app = TestApp::start(engine).await;
    assert_eq!(lines(&ask(&app, "").send().await).len(), 0);
    let id = app.defer("[unknown-block] [thinking]").await;
    app.finish().await;
    let answer = ask(&app, "").send().await;
    let shown = app.get(&format!("/deferred/{id}")).send().await.expect(200);
    // Byte for byte, with odd numbers, escapes and members that nobody knows.
    assert_eq!(answer.text(), format!("{{\"cursor\":\"cur_0000000000000001\",\"deferral\":{}}}\n", shown.text()));
    assert!(!shown.json()["message"].is_null());
}

async fn a_consumer_goes_on_where_it_stopped(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (mut expected, mut seen, mut cursor) = (Vec::new(), Vec::new(), String::new());
    for round in 0..3 {
        for call in 0..5 {
            expected.push(app.defer(&format!("{round} {call}")).await);
        }
        app.finish().await;
        // Five came, in portions of two; the last one holds one line, and then there is none.
        for portion in [2, 2, 1, 0] {
            let answer = ask(&app, &format!("?limit=2&after={cursor}")).send().await;
            let lines = lines(&answer);
            assert_eq!(lines.len(), portion);
            let before = std::mem::replace(&mut cursor, answer.header("x-defer-cursor").unwrap().to_owned());
            assert_eq!(before == cursor, portion == 0, "an empty answer goes on from where it was");
            seen.extend(lines.iter().map(|line| line.id().to_owned()));
            // What was read without having been kept is read again.
            let again = read(&app, &before).await;
            assert!(ids(&again).starts_with(&ids(&lines)));
        }
    }
    assert_eq!(seen.iter().collect::<HashSet<_>>(), expected.iter().collect::<HashSet<_>>());
    assert_eq!(seen.len(), expected.len());
    // Each line's own cursor does as well as the answer's.
    let all = read(&app, "").await;
    assert_eq!(ids(&all), seen);
    for (index, line) in all.iter().enumerate() {
        assert_eq!(ids(&read(&app, &line.cursor).await), seen[index + 1..]);
    }
}

async fn a_restart_changes_no_cursor(engine: Engine) {
    let mut app = TestApp::start(engine).await;
    let first = app.defer("1").await;
    app.finish().await;
    let before = read(&app, "").await;
    app.restart().await;
    let second = app.defer("2").await;
    app.finish().await;
    assert_eq!(ids(&read(&app, &before[0].cursor).await), [second.as_str()]);
    let again = read(&app, "").await;
    assert_eq!((ids(&again), &again[0].cursor), (vec![first.as_str(), &second], &before[0].cursor));
}

async fn an_answer_ends_where_its_head_says(engine: Engine) {
    let app = TestApp::start(engine).await;
    for call in 0..4 {
        let id = app.defer(&call.to_string()).await;
        app.tagged(body("not ours")).key(OTHER_KEY).send().await.id();
        app.post(&format!("/deferred/{id}/cancel")).send().await.expect(200);
    }
    app.finish().await;
    // The lines of others between ours are no part of it.
    let answer = ask(&app, "?limit=3").send().await;
    let first = lines(&answer);
    let rest = read(&app, answer.header("x-defer-cursor").unwrap()).await;
    assert_eq!((first.len(), rest.len()), (3, 1));
    let empty = ask(&app, &format!("?after={}", rest[0].cursor)).send().await.expect(200);
    assert_eq!((empty.text(), empty.header("x-defer-cursor")), ("", Some(rest[0].cursor.as_str())));
    assert_eq!(empty.header("content-type"), Some("application/x-jsonl"));
}

async fn an_answer_of_many_pages_is_whole(engine: Engine) {
    const CALLS: usize = 230;
    let app = TestApp::start(engine).await;
    let mut expected = HashSet::new();
    for call in 0..CALLS {
        expected.insert(app.defer(&format!("[long:300] {call}")).await);
    }
    app.finish().await;
    let all = read(&app, "").await;
    let seen: HashSet<String> = all.iter().map(|line| line.id().to_owned()).collect();
    assert_eq!((all.len(), seen), (CALLS, expected));
    let cursors: Vec<&String> = all.iter().map(|line| &line.cursor).collect();
    assert!(cursors.is_sorted() && all.iter().all(|line| line.deferral["message"]["type"] == "message"));
    // And so is one that ends within a page.
    assert_eq!(lines(&ask(&app, "?limit=150").send().await).len(), 150);
}

async fn every_end_comes_with_its_error(engine: Engine) {
    let app = Setup::on(engine).set("defer.on_deadline", "expire").start().await;
    let failed = app.defer("[error:invalid_request_error]").await;
    app.finish().await;
    let canceled = app.defer("2").await;
    app.post(&format!("/deferred/{canceled}/cancel")).send().await.expect(200);
    let slow = Effect::BatchTime { time: Duration::from_hours(2) };
    app.inject(Fault::at(Endpoint::BatchCreate, slow).times(1));
    let expired = app.tagged(body("3")).header("x-defer", "1h").send().await.id();
    app.finish().await;
    let seen = read(&app, "").await;
    assert_eq!(ids(&seen), [&failed, &canceled, &expired]);
    for (line, (status, kind)) in seen.iter().zip([
        ("failed", "invalid_request_error"),
        ("canceled", "invalid_request_error"),
        ("expired", "timeout_error"),
    ]) {
        let deferral = &line.deferral;
        assert_eq!((&deferral["status"], &deferral["error"]["error"]["type"]), (&json!(status), &json!(kind)));
        assert_eq!(deferral["message"], Value::Null);
    }
}

async fn waiting_ends_with_the_next_line(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.defer("1").await;
    app.finish().await;
    // What is there already is not waited for.
    let there = timeout(BELL_LIMIT, ask(&app, "?wait=300").send()).await.unwrap();
    let cursor = lines(&there).remove(0).cursor;
    let id = app.defer("2").await;
    let poll = ask(&app, &format!("?wait=300&after={cursor}")).send();
    let mut poll = std::pin::pin!(poll);
    let meanwhile = async {
        // By the time that these are answered, the poll has been heard. Another tenant's line is no answer to it.
        let others = app.tagged(body("not ours")).key(OTHER_KEY).send().await.id();
        app.post(&format!("/deferred/{others}/cancel")).key(OTHER_KEY).send().await.expect(200);
        for _ in 0..5 {
            assert_eq!(lines(&ask(&app, &format!("?after={cursor}")).send().await).len(), 0);
        }
    };
    tokio::select! {
        early = &mut poll => panic!("answered before there was a line: {}", early.text()),
        () = meanwhile => {}
    }
    let (answer, ()) = tokio::join!(timeout(BELL_LIMIT, poll), app.finish());
    assert_eq!(ids(&lines(&answer.expect("the poll ends when a line has come"))), [id]);
}

async fn waiting_ends_with_its_time(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.defer("1").await;
    app.finish().await;
    let cursor = read(&app, "").await.remove(0).cursor;
    let waited = ask(&app, &format!("?wait=1&after={cursor}")).send().await.expect(200);
    assert_eq!((waited.text(), waited.header("x-defer-cursor")), ("", Some(cursor.as_str())));
}

async fn waiting_ends_with_the_gateway(engine: Engine) {
    let mut app = TestApp::start(engine).await;
    app.defer("1").await;
    app.finish().await;
    let cursor = read(&app, "").await.remove(0).cursor;
    let mut poll = std::pin::pin!(ask(&app, &format!("?wait=300&after={cursor}")).send());
    tokio::select! {
        early = &mut poll => panic!("answered before there was a line: {}", early.text()),
        // By the time that this is answered, the poll has been heard.
        _ = read(&app, "") => {}
    }
    // It is answered, not cut.
    let (answer, ()) = tokio::join!(timeout(BELL_LIMIT, poll), app.restart());
    let answer = answer.expect("the poll ends with the gateway").expect(200);
    assert_eq!((answer.text(), answer.header("x-defer-cursor")), ("", Some(cursor.as_str())));
}

async fn a_tenant_sees_its_own_lines(engine: Engine) {
    let app = Setup::on(engine).set("admin.token", "let-me-in").start().await;
    let (own, others) = (app.defer("Hi").await, app.tagged(body("Ho")).key(OTHER_KEY).send().await.id());
    app.finish().await;
    let seen = async |call: Call| {
        let lines = lines(&call.send().await);
        lines.iter().map(|line| line.id().to_owned()).collect::<HashSet<_>>()
    };
    assert_eq!(seen(ask(&app, "")).await, [own.clone()].into());
    assert_eq!(seen(ask(&app, "").bearer(KEY)).await, [own.clone()].into());
    assert_eq!(seen(ask(&app, "").key(OTHER_KEY)).await, [others.clone()].into());
    assert_eq!(seen(ask(&app, "").key("sk-ant-third-1")).await, [].into());
    assert_eq!(seen(ask(&app, "").bearer("let-me-in")).await, [own, others].into());
    ask(&app, "").without("x-api-key").send().await.refused(401, "authentication_error", "missing-credential");
    // It is the callers' listener that serves it.
    let operator = app.operator(Method::GET, "/deferred/results").bearer("let-me-in").send().await;
    assert_eq!(operator.status, 404);
}

async fn what_is_forgotten_is_passed_over(engine: Engine) {
    let app = Setup::on(engine).set("defer.retention", "2d").start().await;
    app.defer("1").await;
    app.finish().await;
    let first = read(&app, "").await.remove(0).cursor;
    app.clock.advance(Duration::from_hours(24));
    let second = app.defer("2").await;
    app.finish().await;
    app.clock.advance(Duration::from_hours(25));
    app.settle().await;
    // The feed begins at what is retained, and old cursors lead there as well.
    for after in ["", "cur_0000000000000000", &first] {
        assert_eq!(ids(&read(&app, after).await), [second.as_str()], "{after}");
    }
    app.clock.advance(Duration::from_hours(24));
    app.settle().await;
    let gone = ask(&app, &format!("?after={first}")).send().await.expect(200);
    assert_eq!((gone.text(), gone.header("x-defer-cursor")), ("", Some(first.as_str())));
    let third = app.defer("3").await;
    app.finish().await;
    assert_eq!(ids(&read(&app, &first).await), [third.as_str()]);
}

async fn a_feed_that_began_anew_is_not_read_on(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.defer("1").await;
    app.finish().await;
    for query in ["?after=cur_0000000000000002", "?after=cur_0000000000000002&wait=300"] {
        let refused = ask(&app, query).send().await.refused(400, "invalid_request_error", "invalid-query");
        assert!(refused.contains("leave it out to begin anew"), "{refused}");
    }
    ask(&app, "?after=cur_0000000000000001").send().await.expect(200);
}

async fn a_store_that_is_gone_is_said_to_be(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.defer("1").await;
    app.finish().await;
    app.expect_errors();
    app.storage().change("alter table feed rename to away").await;
    ask(&app, "").send().await.refused(503, "api_error", "store-unavailable");
    app.storage().change("alter table away rename to feed").await;
    assert_eq!(read(&app, "").await.len(), 1);
}

#[tokio::test]
async fn a_feed_that_breaks_off_does_not_look_whole() {
    const CALLS: usize = 48;
    let app = TestApp::start(Engine::Sqlite).await;
    for call in 0..CALLS {
        // Far more, all together, than a connection takes that is not read.
        let prompt = body(&format!("[long:64000] {call}"));
        app.tagged(prompt.replacen(r#""max_tokens":64"#, r#""max_tokens":64000"#, 1)).send().await.id();
    }
    app.finish().await;
    app.expect_errors();
    let mut wire = Wire::connect(app.gateway()).await;
    wire.send(format!("GET /deferred/results HTTP/1.1\r\nhost: gateway\r\nx-api-key: {KEY}\r\n\r\n")).await;
    let head = wire.head().await;
    assert_eq!((head.status(), head.get("x-defer-cursor")), (200, Some("cur_0000000000000030")));
    app.storage().change("alter table outcome rename to away").await;
    let seen = wire.rest().await;
    app.storage().change("alter table away rename to outcome").await;
    assert!(!seen.ends_with(b"0\r\n\r\n"), "it has an end");
    let lines = seen.windows(2).filter(|pair| pair == b"}\n").count();
    assert!((1..CALLS).contains(&lines), "{lines} lines");
    // What there was can be gone on from.
    let rest = read(&app, &format!("cur_{lines:016x}")).await;
    assert_eq!(rest.len(), CALLS - lines);
}

#[tokio::test]
async fn what_does_not_parse_is_refused() {
    let app = TestApp::start(Engine::Sqlite).await;
    for (query, word) in [
        ("?after=1", "cursor"),
        ("?after=cur_1", "cursor"),
        ("?after=cur_000000000000000G", "cursor"),
        ("?after=dfr_0198c0de000070008000000000000000", "cursor"),
        ("?limit=0", "from 1 to 100000"),
        ("?limit=100001", "from 1 to 100000"),
        ("?limit=ten", "from 1 to 100000"),
        ("?wait=301", "from 0 to 300"),
        ("?wait=10s", "from 0 to 300"),
        ("?wait=1&wait=2", "twice"),
        ("?cursor=x", "after, limit and wait"),
        ("?status=succeeded", "after, limit and wait"),
    ] {
        let refused = ask(&app, query).send().await.refused(400, "invalid_request_error", "invalid-query");
        assert!(refused.contains(word), "{query}: {refused}");
    }
    let post = app.post("/deferred/results").send().await;
    post.refused(405, "invalid_request_error", "method-not-allowed");
}
