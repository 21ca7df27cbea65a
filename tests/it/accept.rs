//! Accepting: what a caller gets for a call that asks to be deferred, and for one that it repeats.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::app::{Engine, KEY, OTHER_KEY, Setup, TestApp, body, on_both_engines};

on_both_engines! {
    a_ticket_carries_the_deferral,
    a_deadline_is_what_the_caller_says,
    a_key_gives_the_same_deferral_as_long_as_it_is_kept,
    a_key_belongs_to_its_tenant_and_its_body,
    calls_that_repeat_at_once_are_one_deferral,
    a_retry_attaches_to_what_is_there,
    a_retry_attaches_for_an_hour_after_the_result,
    without_a_key_or_a_retry_a_twin_is_another_deferral,
}

async fn a_ticket_carries_the_deferral(engine: Engine) {
    let app = Setup::on(engine).set("batch.linger", "50s").start().await;
    let ticket = app
        .tagged(body("Hi"))
        .header("x-defer", "6h")
        .header("x-defer-wait", "0")
        .header("x-defer-workload", "nightly")
        .header("x-defer-ref", "row/17")
        .header("x-defer-group", "run-1")
        .send()
        .await
        .expect(202);
    let shown = ticket.json();
    let id = shown["id"].as_str().unwrap();
    assert_eq!((id.len(), &id[..4]), (36, "dfr_"));
    let expected = json!({
        "type": "deferral", "id": id, "status": "queued", "model": "claude-haiku-4-5", "workload": "nightly",
        "ref": "row/17", "group": "run-1", "created_at": "2026-11-22T12:20:00.000Z",
        "deadline": "2026-11-22T18:20:00.000Z", "completed_at": null, "cancel_requested": false, "batch_id": null,
        "attempts": 0, "served_by": null, "message": null, "error": null, "cost": null,
    });
    assert_eq!(shown, expected);
    assert_eq!(app.deferral(id).await, expected);
    let mut headers: Vec<_> = ticket.headers.keys().map(http::HeaderName::as_str).collect();
    headers.sort_unstable();
    insta::assert_snapshot!(headers.join(" "), @"content-length content-type location request-id retry-after x-defer-decision");
    for (name, value) in [
        ("location", format!("/deferred/{id}")),
        ("request-id", id.to_owned()),
        ("x-defer-decision", format!("deferred; reason=header; id={id}")),
        ("content-type", "application/json".to_owned()),
        // The linger, and a moment for the batch itself.
        ("retry-after", "60".to_owned()),
    ] {
        assert_eq!(ticket.header(name), Some(value.as_str()));
    }
    assert!(app.books().live_calls().next().is_none());
    app.finish().await;
}

async fn a_deadline_is_what_the_caller_says(engine: Engine) {
    let app = Setup::on(engine).set("defer.default_deadline", "12h").start().await;
    for (asked, deadline) in [
        ("batch", "2026-11-23T00:20:00.000Z"),
        ("true", "2026-11-23T00:20:00.000Z"),
        ("5m", "2026-11-22T12:25:00.000Z"),
        ("4m60s", "2026-11-22T12:25:00.000Z"),
        ("2d", "2026-11-24T12:20:00.000Z"),
        ("2026-11-22T15:00:00Z", "2026-11-22T15:00:00.000Z"),
        ("2026-11-22T15:00:00.5+01:00", "2026-11-22T14:00:00.500Z"),
    ] {
        let ticket = app.tagged(body(asked)).header("x-defer", asked).send().await.expect(202).json();
        assert_eq!(ticket["deadline"], deadline, "{asked}");
    }
    app.finish().await;
}

async fn a_key_gives_the_same_deferral_as_long_as_it_is_kept(engine: Engine) {
    let app = Setup::on(engine).set("defer.retention", "10d").start().await;
    let keyed = || app.tagged(body("Hi")).header("idempotency-key", "row-17").send();
    let first = keyed().await.expect(202);
    let again = keyed().await.expect(202);
    assert_eq!((again.json(), again.header("location")), (first.json(), first.header("location")));
    app.finish().await;

    app.clock.advance(Duration::from_hours(9 * 24));
    let late = keyed().await.expect(202).json();
    assert_eq!((&late["id"], &late["status"]), (&first.json()["id"], &"succeeded".into()));
    app.clock.advance(Duration::from_hours(2 * 24));
    app.settle().await;
    assert_ne!(keyed().await.id(), first.id());
    app.finish().await;
}

async fn a_key_belongs_to_its_tenant_and_its_body(engine: Engine) {
    let app = TestApp::start(engine).await;
    let keyed = |prompt: &str| app.tagged(body(prompt)).header("idempotency-key", "row-17");
    let first = keyed("Hi").send().await.id();
    assert_ne!(keyed("Hi").key(OTHER_KEY).send().await.id(), first);
    assert_eq!(keyed("Hi").bearer(KEY).send().await.id(), first);

    keyed("Ho").send().await.refused(400, "invalid_request_error", "idempotency-mismatch");
    // Without `stream` both are the same call.
    let streaming = body("Hi").replacen('{', r#"{"stream":false,"#, 1);
    assert_eq!(app.tagged(streaming).header("idempotency-key", "row-17").send().await.id(), first);
    assert_eq!(app.storage().count("select count(*) from deferral").await, 2);
    app.finish().await;
}

async fn calls_that_repeat_at_once_are_one_deferral(engine: Engine) {
    let app = TestApp::start(engine).await;
    let keyed = (0..16).map(|_| app.tagged(body("Hi")).header("idempotency-key", "row-17").send());
    let mut ids: Vec<_> = join_all(keyed).await.into_iter().map(|ticket| ticket.id()).collect();
    let retried = (0..16).map(|_| app.tagged(body("Ho")).header("x-stainless-retry-count", "1").send());
    ids.extend(join_all(retried).await.into_iter().map(|ticket| ticket.id()));
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2);
    app.finish().await;
}

async fn a_retry_attaches_to_what_is_there(engine: Engine) {
    let app = TestApp::start(engine).await;
    let first = app.tagged(body("Hi")).header("x-stainless-retry-count", "0").send().await.id();
    let retry = |prompt: &str| app.tagged(body(prompt)).header("x-stainless-retry-count", "2");
    let attached = retry("Hi").send().await;
    assert_eq!(attached.header("x-defer-decision"), Some(format!("deferred; reason=header; id={first}").as_str()));
    assert_eq!(attached.id(), first);
    assert_ne!(retry("Ho").send().await.id(), first);
    assert_ne!(retry("Hi").key(OTHER_KEY).send().await.id(), first);
    app.settle().await;
    assert_eq!(retry("Hi").send().await.expect(202).json()["status"], "batched");
    app.finish().await;
}

async fn a_retry_attaches_for_an_hour_after_the_result(engine: Engine) {
    let app = TestApp::start(engine).await;
    let first = app.defer("Hi").await;
    app.finish().await;
    let retry = || app.tagged(body("Hi")).header("x-stainless-retry-count", "1").send();
    app.clock.advance(Duration::from_mins(59));
    let attached = retry().await.expect(202).json();
    assert_eq!((attached["id"].as_str(), &attached["status"]), (Some(first.as_str()), &"succeeded".into()));
    app.clock.advance(Duration::from_mins(1));
    assert_ne!(retry().await.id(), first);
    app.finish().await;
}

async fn without_a_key_or_a_retry_a_twin_is_another_deferral(engine: Engine) {
    let app = TestApp::start(engine).await;
    assert_ne!(app.defer("Hi").await, app.defer("Hi").await);
    app.finish().await;
}
