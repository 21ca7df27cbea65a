//! Telling: what is told of what, in whose words, and signed by which secret.

use std::time::Duration;

use http::Method;
use offpeak::secret::{MasterKey, Vault};
use serde_json::{Value, json};

use super::{OLD_SECRET, Receiver, Reply, SECRET, delivery_id, is_signed, section, setup};
use crate::it::app::{Engine, Setup, body, on_both_engines};

on_both_engines! {
    what_is_told_is_the_deferral_itself,
    every_final_state_is_told,
    a_group_is_told_of_when_it_is_complete,
    a_receiver_is_told_by_its_name,
    nobody_is_told_who_did_not_ask,
}

async fn what_is_told_is_the_deferral_itself(engine: Engine) {
    let receiver = Receiver::start().await;
    let app = setup(engine).batch_time(Duration::from_secs(90)).start().await;
    let id = app.defer_to(&receiver.url("/hook?token=1"), "Hi").await;
    app.settle().await;
    assert!(receiver.got().is_empty(), "it is not final yet");
    app.finish().await;

    let [got] = receiver.got().try_into().unwrap();
    let shown = app.get(&format!("/deferred/{id}")).send().await.expect(200);
    let completed_at = shown.json()["completed_at"].as_str().unwrap().to_owned();
    // Byte for byte, so that what the provider has sent stays as it was.
    let expected = format!(r#"{{"type":"deferral.succeeded","timestamp":"{completed_at}","data":{}}}"#, shown.text());
    assert_eq!(std::str::from_utf8(&got.body).unwrap(), expected);
    assert_eq!(got.json()["data"]["message"]["type"], "message");

    assert_eq!((got.path.as_str(), got.header("content-type")), ("/hook?token=1", "application/json"));
    assert_eq!(got.header("user-agent"), concat!("offpeak/", env!("CARGO_PKG_VERSION")));
    assert_eq!(got.header("webhook-id"), delivery_id(&id));
    assert_eq!(got.header("webhook-timestamp"), (app.clock.now().as_millis() / 1_000).to_string());
    assert!(is_signed(&got, SECRET) && !is_signed(&got, OLD_SECRET));

    let delivery = app.delivery_of(&id).await;
    assert_eq!((&delivery["status"], &delivery["receiver"]), (&json!("delivered"), &json!(receiver.origin())));
    assert_eq!((&delivery["attempts"], &delivery["last_attempt"]["status"]), (&json!(1), &json!(204)));
    app.settle().await;
    assert_eq!(receiver.got().len(), 1, "once is enough");
}

async fn every_final_state_is_told(engine: Engine) {
    let receiver = Receiver::start().await;
    // One of them expires before there is a batch.
    let app = setup(engine).set("defer.on_deadline", "expire").set("batch.linger", "90m").start().await;
    let url = receiver.url("/");
    let succeeded = app.defer_to(&url, "Hi").await;
    let failed = app.defer_to(&url, "Ho [error:invalid_request_error]").await;
    let expired = app.tagged(body("Ha")).header("x-defer", "1h").header("x-defer-callback", &url).send().await.id();
    let canceled = app.defer_to(&url, "He").await;
    app.post(&format!("/deferred/{canceled}/cancel")).send().await.expect(200);
    app.finish().await;

    let got = receiver.got();
    assert_eq!(got.len(), 4);
    for (id, state, status) in [
        (&succeeded, "succeeded", Value::Null),
        (&failed, "failed", json!("invalid_request_error")),
        (&expired, "expired", json!("timeout_error")),
        (&canceled, "canceled", json!("invalid_request_error")),
    ] {
        let told = got.iter().find(|got| got.header("webhook-id") == delivery_id(id)).unwrap();
        let event = told.json();
        assert_eq!(event["type"], format!("deferral.{state}"));
        assert_eq!((&event["data"]["status"], &event["data"]["error"]["error"]["type"]), (&json!(state), &status));
        assert_eq!(event["timestamp"], event["data"]["completed_at"]);
        assert!(is_signed(told, SECRET));
    }
}

async fn a_group_is_told_of_when_it_is_complete(engine: Engine) {
    let receiver = Receiver::scripted(|_, before| Reply::status(if before == 0 { 500 } else { 200 })).await;
    let app = setup(engine).batch_time(Duration::from_secs(90)).start().await;
    for prompt in ["1", "2"] {
        app.tagged(body(prompt)).header("x-defer-group", "nightly").send().await.id();
    }
    let closing = json!({"callback": receiver.url("/group"), "expect": 2}).to_string();
    app.post("/deferred/groups/nightly/close").body(closing).send().await.expect(200);
    app.settle().await;
    assert!(receiver.got().is_empty(), "its members are not final yet");
    app.finish().await;
    app.clock.advance(Duration::from_secs(6));
    app.settle().await;

    let [refused, got] = receiver.got().try_into().unwrap();
    assert_eq!((&refused.body, refused.header("webhook-id")), (&got.body, got.header("webhook-id")));
    let shown = app.get("/deferred/groups/nightly").send().await.expect(200);
    let announced_at = got.json()["timestamp"].as_str().unwrap().to_owned();
    let expected = format!(r#"{{"type":"group.completed","timestamp":"{announced_at}","data":{}}}"#, shown.text());
    assert_eq!(std::str::from_utf8(&got.body).unwrap(), expected);
    assert_eq!(
        (&got.json()["data"]["status"], &got.json()["data"]["counts"]["succeeded"]),
        (&json!("announced"), &json!(2))
    );
    assert!(got.json()["data"]["last_completed_at"].as_str().unwrap() <= announced_at.as_str());
    assert!(is_signed(&got, SECRET));
    let path = format!("/api/deliveries/{}", got.header("webhook-id"));
    let delivery = app.operator(Method::GET, &path).send().await.expect(200).json();
    assert_eq!((&delivery["group"], &delivery["deferral_id"]), (&json!("nightly"), &Value::Null));
}

async fn a_receiver_is_told_by_its_name(engine: Engine) {
    let receiver = Receiver::start().await;
    let both = format!("[\"{SECRET}\", \"{OLD_SECRET}\"]");
    let file = section("warehouse", &receiver.url("/in?token=1"), &both)
        + &section("other", &receiver.url("/other"), &format!("\"{OLD_SECRET}\""));
    // It is on this machine and not encrypted, as the operator wants it.
    let app = Setup::on(engine).file(&file).start().await;
    let id = app.defer_to("warehouse", "Hi").await;
    app.finish().await;
    let [got] = receiver.got().try_into().unwrap();
    assert_eq!((got.path.as_str(), got.header("webhook-id")), ("/in?token=1", delivery_id(&id).as_str()));
    // While a secret rotates there are two signatures, the newer one first.
    assert!(is_signed(&got, SECRET) && is_signed(&got, OLD_SECRET));
    let signatures: Vec<_> = got.header("webhook-signature").split(' ').map(str::to_owned).collect();
    assert_eq!(signatures.len(), 2);
    let mut first = got.clone();
    first.headers.insert("webhook-signature", signatures[0].parse().unwrap());
    assert!(is_signed(&first, SECRET) && !is_signed(&first, OLD_SECRET));
    assert_eq!(app.delivery_of(&id).await["receiver"], "warehouse");
}

async fn nobody_is_told_who_did_not_ask(engine: Engine) {
    let receiver = Receiver::start().await;
    let app = setup(engine).start().await;
    app.defer("Hi").await;
    app.finish().await;
    assert!(receiver.got().is_empty());
    let page = app.operator(Method::GET, "/api/deliveries").send().await.expect(200).json();
    assert_eq!(page, json!({"data": [], "has_more": false, "first_id": null, "last_id": null}));
}

#[tokio::test]
async fn without_a_secret_callbacks_are_signed_with_one_of_the_gateways_own() {
    let receiver = Receiver::start().await;
    let app = Setup::on(Engine::Sqlite).set("webhooks.allow_hosts", "127.0.0.1").start().await;
    app.defer_to(&receiver.url("/"), "Hi").await;
    app.finish().await;
    let [got] = receiver.got().try_into().unwrap();
    let master = MasterKey::load_or_create(&app.storage().folder().join("master.key")).unwrap();
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let secret = format!("whsec_{}", BASE64_STANDARD.encode(Vault::new(&master).webhook_key()));
    assert!(is_signed(&got, &secret) && !is_signed(&got, SECRET));
}
