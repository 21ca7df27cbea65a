//! Groups as their owners meet them: looked at, closed, and announced.

use http::Method;
use serde_json::{Value, json};

use super::app::{Answer, Call, Engine, KEY, OTHER_KEY, Setup, TestApp, body, on_both_engines};
use super::webhooks::{Receiver, SECRET, is_signed};

on_both_engines! {
    a_group_is_shown_as_agreed,
    a_group_is_announced_when_its_last_member_is_final,
    a_complete_group_is_told_of_once,
    a_group_that_is_complete_when_it_is_closed_is_told_of,
    who_is_told_of_a_group_may_be_changed,
    a_closed_group_takes_no_more,
    a_retry_finds_its_deferral_in_a_closed_group,
    an_expected_group_takes_its_members_and_no_more,
    a_group_that_is_short_of_members_waits,
    canceled_members_are_final,
    nobody_else_sees_a_group,
    the_operator_sees_the_one_group_of_a_name,
    closing_twice_is_harmless,
    a_closing_is_read_strictly,
    a_group_goes_with_its_members,
}

fn member(app: &TestApp, prompt: &str, group: &str) -> Call {
    app.tagged(body(prompt)).header("x-defer-group", group)
}

fn show(app: &TestApp, name: &str) -> Call {
    app.get(&format!("/deferred/groups/{name}"))
}

fn close(app: &TestApp, name: &str, body: impl Into<String>) -> Call {
    app.post(&format!("/deferred/groups/{name}/close")).body(body.into())
}

/// The group that an answer shows.
#[track_caller]
fn group(answer: Answer) -> Value {
    let group = answer.expect(200).json();
    assert_eq!(group["type"], "group");
    group
}

async fn status(app: &TestApp, name: &str) -> String {
    group(show(app, name).send().await)["status"].as_str().unwrap().to_owned()
}

#[track_caller]
fn not_found(answer: Answer) {
    let message = answer.refused(404, "not_found_error", "not-found");
    assert_eq!(message, "there is no such group");
}

async fn a_group_is_shown_as_agreed(engine: Engine) {
    let app = TestApp::start(engine).await;
    let first = member(&app, "1", "nightly").send().await.id();
    member(&app, "2", "nightly").send().await.id();
    app.defer("in no group").await;
    let counts = |queued: u32, succeeded: u32, canceled: u32| {
        json!({"queued": queued, "batched": 0, "rescuing": 0, "succeeded": succeeded, "failed": 0, "expired": 0,
            "canceled": canceled})
    };
    let open = show(&app, "nightly").send().await;
    let nothing = json!({"currency": "USD", "paid": 0.0, "live_price": 0.0});
    assert_eq!(
        open.json(),
        json!({"type": "group", "name": "nightly", "status": "open", "expect": null, "counts": counts(2, 0, 0),
            "first_completed_at": null, "last_completed_at": null, "cost": nothing})
    );
    let order: Vec<_> = open.text().split('"').filter(|word| word.chars().all(char::is_alphabetic)).collect();
    assert!(
        order.starts_with(&["type", "group", "name", "nightly", "status", "open", "expect", "counts"]),
        "{order:?}"
    );

    app.post(&format!("/deferred/{first}/cancel")).send().await.expect(200);
    app.clock.advance(std::time::Duration::from_secs(5));
    app.finish().await;
    let done = group(show(&app, "nightly").send().await);
    assert_eq!((&done["status"], &done["counts"]), (&json!("open"), &counts(0, 1, 1)));
    assert!(done["first_completed_at"].as_str() < done["last_completed_at"].as_str(), "{done}");
    let page = app.get("/deferred?group=nightly&status=succeeded").send().await.json();
    assert_eq!(done["cost"], page["data"][0]["cost"]);
    assert_eq!(done["last_completed_at"], page["data"][0]["completed_at"]);
}

async fn a_group_is_announced_when_its_last_member_is_final(engine: Engine) {
    let app = TestApp::start(engine).await;
    member(&app, "1", "g").send().await.id();
    app.finish().await;
    let last = member(&app, "2", "g").send().await.id();
    let closed = group(close(&app, "g", "").send().await);
    assert_eq!((&closed["status"], &closed["counts"]["queued"]), (&json!("closed"), &json!(1)));
    app.finish().await;
    assert_eq!(app.deferral(&last).await["status"], "succeeded");
    assert_eq!(status(&app, "g").await, "announced");
    // Whoever closes it when all are final already hears at once that it is complete.
    member(&app, "3", "h").send().await.id();
    app.finish().await;
    assert_eq!(group(close(&app, "h", "{}").send().await)["status"], "announced");
}

/// A gateway whose callers may name a receiver on this machine.
async fn telling(engine: Engine, receiver: &Receiver) -> TestApp {
    let file = format!(
        "[[receiver]]\nname = \"warehouse\"\nurl = \"{}\"\nsecret = \"{SECRET}\"\n",
        receiver.url("/warehouse")
    );
    let setup = Setup::on(engine).set("webhooks.allow_hosts", "127.0.0.1").set("webhooks.secret", SECRET);
    setup.file(&file).start().await
}

async fn a_complete_group_is_told_of_once(engine: Engine) {
    let receiver = Receiver::start().await;
    let app = telling(engine, &receiver).await;
    member(&app, "1", "g").send().await.id();
    member(&app, "2", "g").send().await.id();
    let callback = json!({"callback": receiver.url("/hook?token=1"), "expect": 3}).to_string();
    close(&app, "g", callback).send().await.expect(200);
    app.finish().await;
    assert!(receiver.got().is_empty(), "one is missing");
    app.clock.advance(std::time::Duration::from_secs(5));
    member(&app, "3", "g").send().await.id();
    app.finish().await;
    app.settle().await;
    let [got] = receiver.got().try_into().unwrap();
    let shown = show(&app, "g").send().await.expect(200);
    let event = got.json();
    assert_eq!((&event["type"], &event["data"]), (&json!("group.completed"), &shown.json()));
    assert_eq!(event["timestamp"], shown.json()["last_completed_at"]);
    assert_eq!((&event["data"]["status"], &event["data"]["counts"]["succeeded"]), (&json!("announced"), &json!(3)));
    assert!(got.path == "/hook?token=1" && got.header("webhook-id").starts_with("dlv_") && is_signed(&got, SECRET));
    // Nor does it help to close it again.
    close(&app, "g", json!({"callback": "warehouse"}).to_string()).send().await.expect(200);
    app.settle().await;
    assert_eq!(receiver.got().len(), 1);
    let page = app.operator(Method::GET, "/api/deliveries").send().await.expect(200).json();
    assert_eq!((&page["data"][0]["event"], &page["data"][0]["group"]), (&json!("group.completed"), &json!("g")));
    assert_eq!(page["data"].as_array().unwrap().len(), 1);
}

async fn a_group_that_is_complete_when_it_is_closed_is_told_of(engine: Engine) {
    let receiver = Receiver::start().await;
    let app = telling(engine, &receiver).await;
    member(&app, "1", "g").send().await.id();
    app.finish().await;
    let closed = close(&app, "g", json!({"callback": "warehouse"}).to_string()).send().await;
    assert_eq!(group(closed)["status"], "announced");
    app.settle().await;
    let [got] = receiver.got().try_into().unwrap();
    assert_eq!((got.path.as_str(), &got.json()["type"]), ("/warehouse", &json!("group.completed")));
    // Another tenant's group of this name is another event.
    member(&app, "1", "g").key(OTHER_KEY).send().await.id();
    close(&app, "g", json!({"callback": "warehouse"}).to_string()).key(OTHER_KEY).send().await.expect(200);
    app.finish().await;
    let told: Vec<_> = receiver.got().iter().map(|got| got.header("webhook-id").to_owned()).collect();
    assert!(told.len() == 2 && told[0] != told[1], "{told:?}");
}

async fn who_is_told_of_a_group_may_be_changed(engine: Engine) {
    let receiver = Receiver::start().await;
    let app = telling(engine, &receiver).await;
    member(&app, "1", "g").send().await.id();
    for callback in ["warehouse", &receiver.url("/first"), &receiver.url("/second")] {
        close(&app, "g", json!({"callback": callback}).to_string()).send().await.expect(200);
    }
    close(&app, "g", "").send().await.expect(200);
    app.finish().await;
    assert_eq!(receiver.got().iter().map(|got| got.path.as_str()).collect::<Vec<_>>(), ["/second"]);
}

async fn a_closed_group_takes_no_more(engine: Engine) {
    let app = TestApp::start(engine).await;
    member(&app, "1", "g").send().await.id();
    close(&app, "g", "").send().await.expect(200);
    for status in ["closed", "announced"] {
        let refused = member(&app, "2", "g").send().await;
        assert_eq!(refused.header("x-defer-decision"), Some("refused; reason=group-closed"));
        let message = refused.refused(400, "invalid_request_error", "group-closed");
        assert!(message.contains("takes no more members"), "{message}");
        assert_eq!(group(show(&app, "g").send().await)["status"], status);
        app.finish().await;
    }
    assert_eq!(app.storage().count("select count(*) from deferral").await, 1);
    // A group of another name is none of its business, nor is a call without one.
    member(&app, "2", "h").send().await.id();
    app.defer("2").await;
    app.finish().await;
}

async fn a_retry_finds_its_deferral_in_a_closed_group(engine: Engine) {
    let app = TestApp::start(engine).await;
    let keyed = || member(&app, "1", "g").header("idempotency-key", "k");
    let by_key = keyed().send().await.id();
    let by_body = member(&app, "2", "g").send().await.id();
    close(&app, "g", "").send().await.expect(200);
    for _ in 0..2 {
        assert_eq!(keyed().send().await.id(), by_key);
        assert_eq!(member(&app, "2", "g").header("x-stainless-retry-count", "1").send().await.id(), by_body);
        let other_body = member(&app, "3", "g").header("idempotency-key", "k").send().await;
        other_body.refused(400, "invalid_request_error", "idempotency-mismatch");
        let unknown = member(&app, "3", "g").header("x-stainless-retry-count", "1").send().await;
        unknown.refused(400, "invalid_request_error", "group-closed");
        app.finish().await;
    }
    assert_eq!(group(show(&app, "g").send().await)["counts"]["succeeded"], 2);
}

async fn an_expected_group_takes_its_members_and_no_more(engine: Engine) {
    let app = TestApp::start(engine).await;
    // Before its first member.
    let closed = group(close(&app, "g", r#"{"expect":2}"#).send().await);
    assert_eq!((&closed["status"], &closed["expect"]), (&json!("closed"), &json!(2)));
    member(&app, "1", "g").send().await.id();
    app.finish().await;
    assert_eq!(status(&app, "g").await, "closed");
    member(&app, "2", "g").send().await.id();
    member(&app, "3", "g").send().await.refused(400, "invalid_request_error", "group-closed");
    app.finish().await;
    assert_eq!(status(&app, "g").await, "announced");
}

async fn a_group_that_is_short_of_members_waits(engine: Engine) {
    let app = TestApp::start(engine).await;
    member(&app, "1", "g").send().await.id();
    member(&app, "2", "g").send().await.id();
    close(&app, "g", r#"{"expect":3}"#).send().await.expect(200);
    app.finish().await;
    assert_eq!(status(&app, "g").await, "closed");
    let refused = close(&app, "g", r#"{"expect":1}"#).send().await;
    let message = refused.refused(400, "invalid_request_error", "invalid-body");
    assert_eq!(message, "expect must be at least 2: the group has so many members already");
    // Whoever knows that no more will come says so.
    assert_eq!(group(close(&app, "g", r#"{"expect":2}"#).send().await)["status"], "announced");
}

async fn canceled_members_are_final(engine: Engine) {
    let app = Setup::on(engine).set("batch.linger", "1h").start().await;
    let ids = [member(&app, "1", "g").send().await.id(), member(&app, "2", "g").send().await.id()];
    close(&app, "g", "").send().await.expect(200);
    for (id, expected) in ids.iter().zip(["closed", "announced"]) {
        app.post(&format!("/deferred/{id}/cancel")).send().await.expect(200);
        app.settle().await;
        assert_eq!(status(&app, "g").await, expected);
    }
}

async fn nobody_else_sees_a_group(engine: Engine) {
    let app = TestApp::start(engine).await;
    member(&app, "1", "g").send().await.id();
    for (name, key) in [("g", OTHER_KEY), ("h", KEY), ("G", KEY), ("a%20b", KEY), ("%C3%A4", KEY)] {
        not_found(show(&app, name).key(key).send().await);
        not_found(close(&app, name, "").key(key).send().await);
    }
    // What no header can name is never made.
    not_found(close(&app, "a%20b", r#"{"expect":1}"#).send().await);
    not_found(close(&app, &"a".repeat(65), r#"{"expect":1}"#).send().await);
    for call in [show(&app, "g"), close(&app, "g", "")] {
        call.without("x-api-key").send().await.refused(401, "authentication_error", "missing-credential");
    }
    // A name of one's own, whatever others call theirs.
    group(close(&app, "g", r#"{"expect":1}"#).key(OTHER_KEY).send().await);
    assert_eq!(status(&app, "g").await, "open");
    member(&app, "2", "g").send().await.id();
    assert_eq!(group(show(&app, "g").bearer(KEY).send().await)["counts"]["queued"], 2);
    app.finish().await;
}

async fn the_operator_sees_the_one_group_of_a_name(engine: Engine) {
    let app = Setup::on(engine).set("admin.token", "let-me-in").start().await;
    member(&app, "1", "g").send().await.id();
    member(&app, "2", "h").key(OTHER_KEY).send().await.id();
    for name in ["g", "h"] {
        assert_eq!(group(show(&app, name).bearer("let-me-in").send().await)["counts"]["queued"], 1);
    }
    not_found(show(&app, "i").bearer("let-me-in").send().await);
    not_found(close(&app, "i", r#"{"expect":1}"#).bearer("let-me-in").send().await);
    assert_eq!(group(close(&app, "h", "").bearer("let-me-in").send().await)["status"], "closed");
    assert_eq!(group(show(&app, "h").key(OTHER_KEY).send().await)["status"], "closed");

    member(&app, "3", "g").key(OTHER_KEY).send().await.id();
    for call in [show(&app, "g"), close(&app, "g", "")] {
        let refused = call.bearer("let-me-in").send().await;
        let message = refused.refused(400, "invalid_request_error", "ambiguous-group");
        assert!(message.contains("ask with the credential of the one that is meant"), "{message}");
    }
    assert_eq!(status(&app, "g").await, "open");
    // The operator's own listener has no such path.
    assert_eq!(app.operator(Method::GET, "/deferred/groups/g").bearer("let-me-in").send().await.status, 404);
    app.finish().await;
}

async fn closing_twice_is_harmless(engine: Engine) {
    let app = TestApp::start(engine).await;
    member(&app, "1", "g").send().await.id();
    for closing in ["", r#"{"expect":1}"#, "{}", r#"{"expect":1}"#] {
        assert_eq!(group(close(&app, "g", closing).send().await)["status"], "closed");
    }
    app.finish().await;
    for closing in ["", r#"{"expect":1}"#] {
        let again = group(close(&app, "g", closing).send().await);
        assert_eq!((&again["status"], &again["counts"]["succeeded"]), (&json!("announced"), &json!(1)));
    }
}

async fn a_closing_is_read_strictly(engine: Engine) {
    let app = TestApp::start(engine).await;
    member(&app, "1", "g").send().await.id();
    for wrong in [
        "expect=1",
        "[]",
        "null",
        r#"{"expect":0}"#,
        r#"{"expect":-1}"#,
        r#"{"expect":"1"}"#,
        r#"{"expect":1.5}"#,
        r#"{"callback":1}"#,
        r#"{"expects":1}"#,
        r#"{"expect":1"#,
    ] {
        let refused = close(&app, "g", wrong).send().await.refused(400, "invalid_request_error", "invalid-body");
        for allowed in
            ["callback (an https URL, or the name of a receiver)", "expect", "an integer from 1 to 4294967295"]
        {
            assert!(refused.contains(allowed), "{wrong}: {refused}");
        }
    }
    let unknown = close(&app, "g", r#"{"callback":"nobody"}"#).send().await;
    let message = unknown.refused(400, "invalid_request_error", "invalid-body");
    assert_eq!(message, "callback does not parse; allowed: an https URL (no receivers are configured)");
    for forbidden in ["http://example.com/", "https://127.0.0.1/", "https://169.254.169.254/latest"] {
        let refused = close(&app, "g", json!({"callback": forbidden}).to_string()).send().await;
        refused.refused(400, "invalid_request_error", "callback-forbidden");
    }
    let long = format!(r#"{{"expect":1{}}}"#, " ".repeat(16_000));
    let refused = close(&app, "g", long).send().await.refused(413, "request_too_large", "too-large");
    assert!(refused.contains("16000 bytes"), "{refused}");
    let asked = app.post("/deferred/groups/g/close?expect=1").send().await;
    asked.refused(400, "invalid_request_error", "invalid-query");
    app.get("/deferred/groups/g?wait=1").send().await.refused(400, "invalid_request_error", "invalid-query");
    app.get("/deferred/groups/g/close").send().await.refused(405, "invalid_request_error", "method-not-allowed");
    // None of that has closed it.
    assert_eq!(status(&app, "g").await, "open");
    app.finish().await;
}

async fn a_group_goes_with_its_members(engine: Engine) {
    let app = Setup::on(engine).set("defer.retention", "2d").start().await;
    member(&app, "1", "g").send().await.id();
    close(&app, "g", "").send().await.expect(200);
    app.finish().await;
    assert_eq!(status(&app, "g").await, "announced");
    app.clock.advance(std::time::Duration::from_hours(49));
    app.settle().await;
    not_found(show(&app, "g").send().await);
    // The name is free again.
    member(&app, "1", "g").send().await.id();
    assert_eq!(status(&app, "g").await, "open");
    app.finish().await;
}
