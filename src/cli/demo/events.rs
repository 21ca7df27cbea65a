//! An event stream read as an SDK reads it: the Message that it adds up to.

use anyhow::{Context as _, bail};
use serde_json::Value;

/// The Message of a whole stream: its start, with the text and the usage that came later.
pub(super) fn message(stream: &str) -> anyhow::Result<Value> {
    let mut message = None;
    let mut text = String::new();
    for data in stream.lines().filter_map(|line| line.strip_prefix("data:")) {
        let event: Value = serde_json::from_str(data).context("an event is not JSON")?;
        match event["type"].as_str() {
            Some("message_start") => message = Some(event["message"].clone()),
            Some("content_block_delta") => text.push_str(event["delta"]["text"].as_str().unwrap_or_default()),
            Some("message_delta") => {
                let message = message.as_mut().context("the stream has no start")?;
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                // What the usage says at the end holds; what it leaves out was said at the start.
                for (name, value) in event["usage"].as_object().into_iter().flatten() {
                    message["usage"][name] = value.clone();
                }
            }
            Some("message_stop") => {
                let mut message = message.context("the stream has no start")?;
                message["content"] = serde_json::json!([{"type": "text", "text": text}]);
                return Ok(message);
            }
            Some("error") => bail!("the stream ends in {}", event["error"]["type"]),
            _ => {}
        }
    }
    bail!("the stream broke off")
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = r#"event: message_start
data: {"type":"message_start","message":{"type":"message","model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":7,"output_tokens":1}}}

event: ping
data: {"type":"ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello "}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"there"}}
"#;

    #[test]
    fn a_stream_adds_up_to_its_message() {
        let end = r#"
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":42}}

data: {"type":"message_stop"}
"#;
        let message = message(&format!("{START}{end}")).unwrap();
        assert_eq!(message["content"][0]["text"], "Hello there");
        assert_eq!((&message["usage"]["input_tokens"], &message["usage"]["output_tokens"]), (&7.into(), &42.into()));
        assert_eq!(message["stop_reason"], "end_turn");
    }

    #[test]
    fn a_stream_without_an_end_is_no_message() {
        assert!(message(START).is_err());
        assert!(message("").is_err());
        let error = "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n";
        assert!(message(&format!("{START}\n{error}")).unwrap_err().to_string().contains("overloaded_error"));
    }
}
