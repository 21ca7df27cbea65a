//! Canceling: what becomes of the wish, by how far the call has come.

use std::time::Duration;

use offpeak::simulator::{Effect, Endpoint, Fault, ItemEnd, ItemMatch};
use serde_json::{Value, json};

use super::app::{Engine, Setup, TestApp, on_both_engines};

on_both_engines! {
    what_is_queued_is_canceled_at_once,
    what_was_billed_succeeds_all_the_same,
    a_batch_that_nobody_needs_is_stopped,
    what_brought_no_message_is_canceled,
    what_is_final_stays_as_it_is,
}

async fn cancel(app: &TestApp, id: &str) -> Value {
    app.post(&format!("/deferred/{id}/cancel")).send().await.expect(200).json()
}

async fn what_is_queued_is_canceled_at_once(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (id, other) = (app.defer("Hi").await, app.defer("Ho").await);
    let canceled = cancel(&app, &id).await;
    assert_eq!((&canceled["status"], &canceled["cancel_requested"]), (&json!("canceled"), &json!(true)));
    assert_eq!((&canceled["completed_at"], &canceled["served_by"]), (&canceled["created_at"], &Value::Null));
    assert_eq!((&canceled["message"], &canceled["error"]["type"]), (&Value::Null, &json!("error")));
    let message = app.message(&id).await.expect(410);
    assert_eq!((message.json(), message.header("x-should-retry")), (canceled["error"].clone(), Some("false")));
    app.finish().await;
    let books = app.books();
    assert_eq!(books.items().map(|item| &*item.custom_id).collect::<Vec<_>>(), [other]);
}

async fn what_was_billed_succeeds_all_the_same(engine: Engine) {
    let app = TestApp::start(engine).await;
    let id = app.defer("Hi").await;
    app.settle().await;
    app.simulator().end_batches().await;
    let asked = cancel(&app, &id).await;
    assert_eq!((&asked["status"], &asked["cancel_requested"]), (&json!("batched"), &json!(true)));
    app.finish().await;
    let deferral = app.deferral(&id).await;
    assert_eq!((&deferral["status"], &deferral["cancel_requested"]), (&json!("succeeded"), &json!(true)));
    assert_eq!(app.message(&id).await.status, 200);
}

async fn a_batch_that_nobody_needs_is_stopped(engine: Engine) {
    let app = Setup::on(engine).batch_time(Duration::from_hours(1)).start().await;
    let ids = [app.defer("Hi").await, app.defer("Ho").await];
    app.settle().await;
    let canceled = |app: &TestApp| app.books().to(Endpoint::BatchCancel).count();
    cancel(&app, &ids[0]).await;
    app.clock.advance(Duration::from_mins(5));
    app.settle().await;
    assert_eq!(canceled(&app), 0, "somebody waits for the other call");
    cancel(&app, &ids[1]).await;
    app.finish().await;
    assert_eq!(canceled(&app), 1);
    for id in ids {
        assert_eq!(app.deferral(&id).await["status"], "canceled");
    }
}

async fn what_brought_no_message_is_canceled(engine: Engine) {
    for end in [ItemEnd::Expired, ItemEnd::Canceled, ItemEnd::Errored("overloaded_error".into())] {
        let app = Setup::on(engine).batch_time(Duration::from_mins(1)).start().await;
        app.inject(Fault::anywhere(Effect::Items { which: ItemMatch::default(), ends: end }));
        let id = app.defer("Hi").await;
        app.settle().await;
        cancel(&app, &id).await;
        app.finish().await;
        let deferral = app.deferral(&id).await;
        assert_eq!((&deferral["status"], &deferral["attempts"]), (&json!("canceled"), &json!(1)));
        assert_eq!(app.message(&id).await.status, 410);
    }
}

async fn what_is_final_stays_as_it_is(engine: Engine) {
    let app = TestApp::start(engine).await;
    let id = app.defer("Hi").await;
    app.finish().await;
    let before = app.deferral(&id).await;
    assert_eq!(cancel(&app, &id).await, before);
    let canceled = app.defer("Ho").await;
    let first = cancel(&app, &canceled).await;
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(cancel(&app, &canceled).await, first);
}
