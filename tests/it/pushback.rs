//! Pushback: what a provider that refuses a batch leads to, and for whom.

use std::time::Duration;

use offpeak::simulator::{Effect, Endpoint, Fault};
use serde_json::{Value, json};

use super::app::{Engine, KEY, OTHER_KEY, Setup, TestApp, body, on_both_engines};

on_both_engines! {
    a_credential_that_is_refused_waits_until_it_is_taken,
    a_credential_that_stays_refused_fails_at_the_deadline,
    a_rate_limit_is_waited_out_by_its_lane_alone,
    a_batch_that_is_too_large_is_halved,
    a_call_that_is_too_large_alone_fails,
    the_call_to_blame_fails_alone,
    what_is_wrong_with_the_headers_fails_every_call_at_once,
    an_upstream_that_is_away_is_waited_for,
}

/// Calls in one batch.
const CALLS: usize = 8;

async fn defer_some(app: &TestApp) -> Vec<String> {
    let mut ids = Vec::new();
    for prompt in 0..CALLS {
        ids.push(app.defer(&format!("call {prompt}")).await);
    }
    ids
}

async fn assert_all_succeeded(app: &TestApp, ids: &[String]) {
    for id in ids {
        let deferral = app.deferral(id).await;
        // What the provider did not take was not submitted.
        assert_eq!((&deferral["status"], &deferral["attempts"]), (&json!("succeeded"), &json!(1)));
    }
    let books = app.books();
    let mut submitted: Vec<_> = books.items().map(|item| &*item.custom_id).collect();
    submitted.sort_unstable();
    let mut expected: Vec<_> = ids.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(submitted, expected);
}

fn creates(app: &TestApp) -> usize {
    app.books().to(Endpoint::BatchCreate).count()
}

async fn a_credential_that_is_refused_waits_until_it_is_taken(engine: Engine) {
    for status in [401, 403] {
        let app = TestApp::start(engine).await;
        app.inject(Fault::at(Endpoint::BatchCreate, Effect::status(status)).times(3));
        let ids = defer_some(&app).await;
        app.settle().await;
        // The first pause is a minute, less up to a quarter.
        app.clock.advance(Duration::from_secs(44));
        app.settle().await;
        assert_eq!(creates(&app), 1, "it is tried rarely");
        app.finish().await;
        assert_eq!(creates(&app), 4);
        assert_all_succeeded(&app, &ids).await;
    }
}

async fn a_credential_that_stays_refused_fails_at_the_deadline(engine: Engine) {
    let app = Setup::on(engine).set("defer.on_deadline", "wait").start().await;
    let id = app.tagged(body("Hi")).key("sk-ant-invalid-1").header("x-defer", "2h").send().await.id();
    app.finish().await;
    let shown = app.get(&format!("/deferred/{id}")).key("sk-ant-invalid-1").send().await.expect(200).json();
    assert_eq!(
        (&shown["status"], &shown["error"]["error"]["type"]),
        (&json!("failed"), &json!("authentication_error"))
    );
    assert_eq!(shown["error"]["error"]["message"], "invalid x-api-key");
    assert!(shown["completed_at"].as_str() >= shown["deadline"].as_str());
    app.get(&format!("/deferred/{id}/message")).key("sk-ant-invalid-1").send().await.expect(401);
}

async fn a_rate_limit_is_waited_out_by_its_lane_alone(engine: Engine) {
    let app = TestApp::start(engine).await;
    let limited = Fault::at(Endpoint::BatchCreate, Effect::rate_limit(Some(300)));
    app.inject(limited.with_credential(KEY).times(1));
    let mut ids = vec![app.defer("Hi").await];
    ids.push(app.tagged(body("Ho")).key(OTHER_KEY).send().await.id());
    app.settle().await;
    ids.push(app.defer("Ha").await);
    app.clock.advance(Duration::from_secs(299));
    app.settle().await;
    assert_eq!(app.books().items().map(|item| &*item.custom_id).collect::<Vec<_>>(), [ids[1].as_str()]);
    assert_eq!(creates(&app), 2);
    app.clock.advance(Duration::from_secs(1));
    app.settle().await;
    assert_eq!(app.books().items().count(), 3);
    app.finish().await;
}

async fn a_batch_that_is_too_large_is_halved(engine: Engine) {
    for effect in [Effect::edge_too_large(), Effect::status(413)] {
        let app = TestApp::start(engine).await;
        let two = 2 * (body("call 0").len() + 100);
        app.inject(Fault::at(Endpoint::BatchCreate, effect).with_bytes(two));
        let ids = defer_some(&app).await;
        app.finish().await;
        let sizes: Vec<_> = app.books().batches.iter().map(|batch| batch.items.len()).collect();
        assert_eq!(sizes, [2, 2, 2, 2]);
        assert_all_succeeded(&app, &ids).await;
    }
}

async fn a_call_that_is_too_large_alone_fails(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.inject(Fault::at(Endpoint::BatchCreate, Effect::edge_too_large()).with_bytes(5_000));
    let ids = defer_some(&app).await;
    let large = app.defer(&"x".repeat(5_000)).await;
    app.finish().await;
    let deferral = app.deferral(&large).await;
    assert_eq!(
        (&deferral["status"], &deferral["error"]["error"]["type"]),
        (&json!("failed"), &json!("request_too_large"))
    );
    assert_eq!(app.message(&large).await.status, 413);
    assert_all_succeeded(&app, &ids).await;
}

async fn the_call_to_blame_fails_alone(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.inject(Fault::at(Endpoint::BatchCreate, Effect::status(400)).with_text("to blame"));
    let ids = defer_some(&app).await;
    let blamed = app.defer("to blame").await;
    app.finish().await;
    let deferral = app.deferral(&blamed).await;
    assert_eq!((&deferral["status"], &deferral["message"]), (&json!("failed"), &Value::Null));
    assert_eq!(app.message(&blamed).await.expect(400).json(), deferral["error"]);
    assert_all_succeeded(&app, &ids).await;
}

async fn what_is_wrong_with_the_headers_fails_every_call_at_once(engine: Engine) {
    let app = TestApp::start(engine).await;
    let mut ids = Vec::new();
    for prompt in 0..CALLS {
        let call = app.tagged(body(&prompt.to_string())).header("anthropic-beta", "unknown-beta");
        ids.push(call.send().await.id());
    }
    app.settle().await;
    for id in &ids {
        let message = app.message(id).await.expect(400).json();
        assert!(message["error"]["message"].as_str().unwrap().contains("unknown-beta"), "{message}");
    }
    assert_eq!(creates(&app), 1);
    // What the provider did not take is not among its batches.
    app.leave_books_unchecked();
}

async fn an_upstream_that_is_away_is_waited_for(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.inject(Fault::at(Endpoint::BatchCreate, Effect::status(529)).times(5));
    let ids = defer_some(&app).await;
    app.finish().await;
    assert_eq!(creates(&app), 6);
    assert_all_succeeded(&app, &ids).await;
}
