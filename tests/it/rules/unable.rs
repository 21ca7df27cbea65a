//! What a rule chose and what cannot be deferred: it is served live, since nobody asked for anything else.

use std::time::Duration;

use async_compression::tokio::bufread::GzipEncoder;
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use super::*;
use crate::it::app::KEY;

on_both_engines! {
    what_no_batch_takes_is_served_live_with_the_reason,
    a_full_queue_is_served_live,
    a_store_that_is_gone_is_no_hindrance,
}

/// An app whose rule defers everything, with a ticket.
async fn deferring_all(engine: Engine, more: &str) -> TestApp {
    with_rules(engine, &rule("all", &format!("when = \"true\"\naction = \"defer\"\nreply = \"ticket\"\n{more}"))).await
}

fn blocked(by: &str) -> String {
    format!("live; rule=\"all\"; reason=not-deferrable; blocked-by={by}")
}

async fn what_no_batch_takes_is_served_live_with_the_reason(engine: Engine) {
    let app = deferring_all(engine, "").await;
    app.leave_books_unchecked();
    let with = |member: &str| body("Hi").replacen('{', &format!("{{{member},"), 1);
    for (text, by) in [
        (with("\"thread\":{\"type\":\"create\"}"), "thread"),
        (with("\"speed\":\"fast\""), "speed"),
        (with("\"fallbacks\":[]"), "fallbacks"),
        (body("Hi").replace("64", "0"), "max_tokens"),
        ("{\"model\":\"claude-haiku-4-5\"}".to_owned(), "body"),
        ("not JSON".to_owned(), "body"),
    ] {
        let answer = app.call(text.clone()).send().await;
        assert_eq!(decision(&answer), blocked(by), "{text}");
        assert_eq!(answer.header("x-defer-error"), None, "it is the provider who answers");
        let books = app.books();
        assert_eq!(books.live_calls().last().unwrap().body, text, "as it came");
    }
    let login = app.call(body("Hi")).bearer("sk-ant-oat01-a").send().await;
    assert_eq!(decision(&login), blocked("credential"));
    let nobody = app.call(body("Hi")).without("x-api-key").send().await.expect(401);
    assert_eq!((decision(&nobody), nobody.header("x-defer-error")), (blocked("credential").as_str(), None));
    let encoded = app.call(body("Hi")).header("content-encoding", "snappy").send().await;
    assert_eq!(decision(&encoded), blocked("content-encoding"));

    let counted = shown(&app, "all").await;
    assert_eq!(counted["decided"], json!({"live": {"not-deferrable": 9}}));
    let blocked = json!({
        "thread": 1, "speed": 1, "fallbacks": 1, "max_tokens": 1, "body": 2, "credential": 2, "content-encoding": 1,
    });
    assert_eq!(counted["blocked"], blocked);
    assert_eq!(app.storage().count("select count(*) from deferral").await, 0);
}

#[tokio::test]
async fn a_deadline_too_close_is_served_live() {
    let app = deferring_all(Engine::Sqlite, "deadline = \"4m59s\"").await;
    let answer = app.call(body("Hi")).send().await.expect(200);
    assert_eq!(decision(&answer), "live; rule=\"all\"; reason=deadline-too-close");
    app.reload(&[], &rule("all", "when = \"true\"\naction = \"defer\"\nreply = \"ticket\"\ndeadline = \"5m\""));
    app.call(body("Hi")).send().await.expect(202);
    app.finish().await;
}

#[tokio::test]
async fn what_is_too_large_streams_on_live() {
    let rules = rule("all", "when = \"true\"\naction = \"defer\"\nreply = \"ticket\"");
    let app = Setup::on(Engine::Sqlite).set("defer.max_body", "10KB").file(&rules).start().await;
    let long = body(&"x".repeat(20_000));
    let answer = app.call(long.clone()).send().await.expect(200);
    assert_eq!(decision(&answer), "live; rule=\"all\"; reason=too-large");
    assert_eq!(app.books().live_calls().last().unwrap().body, long);
    // What is too large once it is decoded is too large as well.
    let mut encoded = Vec::new();
    GzipEncoder::new(long.as_bytes()).read_to_end(&mut encoded).await.unwrap();
    assert!(encoded.len() < 1_000);
    let answer = app.call(encoded.clone()).header("content-encoding", "gzip").send().await.expect(200);
    assert_eq!(decision(&answer), "live; rule=\"all\"; reason=too-large");
    let exactly = body(&"x".repeat(10_000 - body("").len()));
    assert_eq!(exactly.len(), 10_000);
    app.call(exactly).send().await.expect(202);
    app.finish().await;
}

async fn a_full_queue_is_served_live(engine: Engine) {
    let rules = rule("all", "when = \"true\"\naction = \"defer\"\nreply = \"ticket\"");
    let app = Setup::on(engine).set("defer.max_queued", "1").set("batch.linger", "1h").file(&rules).start().await;
    app.call(body("a")).send().await.expect(202);
    let answer = app.call(body("b")).send().await.expect(200);
    assert_eq!(decision(&answer), blocked("queue-full"));
    // Who asks is told.
    app.tagged(body("c")).send().await.refused(429, "rate_limit_error", "queue-full");
    app.finish().await;
}

async fn a_store_that_is_gone_is_no_hindrance(engine: Engine) {
    let app = deferring_all(engine, "").await;
    app.expect_errors();
    app.storage().change("alter table payload rename to gone").await;
    for _ in 0..2 {
        let answer = app.call(body("Hi")).send().await.expect(200);
        assert_eq!(decision(&answer), blocked("store-unavailable"));
    }
    assert_eq!(app.books().live_calls().count(), 2);
    assert_eq!(app.books().live_calls().next().unwrap().header("x-api-key"), Some(KEY));
    app.storage().change("alter table gone rename to payload").await;
    // For a moment nobody tries whether it is back: live calls do not wait for it one by one.
    let answer = app.call(body("Hi")).send().await.expect(200);
    assert_eq!(decision(&answer), blocked("store-unavailable"));
    app.clock.advance(Duration::from_secs(5));
    app.call(body("Hi")).send().await.expect(202);
    app.finish().await;
}

#[tokio::test]
async fn a_group_that_is_closed_is_served_live() {
    let app = deferring_all(Engine::Sqlite, "").await;
    let member = |prompt: &str| app.call(body(prompt)).header("x-defer-group", "run-1");
    member("a").send().await.expect(202);
    app.post("/deferred/groups/run-1/close").send().await.expect(200);
    let late = member("b").send().await.expect(200);
    assert_eq!(decision(&late), blocked("group-closed"));
    app.finish().await;
}
