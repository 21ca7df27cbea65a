//! Reach: where a webhook may go at the moment when it is sent, and what an answer may do to us.

use std::time::Duration;

use serde_json::json;

use super::{OLD_SECRET, Receiver, Reply, SECRET, is_signed, section, setup};
use crate::it::app::{Engine, Setup, TestApp, on_both_engines};

on_both_engines! {
    what_may_not_be_reached_any_more_is_not_reached,
    a_receiver_that_was_removed_is_not_sent_to,
    a_name_that_does_not_resolve_is_accepted_and_tried,
    an_answer_without_end_holds_nothing_up,
}

async fn failure(app: &TestApp, id: &str) -> serde_json::Value {
    let delivery = app.delivery_of(id).await;
    assert_eq!(delivery["status"], "due");
    delivery["last_attempt"]["failure"].clone()
}

async fn what_may_not_be_reached_any_more_is_not_reached(engine: Engine) {
    let receiver = Receiver::start().await;
    let app = setup(engine).start().await;
    let plain = app.defer_to(&receiver.url("/"), "Hi").await;
    app.reload(&[("webhooks.allow_hosts", "")], "");
    app.finish().await;
    assert_eq!(failure(&app, &plain).await, "forbidden");
    assert!(receiver.got().is_empty());
    // As soon as it may be reached again, it is.
    app.reload(&[("webhooks.allow_hosts", "127.0.0.1")], "");
    app.clock.advance(Duration::from_secs(6));
    app.settle().await;
    assert_eq!(receiver.got().len(), 1);
}

async fn a_receiver_that_was_removed_is_not_sent_to(engine: Engine) {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let of = |receiver: &Receiver, secret: &str| section("warehouse", &receiver.url("/"), &format!("\"{secret}\""));
    let app = Setup::on(engine).file(&of(&receiver, SECRET)).start().await;
    let id = app.defer_to("warehouse", "Hi").await;
    app.reload(&[], "");
    app.finish().await;
    assert_eq!(failure(&app, &id).await, "no-such-receiver");
    let refused = app.tagged(crate::it::app::body("Ho")).header("x-defer-callback", "warehouse").send().await;
    refused.refused(400, "invalid_request_error", "invalid-header");
    // It comes back, at another place and with another secret.
    app.reload(&[], &of(&other, OLD_SECRET));
    app.clock.advance(Duration::from_secs(6));
    app.settle().await;
    assert!(receiver.got().is_empty());
    let [got] = other.got().try_into().unwrap();
    assert!(is_signed(&got, OLD_SECRET) && !is_signed(&got, SECRET));
    assert_eq!(app.delivery_of(&id).await["status"], "delivered");
}

async fn a_name_that_does_not_resolve_is_accepted_and_tried(engine: Engine) {
    let app = setup(engine).start().await;
    let id = app.defer_to("https://nowhere.invalid/hook", "Hi").await;
    app.finish().await;
    assert_eq!(failure(&app, &id).await, "unresolved");
    assert_eq!(app.delivery_of(&id).await["receiver"], "https://nowhere.invalid");
}

async fn an_answer_without_end_holds_nothing_up(engine: Engine) {
    let receiver =
        Receiver::scripted(|got, _| if got.path == "/endless" { Reply::Endless } else { Reply::status(200) }).await;
    let app = setup(engine).start().await;
    let endless = app.defer_to(&receiver.url("/endless"), "Hi").await;
    let id = app.defer_to(&receiver.url("/"), "Ho").await;
    app.finish().await;
    receiver.until_left().await;
    for id in [&endless, &id] {
        let delivery = app.delivery_of(id).await;
        assert_eq!((&delivery["status"], &delivery["last_attempt"]["status"]), (&json!("delivered"), &json!(200)));
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let receiver = Receiver::start().await;
    let app = setup(Engine::Sqlite).start().await;
    for prompt in ["1", "2", "3"] {
        app.defer_to(&receiver.url("/"), prompt).await;
        app.finish().await;
    }
    let ports: std::collections::HashSet<_> = receiver.got().iter().map(|got| got.peer).collect();
    assert_eq!((receiver.got().len(), ports.len()), (3, 1));
}
