//! Outcomes: what a batch gives back becomes what the caller expects, once.

use std::collections::BTreeMap;
use std::time::Duration;

use offpeak::simulator::{Effect, Endpoint, Fault, ItemEnd, ItemMatch};
use serde_json::{Value, json};

use super::app::{Engine, Setup, TestApp, body, on_both_engines};

on_both_engines! {
    an_answer_of_any_kind_is_a_success,
    an_error_that_stays_is_given_back_as_it_came,
    what_may_pass_is_tried_again,
    the_last_error_stands_when_the_attempts_are_used_up,
    without_a_result_by_its_deadline_a_call_expires,
    results_that_break_off_are_fetched_again,
    results_that_lack_lines_are_fetched_again,
    lines_that_stay_missing_are_submitted_again,
    repeated_and_foreign_lines_change_nothing,
    a_batch_that_was_put_away_is_submitted_again,
    one_bad_call_does_not_touch_its_neighbours,
}

/// Calls in one batch.
const CALLS: i64 = 5;

async fn defer_some(app: &TestApp) -> Vec<String> {
    let mut ids = Vec::new();
    for prompt in 0..CALLS {
        ids.push(app.defer(&format!("call {prompt}")).await);
    }
    ids
}

/// All have succeeded, each of them brought in and billed once, after so many attempts in all.
async fn assert_all_home(app: &TestApp, ids: &[String], attempts: i64) {
    for id in ids {
        assert_eq!(app.message(id).await.expect(200).json()["type"], "message");
    }
    let count = async |statement| app.storage().count(statement).await;
    assert_eq!(count("select count(*) from entry").await, CALLS);
    assert_eq!(count("select count(*) from outcome").await, CALLS);
    assert_eq!(count("select cast(sum(attempts) as bigint) from deferral").await, attempts);
    assert_eq!(app.books().items().count() as i64, attempts);
}

fn items(ends: ItemEnd) -> Fault {
    Fault::anywhere(Effect::Items { which: ItemMatch::default(), ends })
}

fn errored(kind: &str) -> ItemEnd {
    ItemEnd::Errored(kind.into())
}

async fn an_answer_of_any_kind_is_a_success(engine: Engine) {
    let app = TestApp::start(engine).await;
    let mut reasons = BTreeMap::new();
    for word in ["[refusal]", "[pause_turn]", "[stop_sequence]", "[server_tool]", "[citations]", "[redacted]"] {
        reasons.insert(word, app.defer(word).await);
    }
    app.finish().await;
    for (word, id) in reasons {
        let deferral = app.deferral(&id).await;
        assert_eq!(deferral["status"], "succeeded", "{word}");
        assert!(deferral["message"]["stop_reason"].is_string() && deferral["cost"]["paid"].is_number(), "{word}");
    }
}

async fn an_error_that_stays_is_given_back_as_it_came(engine: Engine) {
    let app = TestApp::start(engine).await;
    let mut failed = Vec::new();
    for (kind, status) in [
        ("invalid_request_error", 400),
        ("authentication_error", 401),
        ("billing_error", 402),
        ("permission_error", 403),
        ("not_found_error", 404),
        ("request_too_large", 413),
    ] {
        failed.push((app.defer(&format!("[error:{kind}]")).await, kind, status));
    }
    app.finish().await;
    let batch = app.books().batches[0].id.clone();
    let lines = app.get(&format!("/v1/messages/batches/{batch}/results")).send().await.expect(200);
    for (id, kind, status) in failed {
        let deferral = app.deferral(&id).await;
        assert_eq!((&deferral["status"], &deferral["attempts"]), (&json!("failed"), &json!(1)), "{kind}");
        assert_eq!((&deferral["served_by"], &deferral["cost"]), (&json!("batch"), &Value::Null), "{kind}");
        assert_eq!((&deferral["message"], &deferral["error"]["error"]["type"]), (&Value::Null, &json!(kind)));
        let message = app.message(&id).await.expect(status);
        assert_eq!(message.header("x-should-retry"), Some("false"));
        assert!(
            lines
                .text()
                .contains(&format!(r#""custom_id":"{id}","result":{{"type":"errored","error":{}}}}}"#, message.text()))
        );
    }
}

async fn what_may_pass_is_tried_again(engine: Engine) {
    for end in [
        errored("overloaded_error"),
        errored("api_error"),
        errored("rate_limit_error"),
        errored("timeout_error"),
        ItemEnd::Expired,
        ItemEnd::Canceled,
    ] {
        let app = TestApp::start(engine).await;
        let twice = ItemMatch { attempts: Some(2), ..ItemMatch::default() };
        app.inject(Fault::anywhere(Effect::Items { which: twice, ends: end }));
        let ids = defer_some(&app).await;
        app.settle().await;
        app.clock.advance(Duration::from_secs(1));
        app.settle().await;
        let waiting = app.deferral(&ids[0]).await;
        assert_eq!((&waiting["status"], &waiting["attempts"]), (&json!("queued"), &json!(1)));
        assert_eq!((&waiting["batch_id"], &waiting["error"]), (&Value::Null, &Value::Null));
        app.finish().await;
        assert_all_home(&app, &ids, 3 * CALLS).await;
        assert_eq!(app.storage().count("select count(*) from attempt").await, 2 * CALLS);
    }
}

async fn the_last_error_stands_when_the_attempts_are_used_up(engine: Engine) {
    let app = Setup::on(engine).set("batch.max_attempts", "3").set("defer.on_deadline", "wait").start().await;
    app.inject(items(errored("overloaded_error")));
    let id = app.defer("Hi").await;
    app.finish().await;
    let deferral = app.deferral(&id).await;
    assert_eq!((&deferral["status"], &deferral["attempts"]), (&json!("failed"), &json!(3)));
    let message = app.message(&id).await.expect(529);
    assert_eq!(message.json()["error"]["type"], "overloaded_error");
    assert_eq!(app.books().items().count(), 3);
}

async fn without_a_result_by_its_deadline_a_call_expires(engine: Engine) {
    let app = Setup::on(engine).set("defer.on_deadline", "expire").batch_time(Duration::from_hours(1)).start().await;
    app.inject(items(ItemEnd::Expired));
    let id = app.tagged(body("Hi")).header("x-defer", "90m").send().await.id();
    app.finish().await;
    let deferral = app.deferral(&id).await;
    assert_eq!((&deferral["status"], &deferral["served_by"]), (&json!("expired"), &Value::Null));
    assert_eq!(deferral["attempts"], 2);
    let message = app.message(&id).await.expect(504);
    assert_eq!(message.json(), deferral["error"]);
    assert_eq!(message.json()["error"]["type"], "timeout_error");
}

async fn results_that_break_off_are_fetched_again(engine: Engine) {
    for effect in [
        Effect::TruncateResults { lines: 2, clean: false },
        Effect::TruncateResults { lines: 2, clean: true },
        Effect::TruncateResults { lines: 0, clean: false },
        Effect::CutBefore,
        Effect::status(500),
    ] {
        let app = TestApp::start(engine).await;
        app.inject(Fault::at(Endpoint::BatchResults, effect).times(2));
        let ids = defer_some(&app).await;
        app.finish().await;
        assert_all_home(&app, &ids, CALLS).await;
        assert_eq!(app.books().to(Endpoint::BatchResults).count(), 3);
    }
}

async fn results_that_lack_lines_are_fetched_again(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.inject(Fault::at(Endpoint::BatchResults, Effect::OmitResults { lines: 3 }).times(2));
    let ids = defer_some(&app).await;
    app.finish().await;
    assert_all_home(&app, &ids, CALLS).await;
    assert_eq!(app.books().to(Endpoint::BatchResults).count(), 3);
}

async fn lines_that_stay_missing_are_submitted_again(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.inject(Fault::at(Endpoint::BatchResults, Effect::OmitResults { lines: 3 }));
    let ids = defer_some(&app).await;
    // What is there comes home, however long the rest is looked for.
    app.settle().await;
    app.clock.advance(Duration::from_secs(1));
    app.settle().await;
    assert_eq!(app.storage().count("select count(*) from deferral where state = 'succeeded'").await, 2);
    while app.books().batches.len() == 1 {
        app.clock.advance(Duration::from_secs(10));
        app.settle().await;
    }
    app.simulator().clear_faults();
    app.finish().await;
    assert_all_home(&app, &ids, CALLS + 3).await;
}

async fn repeated_and_foreign_lines_change_nothing(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.inject(Fault::at(Endpoint::BatchResults, Effect::RepeatResults { lines: 4 }));
    app.inject(Fault::at(Endpoint::BatchResults, Effect::ForeignResults { lines: 3 }));
    let ids = defer_some(&app).await;
    app.finish().await;
    assert_all_home(&app, &ids, CALLS).await;
    assert_eq!(app.books().to(Endpoint::BatchResults).count(), 1);
}

async fn a_batch_that_was_put_away_is_submitted_again(engine: Engine) {
    for effect in [Effect::ArchiveBatch, Effect::LoseBatch] {
        let app = TestApp::start(engine).await;
        app.inject(Fault::at(Endpoint::BatchRetrieve, effect).times(1));
        let ids = defer_some(&app).await;
        app.finish().await;
        assert_all_home(&app, &ids, 2 * CALLS).await;
    }
}

async fn one_bad_call_does_not_touch_its_neighbours(engine: Engine) {
    let app = TestApp::start(engine).await;
    let good = app.defer("Hi").await;
    let bad = app.defer("[error:invalid_request_error]").await;
    let odd = app.tagged(body("Hi").replacen('{', r#"{"betas":[],"#, 1)).send().await.id();
    app.finish().await;
    for (id, status) in [(good, 200), (bad, 400), (odd, 400)] {
        assert_eq!(app.message(&id).await.status, status);
    }
}
