//! Deferred calls, which are recorded when they have become final.

use std::time::Duration;

use offpeak::domain::record::Way;
use serde_json::json;

use super::{record, records};
use crate::it::app::{Engine, Setup, TestApp, body, on_both_engines};

on_both_engines! {
    what_a_batch_serves_is_recorded_once,
    what_is_rescued_or_comes_to_nothing_is_recorded,
    a_call_is_of_the_same_workload_whichever_way_it_goes,
    the_rule_that_chose_a_call_is_recorded,
    how_a_call_asked_is_recorded,
    what_searches_cost_is_recorded_apart,
}

async fn what_a_batch_serves_is_recorded_once(engine: Engine) {
    let mut app = Setup::on(engine).batch_time(Duration::from_secs(60)).start().await;
    let id = app.tagged(body("Hi")).header("user-agent", "etl/2").send().await.id();
    let began = app.clock.now();
    app.finish().await;
    let record_ = record(&app).await;
    let message = app.message(&id).await.expect(200);
    let deferral = app.deferral(&id).await;
    assert_eq!((record_.way, record_.status, record_.at), (Way::Batch, 200, began));
    assert_eq!((record_.model.as_str(), record_.client.as_str()), ("claude-haiku-4-5", "etl/2"));
    assert_eq!(json!(record_.tokens.output), message.json()["usage"]["output_tokens"]);
    let (paid, live) = record_.cost.unwrap();
    assert_eq!(json!({"currency": "USD", "paid": paid, "live_price": live}), deferral["cost"]);
    assert_eq!(paid.0 * 2, live.0);
    assert!(record_.duration_ms >= 60_000);
    assert_eq!((record_.request_bytes, record_.answer_bytes), (body("Hi").len() as u64, message.body.len() as u64));
    app.restart().await;
    record(&app).await;
    let sum = app.storage().count("select cast(sum(calls) as bigint) from call_hour").await;
    assert_eq!(sum, 1);
}

async fn what_is_rescued_or_comes_to_nothing_is_recorded(engine: Engine) {
    let app = TestApp::start(engine).await;
    let canceled = app.defer("One").await;
    app.post(&format!("/deferred/{canceled}/cancel")).send().await.expect(200);
    app.clock.advance(Duration::from_secs(1));
    let promoted = app.defer("Two").await;
    app.post(&format!("/deferred/{promoted}/promote")).send().await.expect(200);
    app.finish().await;
    let records = records(&app, 2).await;
    assert_eq!([records[0].way, records[1].way], [Way::None, Way::Rescued]);
    assert_eq!([records[0].status, records[1].status], [410, 200]);
    assert_eq!(records[0].cost, None);
    let (paid, live) = records[1].cost.unwrap();
    assert_eq!(paid, live);
}

async fn a_call_is_of_the_same_workload_whichever_way_it_goes(engine: Engine) {
    let app = TestApp::start(engine).await;
    let call = |prompt: &str| body(prompt).replacen('{', r#"{"system":"You summarise tickets.","#, 1);
    app.call(call("One")).header("user-agent", "etl/2").send().await.expect(200);
    app.clock.advance(Duration::from_secs(1));
    app.tagged(call("Two")).header("user-agent", "etl/3").send().await.id();
    app.finish().await;
    let records = records(&app, 2).await;
    assert_eq!([records[0].way, records[1].way], [Way::Live, Way::Batch]);
    assert_eq!(records[0].workload, records[1].workload);
    assert_eq!(records[0].system_hash, records[1].system_hash);
}

async fn the_rule_that_chose_a_call_is_recorded(engine: Engine) {
    let rule = "[[rule]]\nname = \"nightly\"\nwhen = 'workload == \"reports\"'\naction = \"defer\"\nreply = \"ticket\"";
    let app = Setup::on(engine).file(rule).start().await;
    app.call(body("Hi")).header("x-defer-workload", "reports").send().await.id();
    app.finish().await;
    let record = record(&app).await;
    assert_eq!((record.way, record.rule.as_deref()), (Way::Batch, Some("nightly")));
    assert_eq!(record.workload, "reports");
}

async fn how_a_call_asked_is_recorded(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.defer("One").await;
    app.clock.advance(Duration::from_secs(1));
    let streamed = body("Two").replacen('{', r#"{"stream":true,"#, 1);
    let call = app.tagged(streamed).header("x-defer-wait", "0").header("x-stainless-retry-count", "3");
    call.send().await.id();
    app.finish().await;
    let records = records(&app, 2).await;
    assert_eq!([records[0].stream, records[1].stream], [false, true]);
    assert_eq!([records[0].retries, records[1].retries], [0, 3]);
}

async fn what_searches_cost_is_recorded_apart(engine: Engine) {
    let app = TestApp::start(engine).await;
    let streamed = body("[server_tool]").replacen('{', r#"{"stream":true,"#, 1);
    app.call(streamed).send().await.expect(200);
    app.clock.advance(Duration::from_secs(1));
    app.defer("[server_tool]").await;
    app.finish().await;
    let records = records(&app, 2).await;
    assert_eq!([records[0].way, records[1].way], [Way::Live, Way::Batch]);
    for record in &records {
        let (paid, live) = record.cost.unwrap();
        // A cent for the one search, and half of the rest in a batch.
        assert_eq!(record.fees.0, 10_000_000, "{:?}", record.way);
        let of_tokens = live - record.fees;
        let paid_of_tokens = if record.way == Way::Batch { of_tokens.0 / 2 } else { of_tokens.0 };
        assert_eq!((paid - record.fees).0, paid_of_tokens, "{:?}", record.way);
    }
    let sum = app.storage().count("select cast(sum(fees_nanousd) as bigint) from call_hour").await;
    assert_eq!(sum, 20_000_000);
}
