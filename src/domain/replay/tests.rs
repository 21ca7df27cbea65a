//! What clients rebuild, by the rules of the official SDKs, is the Message that was replayed.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// The stream of a Message as one text.
fn stream(message: &str) -> String {
    let chunks: Vec<Bytes> = Replay::new(message.to_owned()).unwrap().collect();
    String::from_utf8(chunks.concat()).unwrap()
}

/// The events of a Message; each has the name of its type, and its data in one line.
fn events(message: &str) -> Vec<Value> {
    let stream = stream(message);
    let frames = stream.strip_suffix("\n\n").unwrap().split("\n\n");
    let read = |frame: &str| {
        let (name, data) = frame.split_once('\n').unwrap();
        let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), event["type"].as_str());
        assert!(!data.contains(['\n', '\r']));
        event
    };
    frames.map(read).collect()
}

/// What a client makes of the events.
fn rebuilt(events: &[Value]) -> Value {
    let mut message = Value::Null;
    let mut inputs: Vec<String> = Vec::new();
    for event in events {
        let at = event["index"].as_u64().unwrap_or(0) as usize;
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!(content.len(), at);
                content.push(event["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => apply(&mut message["content"][at], &event["delta"], &mut inputs[at]),
            "content_block_stop" => {
                if !inputs[at].is_empty() {
                    message["content"][at]["input"] = serde_json::from_str(&inputs[at]).unwrap();
                }
            }
            "message_delta" => finish_with(&mut message, event),
            "message_stop" => {}
            other => panic!("{other}"),
        }
    }
    message
}

fn apply(block: &mut Value, delta: &Value, input: &mut String) {
    let append = |block: &mut Value, name: &str| {
        block[name] = format!("{}{}", block[name].as_str().unwrap(), delta[name].as_str().unwrap()).into();
    };
    match delta["type"].as_str().unwrap() {
        "text_delta" => append(block, "text"),
        "thinking_delta" => append(block, "thinking"),
        "signature_delta" => block["signature"] = delta["signature"].clone(),
        "input_json_delta" => input.push_str(delta["partial_json"].as_str().unwrap()),
        "citations_delta" => block["citations"].as_array_mut().unwrap().push(delta["citation"].clone()),
        "compaction_delta" => {
            for (name, value) in delta.as_object().unwrap().iter().filter(|(name, _)| *name != "type") {
                block[name] = value.clone();
            }
        }
        other => panic!("{other}"),
    }
}

fn finish_with(message: &mut Value, event: &Value) {
    let (delta, usage) = (event["delta"].as_object().unwrap(), event["usage"].as_object().unwrap());
    let message = message.as_object_mut().unwrap();
    for name in ["stop_reason", "stop_sequence", "stop_details"] {
        overwrite(message, name, delta.get(name));
    }
    keep(message, "container", delta.get("container"));
    for name in ["context_management", "input_transformations"] {
        keep(message, name, event.get(name));
    }
    let Some(counts) = message.get_mut("usage").and_then(Value::as_object_mut) else { return };
    overwrite(counts, "output_tokens", usage.get("output_tokens"));
    for name in [
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "server_tool_use",
        "output_tokens_details",
        "iterations",
        "fallback_credit",
    ] {
        keep(counts, name, usage.get(name));
    }
}

/// Always takes what the end of the stream says; what it does not say is gone.
fn overwrite(object: &mut Map<String, Value>, name: &str, value: Option<&Value>) {
    match value {
        Some(value) => object.insert(name.to_owned(), value.clone()),
        None => object.remove(name),
    };
}

/// Takes it only if it is something.
fn keep(object: &mut Map<String, Value>, name: &str, value: Option<&Value>) {
    if let Some(value) = value.filter(|value| !value.is_null()) {
        object.insert(name.to_owned(), value.clone());
    }
}

#[test]
fn a_message_is_told_in_the_providers_order() {
    let message = r#"{
        "id": "msg_1", "type": "message", "content": [
            {"type":"thinking","thinking":"hm","signature":"c2ln"},
            {"type":"text","text":"caf\u00e9","citations":[{"n": 1.0},{"n":2}]},
            {"citations":null,"text":"","type":"text"},
            {"type":"tool_use","id":"t","input":{"a": "\"\n" } },
            {"type":"compaction","content":"so far","encrypted_content":"x"},
            {"type":"hologram","depth":1.0,"text":"whole"}
        ],
        "stop_reason":"end_turn","stop_sequence":null,"unknown":98765432109876543210,
        "usage":{"input_tokens":3,"output_tokens":5,"service_tier":"batch"},"container":{"id":"c"}
    }"#;
    let told = stream(message).replace("        ", " ");
    let data: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    insta::assert_snapshot!(data.join("\n"), @r#"
    {"type":"message_start","message":{  "id": "msg_1", "type": "message", "content": [],  "stop_reason":null,"stop_sequence":null,"unknown":98765432109876543210,  "usage":{"input_tokens":3,"output_tokens":1,"service_tier":"batch"},"container":{"id":"c"}     }}
    {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}
    {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}
    {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}
    {"type":"content_block_stop","index":0}
    {"type":"content_block_start","index":1,"content_block":{"type":"text","text":"","citations":[]}}
    {"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"n": 1.0}}}
    {"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"n":2}}}
    {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"caf\u00e9"}}
    {"type":"content_block_stop","index":1}
    {"type":"content_block_start","index":2,"content_block":{"citations":null,"text":"","type":"text"}}
    {"type":"content_block_stop","index":2}
    {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"t","input":{} }}
    {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":""}}
    {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"a\": \"\\\"\\n\" }"}}
    {"type":"content_block_stop","index":3}
    {"type":"content_block_start","index":4,"content_block":{"type":"compaction","content":null,"encrypted_content":"x"}}
    {"type":"content_block_delta","index":4,"delta":{"type":"compaction_delta","content":"so far","encrypted_content":"x"}}
    {"type":"content_block_stop","index":4}
    {"type":"content_block_start","index":5,"content_block":{"type":"hologram","depth":1.0,"text":"whole"}}
    {"type":"content_block_stop","index":5}
    {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null,"container":{"id":"c"}},"usage":{"input_tokens":3,"output_tokens":5}}
    {"type":"message_stop"}
    "#);
}

#[test]
fn long_texts_go_in_pieces_that_cut_nothing() {
    let literal = r"日本語 \ud83d\ude00 \u00e9 \\ \n ".repeat(400);
    let message = format!(
        r#"{{"content":[{{"type":"text","text":"{literal}"}},{{"type":"tool_use","input":{{"x":"{literal}"}}}}]}}"#
    );
    let events = events(&message);
    let pieces = events.iter().filter(|event| event["delta"]["type"] == "text_delta").count();
    assert_eq!(pieces, literal.len().div_ceil(PIECE_BYTES));
    assert!(events.iter().all(|event| event.to_string().len() < 3 * PIECE_BYTES));
    assert_eq!(rebuilt(&events), serde_json::from_str::<Value>(&message).unwrap());
}

#[test]
fn what_has_not_the_usual_form_is_told_as_it_is() {
    for message in [
        "{}",
        r#"{"content":null,"usage":null}"#,
        r#"{"content":[1,"text",null,[],{}],"usage":{}}"#,
        r#"{"content":[{"type":"text"},{"type":"text","text":null},{"type":"thinking","thinking":7}],"usage":{"x":1}}"#,
        r#"{"content":[{"type":"tool_use"},{"type":"compaction"},{"type":"text","text":"a","citations":{}}]}"#,
        r#"{"content":[{"type":"thinking","thinking":"a"},{"type":"thinking","thinking":"a","signature":null}]}"#,
        r#"{"content":[{"\u0074ype":"te\u0078t","t\u0065xt":"a"}],"us\u0061ge":{"output\u005ftokens":2}}"#,
        r#"{"content":[],"content":[{"type":"x","type":"text","text":"a","text":"b"}],"stop_reason":1,"stop_reason":2}"#,
    ] {
        let whole: Value = serde_json::from_str(message).unwrap();
        let mut told = rebuilt(&events(message));
        if !whole["content"].is_array() {
            // A stream always begins with an empty list.
            told["content"] = whole["content"].clone();
        }
        let told = if whole.get("content").is_none() { json!({}) } else { told };
        assert_eq!(told, whole, "{message}");
    }
    assert!(Replay::new("[]".into()).is_none() && Replay::new("null".into()).is_none());
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "\\PC{0,12}",
        prop::collection::vec(prop_oneof![Just("\u{1}\"\\\n\t/"), Just("😀é日"), Just("word ")], 0..700)
            .prop_map(|parts| parts.concat()),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Into::into),
        any_text().prop_map(Into::into),
        any::<i64>().prop_map(Into::into)
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// An object of the members that are there.
fn object(members: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    Value::Object(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

fn maybe(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<Value>> {
    prop::option::of(value)
}

fn any_block() -> impl Strategy<Value = Value> {
    let text = || any_text().prop_map(Value::from);
    let citations = prop_oneof![Just(Value::Null), prop::collection::vec(any_json(), 0..4).prop_map(Value::from)];
    let named = |kind: &'static str| ("type", Some(Value::from(kind)));
    prop_oneof![
        (text(), maybe(citations), maybe(any_json())).prop_map(move |(text, citations, unknown)| {
            object([named("text"), ("text", Some(text)), ("citations", citations), ("unknown", unknown)])
        }),
        (text(), maybe(text())).prop_map(move |(thinking, signature)| {
            object([named("thinking"), ("thinking", Some(thinking)), ("signature", signature)])
        }),
        (
            prop::sample::select(vec!["tool_use", "server_tool_use", "mcp_tool_use"]),
            maybe(any_json()),
            maybe(any_json())
        )
            .prop_map(move |(kind, input, caller)| object([named(kind), ("input", input), ("caller", caller)])),
        (maybe(prop_oneof![text(), Just(Value::Null)]), maybe(text()), maybe(text())).prop_map(
            move |(content, encrypted, signature)| {
                object([
                    named("compaction"),
                    ("content", content),
                    ("encrypted_content", encrypted),
                    ("signature", signature),
                ])
            }
        ),
        (
            prop::sample::select(vec!["redacted_thinking", "web_search_tool_result", "mcp_tool_result", "hologram"]),
            any_json(),
            maybe(text()),
        )
            .prop_map(move |(kind, data, text)| object([named(kind), ("data", Some(data)), ("text", text)])),
    ]
}

fn any_message() -> impl Strategy<Value = Value> {
    let count = || maybe(any::<u32>().prop_map(Value::from));
    let usage = (count(), count(), count(), maybe(any_json()), maybe(any_json())).prop_map(
        |(input, output, read, iterations, unknown)| {
            object([
                ("input_tokens", input),
                ("output_tokens", output),
                ("cache_read_input_tokens", read),
                ("cache_creation", unknown.clone()),
                ("iterations", iterations),
                ("hologram_tokens", unknown),
            ])
        },
    );
    let stop = || maybe(any_json());
    (prop::collection::vec(any_block(), 0..5), maybe(usage), [stop(), stop(), stop()], stop(), stop()).prop_map(
        |(content, usage, [reason, sequence, details], container, management)| {
            object([
                ("id", Some("msg_1".into())),
                ("content", Some(content.into())),
                ("usage", usage),
                ("stop_reason", reason),
                ("stop_sequence", sequence),
                ("stop_details", details),
                ("container", container),
                ("context_management", management.clone()),
                ("hologram_session", management),
            ])
        },
    )
}

/// The same text with everything beyond ASCII escaped, which means the same.
fn escaped(text: &str) -> String {
    let escape = |letter: char| match letter.is_ascii() {
        true => letter.to_string(),
        false => letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
    };
    text.chars().map(escape).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn any_message_is_rebuilt(message in any_message(), pretty: bool, ascii: bool) {
        let text = if pretty { serde_json::to_string_pretty(&message) } else { serde_json::to_string(&message) }.unwrap();
        let text = if ascii { escaped(&text) } else { text };
        let events = events(&text);
        prop_assert_eq!(rebuilt(&events), message);
        let ends = events.iter().filter(|event| event["type"] == "message_stop").count();
        prop_assert_eq!((ends, &events[events.len() - 1]["type"]), (1, &json!("message_stop")));
    }

    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]{}\",:\\\\ au0-9]{0,40}") {
        if let Some(replay) = Replay::new(format!("{{\"content\":[{{\"type\":\"text\",\"text\":\"{text}")) {
            drop(replay.collect::<Vec<_>>());
        }
    }
}
