//! A Message as the provider's event sequence.

use serde_json::value::RawValue;

use super::error::json;
use super::message::{Block, Message};

/// How many words one text delta carries.
const WORDS_PER_DELTA: usize = 4;
/// How many characters of a tool's input one delta carries.
const CHARS_PER_INPUT_DELTA: usize = 12;

/// The events of a stream, each as the frame that goes over the wire.
pub(super) fn events(message: &Message) -> Vec<String> {
    let mut frames = vec![start(message), frame("ping", r#"{"type":"ping"}"#)];
    for (index, block) in message.content.iter().enumerate() {
        let (skeleton, deltas) = parts(block);
        let body = format!(r#"{{"type":"content_block_start","index":{index},"content_block":{skeleton}}}"#);
        frames.push(frame("content_block_start", &body));
        frames.extend(deltas.iter().map(|delta| {
            frame(
                "content_block_delta",
                &format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#),
            )
        }));
        frames.push(frame("content_block_stop", &format!(r#"{{"type":"content_block_stop","index":{index}}}"#)));
    }
    frames.push(end(message));
    frames.push(frame("message_stop", r#"{"type":"message_stop"}"#));
    frames
}

/// One frame of an event stream.
pub(super) fn frame(event: &str, data: &str) -> String {
    format!("event: {event}\ndata: {data}\n\n")
}

fn start(message: &Message) -> String {
    let mut bare = message.clone();
    bare.content.clear();
    bare.stop_reason = None;
    bare.stop_sequence = None;
    bare.stop_details = None;
    // Known only at the end.
    bare.container = None;
    bare.context_management = None;
    bare.usage.output_tokens = bare.usage.output_tokens.min(1);
    frame("message_start", &format!(r#"{{"type":"message_start","message":{}}}"#, json(&bare)))
}

fn end(message: &Message) -> String {
    let usage = &message.usage;
    let edits = message.context_management.as_ref().map(|edits| format!(r#","context_management":{edits}"#));
    let body = format!(
        r#"{{"type":"message_delta","delta":{{"stop_reason":{},"stop_sequence":{},"stop_details":{},"container":{}}},"usage":{{"input_tokens":{},"cache_creation_input_tokens":{},"cache_read_input_tokens":{},"output_tokens":{},"output_tokens_details":{},"server_tool_use":{}}}{}}}"#,
        json(&message.stop_reason),
        json(&message.stop_sequence),
        json(&message.stop_details),
        json(&message.container),
        usage.input_tokens,
        usage.cache_creation_input_tokens,
        usage.cache_read_input_tokens,
        usage.output_tokens,
        json(&usage.output_tokens_details),
        json(&usage.server_tool_use),
        edits.unwrap_or_default(),
    );
    frame("message_delta", &body)
}

/// A block as it starts, and the deltas that complete it.
fn parts(block: &Block) -> (String, Vec<String>) {
    match block {
        Block::Text { text, citations } => {
            let none_yet = citations.as_ref().map(|given| given.as_ref().map(|_| Vec::new()));
            let empty = Block::Text { text: String::new(), citations: none_yet };
            let cited =
                citations.iter().flatten().flatten().map(|citation| delta("citations_delta", "citation", citation));
            let said = pieces(text).into_iter().map(|piece| delta("text_delta", "text", piece));
            (json(&empty), cited.chain(said).collect())
        }
        Block::Thinking { thinking, signature } => {
            let empty = Block::Thinking { thinking: String::new(), signature: String::new() };
            let thought = pieces(thinking).into_iter().map(|piece| delta("thinking_delta", "thinking", piece));
            let signed = delta("signature_delta", "signature", signature);
            (json(&empty), thought.chain([signed]).collect())
        }
        Block::ToolUse { id, name, input } => {
            let empty = Block::ToolUse { id: id.clone(), name: name.clone(), input: nothing() };
            (json(&empty), input_deltas(input))
        }
        Block::ServerToolUse { id, name, input } => {
            let empty = Block::ServerToolUse { id: id.clone(), name: name.clone(), input: nothing() };
            (json(&empty), input_deltas(input))
        }
        Block::McpToolUse { id, name, server_name, input } => {
            let empty = Block::McpToolUse {
                id: id.clone(),
                name: name.clone(),
                server_name: server_name.clone(),
                input: nothing(),
            };
            (json(&empty), input_deltas(input))
        }
        Block::Compaction { content, encrypted_content } => {
            let compacted = format!(
                r#"{{"type":"compaction_delta","content":{},"encrypted_content":{}}}"#,
                json(content),
                json(encrypted_content),
            );
            (r#"{"type":"compaction","content":null,"encrypted_content":null}"#.into(), vec![compacted])
        }
        Block::Raw(raw) => (raw.get().to_owned(), Vec::new()),
    }
}

fn delta<T: serde::Serialize + ?Sized>(kind: &str, member: &str, value: &T) -> String {
    format!(r#"{{"type":"{kind}","{member}":{}}}"#, json(value))
}

/// An empty first piece, as the provider sends it, then the input's text.
fn input_deltas(input: &RawValue) -> Vec<String> {
    let chars: Vec<char> = input.get().chars().collect();
    let parts = chars.chunks(CHARS_PER_INPUT_DELTA).map(|part| part.iter().collect::<String>());
    std::iter::once(String::new()).chain(parts).map(|part| delta("input_json_delta", "partial_json", &part)).collect()
}

fn nothing() -> Box<RawValue> {
    RawValue::from_string("{}".into()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A text in runs of a few words, which together are the text.
fn pieces(text: &str) -> Vec<&str> {
    let mut rest = text;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let end = rest.match_indices(' ').nth(WORDS_PER_DELTA - 1).map_or(rest.len(), |(at, _)| at + 1);
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::answer::Tier;
    use super::super::answer::tests::answered;
    use super::*;

    /// What an SDK makes of the events.
    fn rebuilt(frames: &[String]) -> Value {
        let mut message = Value::Null;
        let mut partial = String::new();
        for frame in frames {
            let (name, data) = frame.trim_end().split_once("\ndata: ").unwrap();
            let event: Value = serde_json::from_str(data).unwrap();
            assert_eq!(name, format!("event: {}", event["type"].as_str().unwrap()));
            let at = event["index"].as_u64().unwrap_or(0) as usize;
            match event["type"].as_str().unwrap() {
                "message_start" => message = event["message"].clone(),
                "content_block_start" => {
                    message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
                    partial.clear();
                }
                "content_block_delta" => apply(&mut message["content"][at], &event["delta"], &mut partial),
                "content_block_stop" if !partial.is_empty() => {
                    message["content"][at]["input"] = serde_json::from_str(&partial).unwrap();
                }
                "message_delta" => {
                    for (key, value) in event["delta"].as_object().unwrap() {
                        if key != "container" || !value.is_null() {
                            message[key] = value.clone();
                        }
                    }
                    if let Some(edits) = event.get("context_management") {
                        message["context_management"] = edits.clone();
                    }
                    for (key, value) in event["usage"].as_object().unwrap() {
                        message["usage"][key] = value.clone();
                    }
                }
                _ => {}
            }
        }
        message
    }

    fn apply(block: &mut Value, delta: &Value, partial: &mut String) {
        let append = |block: &mut Value, key: &str| {
            block[key] = json!(format!("{}{}", block[key].as_str().unwrap(), delta[key].as_str().unwrap()));
        };
        match delta["type"].as_str().unwrap() {
            "text_delta" => append(block, "text"),
            "thinking_delta" => append(block, "thinking"),
            "signature_delta" => block["signature"] = delta["signature"].clone(),
            "citations_delta" => block["citations"].as_array_mut().unwrap().push(delta["citation"].clone()),
            "compaction_delta" => {
                for key in ["content", "encrypted_content"] {
                    block[key] = delta[key].clone();
                }
            }
            "input_json_delta" => partial.push_str(delta["partial_json"].as_str().unwrap()),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn rebuilds_to_the_message() {
        for prompt in [
            "Hi",
            "[thinking] [citations] [tool_use] [long:100]",
            "[redacted] [server_tool] [unknown-block] [refusal]",
            "[compaction] [mcp] [code_execution] [lines]",
            "[bare_tool]",
            "[stop_sequence]",
        ] {
            let message = answered(prompt, r#","stream":true"#, Tier::Standard);
            let expected: Value = serde_json::from_str(&json_text(&message)).unwrap();
            assert_eq!(rebuilt(&events(&message)), expected, "{prompt}");
        }
    }

    fn json_text(message: &Message) -> String {
        super::super::error::json(message)
    }

    #[test]
    fn comes_in_the_providers_order() {
        let frames = events(&answered("Hi", "", Tier::Standard));
        let names: Vec<_> = frames.iter().map(|frame| frame.lines().next().unwrap()).collect();
        assert_eq!(names[..3], ["event: message_start", "event: ping", "event: content_block_start"]);
        assert_eq!(names[names.len() - 2..], ["event: message_delta", "event: message_stop"]);
    }
}
