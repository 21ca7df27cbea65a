//! Live calls, with the provider that behaves as it should.

use std::time::Duration;

use offpeak::domain::money::NanoUsd;
use offpeak::domain::record::Way;
use offpeak::simulator::{Effect, Endpoint, Fault};
use serde_json::json;

use super::{record, records};
use crate::it::app::{Engine, Setup, TestApp, body, on_both_engines};

on_both_engines! {
    an_answer_in_one_piece_is_recorded,
    a_stream_is_recorded,
    what_a_call_is_like_is_recorded,
    a_turn_of_a_tool_loop_is_recorded,
    errors_are_recorded,
    an_upstream_that_is_not_there_is_recorded,
    other_paths_are_not_recorded,
    threads_of_the_gateway_record_too,
}

async fn an_answer_in_one_piece_is_recorded(engine: Engine) {
    let app = TestApp::start(engine).await;
    let call =
        app.call(body("Hi")).header("user-agent", "Anthropic/Python 0.39.0").header("x-stainless-retry-count", "2");
    let answer = call.send().await.expect(200);
    let record = record(&app).await;
    let usage = &answer.json()["usage"];
    assert_eq!((record.way, record.status, record.rule.as_deref()), (Way::Live, 200, None));
    assert_eq!((record.model.as_str(), record.max_tokens, record.messages), ("claude-haiku-4-5", 64, 1));
    assert_eq!(json!(record.tokens.input), usage["input_tokens"]);
    assert_eq!(json!(record.tokens.output), usage["output_tokens"]);
    assert_eq!(record.request_bytes, body("Hi").len() as u64);
    assert_eq!(record.answer_bytes, answer.body.len() as u64);
    assert_eq!((record.client.as_str(), record.retries), ("Anthropic/Python 0.39.0", 2));
    assert_eq!((record.stream, record.hung_up, record.tool_turn, record.tool_stop), (false, false, false, false));
    assert_eq!((record.system_hash, record.tools_hash, record.prefix_bytes), (0, 0, 0));
    assert_eq!(record.at, app.clock.now());
    assert!(record.opening_hash != 0 && record.workload.starts_with("wkl_") && record.tenant.starts_with("tnt_"));
    // A dollar for a million tokens read, five for those written.
    let price = NanoUsd((record.tokens.input * 1_000 + record.tokens.output * 5_000) as i64);
    assert_eq!(record.cost, Some((price, price)));
    assert_eq!(record.blocked_by, None);
}

async fn a_stream_is_recorded(engine: Engine) {
    let app = TestApp::start(engine).await;
    let streaming = body("[long:3000]").replacen('{', r#"{"stream":true,"#, 1).replacen("64", "4000", 1);
    let answer = app.call(streaming).send().await.expect(200);
    let text = answer.text();
    let last = text.lines().rfind(|line| line.contains("message_delta")).unwrap().strip_prefix("data: ").unwrap();
    let usage = &serde_json::from_str::<serde_json::Value>(last).unwrap()["usage"];
    let record = record(&app).await;
    assert_eq!((record.status, record.stream, record.hung_up), (200, true, false));
    assert_eq!(json!(record.tokens.output), usage["output_tokens"]);
    assert!(record.tokens.output >= 3_000 && record.tokens.input > 0 && record.cost.is_some());
    assert_eq!(record.answer_bytes, answer.body.len() as u64);
    assert!(record.duration_ms >= record.first_byte_ms);
}

async fn what_a_call_is_like_is_recorded(engine: Engine) {
    let app = TestApp::start(engine).await;
    let tools = json!([{"name": "weather", "description": "x", "input_schema": {"type": "object"}}]);
    let call = |prompt: &str| {
        json!({"model": "claude-haiku-4-5", "max_tokens": 9, "system": "Be brief.", "tools": tools, "store": true,
            "messages": [{"role": "user", "content": prompt}]})
        .to_string()
    };
    app.call(call("One")).header("x-defer-workload", "reports").send().await;
    app.call(call("Two")).send().await;
    let records = records(&app, 2).await;
    let (named, other) = match records[0].workload.as_str() {
        "reports" => (&records[0], &records[1]),
        _ => (&records[1], &records[0]),
    };
    assert_eq!((named.workload.as_str(), named.tools, named.blocked_by.as_deref()), ("reports", 1, Some("thread")));
    assert_eq!((named.system_hash, named.tools_hash), (other.system_hash, other.tools_hash));
    assert!(named.system_hash != 0 && named.tools_hash != 0);
    assert_ne!(named.opening_hash, other.opening_hash);
    assert_eq!(named.prefix_bytes, (r#""Be brief.""#.len() + tools.to_string().len()) as u64);
    assert!(other.workload.starts_with("wkl_"));
}

async fn a_turn_of_a_tool_loop_is_recorded(engine: Engine) {
    let app = TestApp::start(engine).await;
    let tools = json!([{"name": "weather", "input_schema": {"type": "object"}}]);
    let first = json!({"role": "user", "content": "[tool_use]"});
    let call = json!({"model": "claude-haiku-4-5", "max_tokens": 99, "tools": tools, "messages": [first]});
    let answer = app.call(call.to_string()).send().await.expect(200).json();
    let used = &answer["content"].as_array().unwrap().last().unwrap()["id"];
    let result = json!({"type": "tool_result", "tool_use_id": used, "content": "sunny"});
    let turn =
        json!([first, {"role": "assistant", "content": answer["content"]}, {"role": "user", "content": [result]}]);
    app.clock.advance(Duration::from_secs(1));
    let call = json!({"model": "claude-haiku-4-5", "max_tokens": 99, "tools": tools, "messages": turn});
    app.call(call.to_string()).send().await.expect(200);
    let records = records(&app, 2).await;
    let seen: Vec<_> = records.iter().map(|it| (it.tool_turn, it.tool_stop, it.messages)).collect();
    assert_eq!(seen[0], (false, true, 1));
    assert_eq!((seen[1].0, seen[1].2), (true, 3));
    assert_eq!(records[0].opening_hash, records[1].opening_hash);
    assert_eq!(records[0].workload, records[1].workload);
}

async fn errors_are_recorded(engine: Engine) {
    let app = TestApp::start(engine).await;
    let status = Effect::Status {
        status: 529,
        error_type: None,
        message: None,
        retry_after: None,
        should_retry: None,
        html: None,
    };
    app.inject(Fault::at(Endpoint::Messages, status).times(1));
    app.call(body("Hi")).send().await.expect(529);
    app.clock.advance(Duration::from_secs(1));
    app.call("nonsense").send().await.expect(400);
    let records = records(&app, 2).await;
    assert_eq!([records[0].status, records[1].status], [529, 400]);
    assert_eq!(records[0].cost, Some((NanoUsd(0), NanoUsd(0))));
    assert_eq!((records[0].model.as_str(), records[1].model.as_str()), ("claude-haiku-4-5", ""));
    assert!(records.iter().all(|record| !record.hung_up && record.answer_bytes > 0));
}

async fn an_upstream_that_is_not_there_is_recorded(engine: Engine) {
    let app = Setup::on(engine).set("upstream.url", "http://127.0.0.1:1").start().await;
    app.call(body("Hi")).send().await.expect(502);
    let record = record(&app).await;
    assert_eq!((record.status, record.hung_up, record.answer_bytes), (502, false, 0));
}

async fn other_paths_are_not_recorded(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.post("/v1/messages/count_tokens").body(body("Hi")).send().await.expect(200);
    app.get("/v1/models").send().await.expect(200);
    app.get("/deferred").send().await.expect(200);
    // What comes after them is there first.
    app.call(body("Hi")).send().await.expect(200);
    record(&app).await;
}

async fn threads_of_the_gateway_record_too(engine: Engine) {
    let app = Setup::on(engine).threads(2).start().await;
    for number in 0..8 {
        app.call(body(&number.to_string())).send().await.expect(200);
    }
    let records = records(&app, 8).await;
    assert!(records.iter().all(|record| record.tokens.output > 0));
}
