//! Accepting: what a caller gets for a call that asks to be deferred.

use std::time::Duration;

use serde_json::json;

use super::app::{Engine, KEY, OTHER_KEY, Setup, TestApp, body, on_both_engines};

on_both_engines! {
    a_ticket_carries_the_deferral,
    a_deferred_call_comes_back_with_its_message,
}

async fn a_ticket_carries_the_deferral(engine: Engine) {
    let app = Setup::on(engine).set("batch.linger", "50s").start().await;
    let ticket = app
        .tagged(body("Hi"))
        .header("x-defer", "6h")
        .header("x-defer-workload", "nightly")
        .header("x-defer-ref", "row/17")
        .header("x-defer-group", "run-1")
        .send()
        .await
        .expect(202);
    let shown = ticket.json();
    let id = shown["id"].as_str().unwrap();
    assert_eq!((id.len(), &id[..4]), (36, "dfr_"));
    assert_eq!(ticket.header("location"), Some(format!("/deferred/{id}").as_str()));
    assert_eq!(ticket.header("request-id"), Some(id));
    assert_eq!(ticket.header("content-type"), Some("application/json"));
    assert_eq!(ticket.header("x-defer-decision"), Some(format!("deferred; reason=header; id={id}").as_str()));
    // The linger, and a moment for the batch itself.
    assert_eq!(ticket.header("retry-after"), Some("60"));
    let expected = json!({
        "type": "deferral", "id": id, "status": "queued", "model": "claude-haiku-4-5", "workload": "nightly",
        "ref": "row/17", "group": "run-1", "created_at": "2026-11-22T12:20:00.000Z",
        "deadline": "2026-11-22T18:20:00.000Z", "completed_at": null, "cancel_requested": false, "batch_id": null,
        "attempts": 0, "served_by": null, "message": null, "error": null, "cost": null,
    });
    assert_eq!(shown, expected);
    assert_eq!(app.deferral(id).await, expected);
    assert!(app.books().live_calls().next().is_none());
    app.finish().await;
}

async fn a_deferred_call_comes_back_with_its_message(engine: Engine) {
    let app = TestApp::start(engine).await;
    let id = app.defer("Hi").await;
    app.finish().await;
    let deferral = app.deferral(&id).await;
    assert_eq!((&deferral["status"], &deferral["served_by"]), (&"succeeded".into(), &"batch".into()));
    let _ = (KEY, OTHER_KEY, Duration::ZERO);
}
