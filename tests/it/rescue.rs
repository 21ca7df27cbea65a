//! Rescuing: what no batch brings home in time, by policy; and what its caller wants now.

use std::time::Duration;

use offpeak::simulator::{Books, Effect, Endpoint, Fault, ItemEnd, ItemMatch};
use serde_json::{Value, json};

use super::app::{Engine, KEY, OTHER_KEY, Setup, TestApp, body, on_both_engines};

on_both_engines! {
    near_its_deadline_a_call_is_sent_live,
    near_its_deadline_a_queued_call_is_sent_live,
    a_call_may_wait_beyond_its_deadline,
    a_call_expires_at_its_deadline_and_not_before,
    a_call_that_no_batch_can_answer_is_sent_live,
    a_rescue_waits_for_a_provider_that_is_overloaded,
    a_rescue_that_is_refused_fails,
    a_late_result_changes_the_cost_alone,
    a_promoted_call_is_sent_live_at_once,
    promoting_what_has_a_result_changes_nothing,
    every_submission_is_told,
}

const HOUR: Duration = Duration::from_hours(1);

/// Batches take two hours, and a deadline an hour away is near in three quarters of one.
fn slow(engine: Engine) -> Setup {
    Setup::on(engine).set("defer.rescue_lead", "15m").batch_time(2 * HOUR)
}

async fn defer_within(app: &TestApp, within: &str) -> String {
    app.tagged(body(within)).header("x-defer", within).send().await.id()
}

async fn promote(app: &TestApp, id: &str) -> Value {
    app.post(&format!("/deferred/{id}/promote")).send().await.expect(200).json()
}

/// The bodies of live calls.
fn live(books: &Books) -> Vec<&[u8]> {
    books.live_calls().map(|call| &call.body[..]).collect()
}

fn assert_served_live(deferral: &Value) {
    assert_eq!((&deferral["status"], &deferral["served_by"]), (&json!("succeeded"), &json!("live")));
    assert_eq!(deferral["message"]["usage"]["service_tier"], "standard");
    assert_eq!(deferral["cost"]["paid"], deferral["cost"]["live_price"]);
    assert!(deferral["cost"]["paid"].as_f64().unwrap() > 0.0);
}

async fn near_its_deadline_a_call_is_sent_live(engine: Engine) {
    let app = slow(engine).start().await;
    let streaming = body("Hi").replacen('{', r#"{"stream":true,"#, 1);
    let call = app.tagged(streaming).header("x-defer", "1h").header("x-defer-wait", "0");
    let id = call.header("anthropic-beta", "b-2,a-1").send().await.id();
    app.settle().await;
    app.clock.advance(Duration::from_mins(45) - Duration::from_millis(1));
    app.settle().await;
    assert_eq!(app.deferral(&id).await["status"], "batched");
    app.clock.advance(Duration::from_millis(1));
    app.settle().await;
    let deferral = app.deferral(&id).await;
    assert_served_live(&deferral);
    assert_eq!(deferral["attempts"], 2);
    assert_eq!(app.message(&id).await.expect(200).json(), deferral["message"]);
    let books = app.books();
    assert_eq!(live(&books), [body("Hi").as_bytes()]);
    let sent = books.live_calls().next().unwrap();
    assert_eq!((sent.header("x-api-key"), sent.header("anthropic-beta")), (Some(KEY), Some("a-1,b-2")));
    // Nobody needs the batch any more.
    app.finish().await;
    assert_eq!(app.books().to(Endpoint::BatchCancel).count(), 1);
    assert_eq!(app.deferral(&id).await["cost"], deferral["cost"]);
}

async fn near_its_deadline_a_queued_call_is_sent_live(engine: Engine) {
    let app = slow(engine).set("batch.linger", "1d").start().await;
    let id = defer_within(&app, "1h").await;
    app.clock.advance(Duration::from_mins(45));
    app.settle().await;
    let deferral = app.deferral(&id).await;
    assert_served_live(&deferral);
    assert_eq!((&deferral["attempts"], &deferral["batch_id"]), (&json!(1), &Value::Null));
    assert!(app.books().batches.is_empty());
}

async fn a_call_may_wait_beyond_its_deadline(engine: Engine) {
    let app = slow(engine).set("defer.on_deadline", "wait").start().await;
    let id = defer_within(&app, "1h").await;
    app.finish().await;
    let deferral = app.deferral(&id).await;
    assert_eq!((&deferral["status"], &deferral["served_by"]), (&json!("succeeded"), &json!("batch")));
    assert!(deferral["completed_at"].as_str() > deferral["deadline"].as_str());
    assert!(live(&app.books()).is_empty());
}

async fn a_call_expires_at_its_deadline_and_not_before(engine: Engine) {
    let app = slow(engine).set("defer.on_deadline", "expire").start().await;
    let id = defer_within(&app, "1h").await;
    app.settle().await;
    app.clock.advance(HOUR - Duration::from_millis(1));
    app.settle().await;
    assert_eq!(app.deferral(&id).await["status"], "batched");
    app.clock.advance(Duration::from_millis(1));
    app.settle().await;
    let deferral = app.deferral(&id).await;
    assert_eq!((&deferral["status"], &deferral["served_by"]), (&json!("expired"), &Value::Null));
    assert_eq!(deferral["error"]["error"]["type"], "timeout_error");
    assert_eq!(app.message(&id).await.expect(504).json(), deferral["error"]);
    assert!(live(&app.books()).is_empty());
    app.finish().await;
}

async fn a_call_that_no_batch_can_answer_is_sent_live(engine: Engine) {
    let app = Setup::on(engine).set("batch.max_attempts", "2").start().await;
    let ends = ItemEnd::Errored("overloaded_error".into());
    app.inject(Fault::anywhere(Effect::Items { which: ItemMatch::default(), ends }));
    let id = app.defer("Hi").await;
    app.finish().await;
    let deferral = app.deferral(&id).await;
    assert_served_live(&deferral);
    assert_eq!((&deferral["attempts"], app.books().items().count()), (&json!(3), 2));
}

async fn a_rescue_waits_for_a_provider_that_is_overloaded(engine: Engine) {
    let app = slow(engine).start().await;
    for effect in [Effect::status(529), Effect::status(500), Effect::rate_limit(Some(30)), Effect::CutBefore] {
        app.inject(Fault::at(Endpoint::Messages, effect).times(1));
    }
    let id = defer_within(&app, "1h").await;
    app.finish().await;
    assert_served_live(&app.deferral(&id).await);
    assert!(live(&app.books()).len() > 1);
}

async fn a_rescue_that_is_refused_fails(engine: Engine) {
    let app = slow(engine).start().await;
    let id = app.tagged(body("[error:permission_error]")).header("x-defer", "1h").send().await.id();
    app.finish().await;
    let deferral = app.deferral(&id).await;
    assert_eq!((&deferral["status"], &deferral["served_by"]), (&json!("failed"), &json!("live")));
    assert_eq!(app.message(&id).await.expect(403).json()["error"]["type"], "permission_error");
}

async fn a_late_result_changes_the_cost_alone(engine: Engine) {
    let app = slow(engine).start().await;
    let hurried = defer_within(&app, "1h").await;
    // The batch goes on for this one.
    let patient = defer_within(&app, "1d").await;
    app.settle().await;
    app.clock.advance(Duration::from_mins(45));
    app.settle().await;
    let rescued = app.deferral(&hurried).await;
    assert_served_live(&rescued);
    app.finish().await;
    let late = app.deferral(&hurried).await;
    let dollars = |deferral: &Value, name: &str| deferral["cost"][name].as_f64().unwrap();
    assert_eq!((&late["message"], &late["completed_at"]), (&rescued["message"], &rescued["completed_at"]));
    assert_eq!(dollars(&late, "live_price"), dollars(&rescued, "live_price"));
    let twice = dollars(&late, "paid_twice");
    assert!((twice - dollars(&late, "live_price") / 2.0).abs() < 1e-9, "{late}");
    assert!((dollars(&late, "paid") - dollars(&rescued, "paid") - twice).abs() < 1e-9, "{late}");
    let patient = app.deferral(&patient).await;
    assert_eq!((&patient["served_by"], &patient["cost"]["paid_twice"]), (&json!("batch"), &Value::Null));
}

async fn a_promoted_call_is_sent_live_at_once(engine: Engine) {
    let app = slow(engine).set("batch.linger", "1h").start().await;
    let queued = app.defer("1").await;
    assert_eq!(promote(&app, &queued).await["status"], "rescuing");
    app.settle().await;
    assert_served_live(&app.deferral(&queued).await);

    let batched = app.defer("2").await;
    app.clock.advance(HOUR);
    app.settle().await;
    assert_eq!(app.deferral(&batched).await["status"], "batched");
    assert_eq!(promote(&app, &batched).await["status"], "rescuing");
    assert_eq!(promote(&app, &batched).await["status"], "rescuing");
    app.finish().await;
    assert_served_live(&app.deferral(&batched).await);
    assert_eq!(live(&app.books()), [body("1").as_bytes(), body("2").as_bytes()]);
}

async fn promoting_what_has_a_result_changes_nothing(engine: Engine) {
    let app = TestApp::start(engine).await;
    let id = app.defer("Hi").await;
    app.settle().await;
    // The batch has its result by now, and it is paid for.
    app.simulator().end_batches().await;
    assert_eq!(promote(&app, &id).await["status"], "batched");
    app.finish().await;
    let done = app.deferral(&id).await;
    assert_eq!(done["served_by"], "batch");
    assert_eq!(promote(&app, &id).await, done);
    assert!(live(&app.books()).is_empty());
    let unknown = app.post("/deferred/dfr_0198c0de000070008000000000000000/promote").send().await;
    unknown.refused(404, "not_found_error", "not-found");
    let foreign = app.post(&format!("/deferred/{id}/promote")).key(OTHER_KEY).send().await;
    foreign.refused(404, "not_found_error", "not-found");
}

async fn every_submission_is_told(engine: Engine) {
    let app = Setup::on(engine).set("batch.max_attempts", "2").start().await;
    let once = |ends| Fault::anywhere(Effect::Items { which: ItemMatch::default(), ends }).times(1);
    app.inject(once(ItemEnd::Errored("overloaded_error".into())));
    app.inject(once(ItemEnd::Expired));
    let id = app.defer("Hi").await;
    app.finish().await;
    let shown = app.get(&format!("/deferred/{id}?history=1")).send().await.expect(200).json();
    let told: Vec<_> = shown["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| {
            let text = |name: &str| attempt[name].as_str().unwrap_or("-").to_owned();
            format!("{} {} {} {}", attempt["number"], text("served_by"), text("outcome"), text("error_type"))
        })
        .collect();
    assert_eq!(told, ["1 batch errored overloaded_error", "2 batch expired -", "3 live succeeded -"]);
    let batches: Vec<_> = app.books().batches.iter().map(|batch| json!(batch.id)).collect();
    assert_eq!([&shown["history"][0]["batch_id"], &shown["history"][1]["batch_id"]], [&batches[0], &batches[1]]);
    assert!(app.deferral(&id).await.get("history").is_none());
    let wrong = app.get(&format!("/deferred/{id}?history=yes")).send().await;
    wrong.refused(400, "invalid_request_error", "invalid-query");
}
