//! Streams: opened at once, kept alive with pings, and then the Message as the provider would have streamed it.

use serde_json::{Value, json};

use super::*;

on_both_engines! {
    a_stream_opens_at_once_and_then_tells_the_message,
    what_is_rebuilt_is_the_message_and_what_live_streams_give,
    an_error_ends_a_stream,
    a_wait_that_ends_says_where_the_result_will_be,
    a_stream_for_what_is_final_has_its_true_status,
}

/// The events of a stream, pings left out.
fn events(text: &str) -> Vec<Value> {
    let frames = text.split("\n\n").filter(|frame| !frame.is_empty());
    let read = |frame: &str| -> Value {
        let (name, data) = frame.split_once('\n').unwrap();
        let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), event["type"].as_str());
        event
    };
    frames.map(read).filter(|event| event["type"] != "ping").collect()
}

/// What a client makes of the events.
fn rebuilt(events: &[Value]) -> Value {
    let mut message = Value::Null;
    let mut input = String::new();
    for event in events {
        let at = event["index"].as_u64().unwrap_or(0) as usize;
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                input.clear();
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
            }
            "content_block_delta" => apply(&mut message["content"][at], &event["delta"], &mut input),
            "content_block_stop" if !input.is_empty() => {
                message["content"][at]["input"] = serde_json::from_str(&input).unwrap();
            }
            "message_delta" => {
                for (name, value) in event["delta"].as_object().unwrap() {
                    // A container that is null leaves the message as it was, as with the SDKs.
                    if name != "container" || !value.is_null() {
                        message[name] = value.clone();
                    }
                }
                for (name, value) in event["usage"].as_object().unwrap() {
                    message["usage"][name] = value.clone();
                }
            }
            _ => {}
        }
    }
    message
}

fn apply(block: &mut Value, delta: &Value, input: &mut String) {
    let kind = delta["type"].as_str().unwrap();
    match kind {
        "text_delta" | "thinking_delta" => {
            let name = kind.strip_suffix("_delta").unwrap();
            block[name] = json!(format!("{}{}", block[name].as_str().unwrap(), delta[name].as_str().unwrap()));
        }
        "signature_delta" => block["signature"] = delta["signature"].clone(),
        "citations_delta" => block["citations"].as_array_mut().unwrap().push(delta["citation"].clone()),
        "input_json_delta" => input.push_str(delta["partial_json"].as_str().unwrap()),
        other => panic!("{other}"),
    }
}

/// A stream that must end in an error: the error.
fn error(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let events = events(answer.text());
    assert_eq!((events.len(), &events[0]["type"]), (1, &json!("error")), "{events:?}");
    events[0].clone()
}

async fn a_stream_opens_at_once_and_then_tells_the_message(engine: Engine) {
    let app = setup(engine).start().await;
    let mut caller = Wire::connect(app.gateway()).await;
    caller.send(on_the_wire(&streamed("Hi"), "")).await;
    let head = caller.head().await;
    let id = head.get("x-defer-id").unwrap();
    assert_eq!((head.status(), head.get("request-id")), (200, Some(id)));
    assert_eq!(head.get("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(head.get("cache-control"), Some("no-cache"));
    assert_eq!(head.get("x-defer-decision"), Some(format!("deferred; reason=header; id={id}").as_str()));
    for _ in 0..3 {
        assert_eq!(caller.chunk().await, b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
    }
    app.finish().await;
    let (rest, _) = caller.chunks().await;
    let events = events(&String::from_utf8(rest).unwrap());
    assert_eq!(rebuilt(&events), app.message(id).await.expect(200).json());
    let names: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!((names[0], &names[names.len() - 2..]), ("message_start", &["message_delta", "message_stop"][..]));
    assert_eq!(app.ended("events", "answer").await, 1);
}

async fn what_is_rebuilt_is_the_message_and_what_live_streams_give(engine: Engine) {
    let app = setup(engine).start().await;
    for prompt in [
        "[thinking] [citations] [tool_use] [long:900]",
        "[redacted] [server_tool] [unknown-block] [refusal]",
        "[json] [pause_turn]",
        "[long:20000]",
    ] {
        let tools = r#""max_tokens":20000,"tools":[{"name":"t","input_schema":{"type":"object"}}],"stream":true,"#;
        let text = body(prompt).replacen(r#""max_tokens":64,"#, tools, 1);
        let live = app.call(text.clone()).send().await.expect(200);
        let held = held_until_done(&app, app.tagged(text)).await.expect(200);
        let message = app.message(held.header("x-defer-id").unwrap()).await.expect(200).json();
        let held = rebuilt(&events(held.text()));
        assert_eq!(held, message, "{prompt}");

        let lasting = |mut message: Value| {
            message["id"].take();
            message["usage"]["service_tier"].take();
            message
        };
        assert_eq!(lasting(held), lasting(rebuilt(&events(live.text()))), "{prompt}");
    }
}

async fn an_error_ends_a_stream(engine: Engine) {
    let app = setup(engine).set("defer.on_deadline", "expire").batch_time(Duration::from_hours(2)).start().await;
    let failed = held_until_done(&app, streaming(&app, "[error:permission_error]")).await.expect(200);
    let said = app.message(failed.header("x-defer-id").unwrap()).await.expect(403).json();
    assert_eq!(error(&failed), said);

    let expired = held_until_done(&app, streaming(&app, "Hi").header("x-defer", "1h")).await.expect(200);
    assert_eq!(error(&expired)["error"]["type"], "timeout_error");

    let (canceled, ()) = tokio::join!(streaming(&app, "Ho").send(), async {
        app.until_held(1).await;
        let page = app.get("/deferred?limit=1").send().await.json();
        app.post(&format!("/deferred/{}/cancel", page["data"][0]["id"].as_str().unwrap())).send().await.expect(200);
        app.settle().await;
    });
    assert_eq!(error(&canceled)["error"]["type"], "invalid_request_error");
    assert_eq!(app.ended("events", "answer").await, 3);
}

async fn a_wait_that_ends_says_where_the_result_will_be(engine: Engine) {
    let app = setup(engine).start().await;
    let ended = streaming(&app, "Hi").header("x-defer-wait", "50ms").send().await.expect(200);
    let id = ended.header("x-defer-id").unwrap();
    let said = error(&ended);
    assert_eq!((&said["error"]["type"], said["request_id"].as_str()), (&json!("timeout_error"), Some(id)));
    assert!(said["error"]["message"].as_str().unwrap().contains(&format!("/deferred/{id}/message")), "{said}");
    assert_eq!(app.ended("events", "time-over").await, 1);
    app.finish().await;
    app.message(id).await.expect(200);
}

async fn a_stream_for_what_is_final_has_its_true_status(engine: Engine) {
    let app = setup(engine).start().await;
    for (prompt, status) in [("[error:permission_error]", 403), ("Hi", 200)] {
        let first = held_until_done(&app, streaming(&app, prompt)).await.expect(200);
        let retry = streaming(&app, prompt).header("x-stainless-retry-count", "1").send().await.expect(status);
        assert_eq!(retry.header("x-defer-id"), first.header("x-defer-id"));
        match status {
            200 => assert_eq!(events(retry.text()), events(first.text())),
            _ => assert_eq!(retry.json(), error(&first)),
        }
    }
}

#[tokio::test]
async fn whoever_wants_a_ticket_for_a_stream_gets_one() {
    let app = setup(Engine::Sqlite).start().await;
    streaming(&app, "Hi").header("x-defer-wait", "0").send().await.id();
    app.finish().await;
}
