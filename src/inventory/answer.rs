//! What an answer says of itself: its bill, and why it stopped. Found in the whole text, or in its two ends.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::domain::usage::Billed;
use crate::inventory::pieces::BothEnds;

/// What is read of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// What it took; none without a usage.
    pub(super) billed: Option<Billed>,
    /// Whether it stopped to use a tool.
    pub(super) tool_stop: bool,
}

/// Reads a Message, whole.
pub(super) fn of_message(text: &str) -> Told {
    let stop = serde_json::from_str(text).ok().and_then(|stop: Stop<'_>| stop.stop_reason);
    Told { billed: Billed::read(text), tool_stop: stop == Some(TOOL_USE) }
}

/// Reads a Message of which the middle is not there: its content is, by and large.
pub(super) fn of_message_ends(ends: &BothEnds) -> Told {
    let (beginning, ending) = (lossy(&ends.beginning), lossy(&ends.ending));
    // The members of interest stand on either side of the content. Within it, a quote would be escaped, or the member be
    // one of some tool's input, which comes before those behind it and after those in front of it.
    let find = |name: &str| member_behind(&ending, name).or_else(|| member_before(&beginning, name));
    let model = member_before(&beginning, "model").or_else(|| member_behind(&ending, "model"));
    Told {
        billed: model.zip(find("usage")).and_then(|(model, usage)| bill(&model, &usage)),
        tool_stop: find("stop_reason").as_deref() == Some("\"tool_use\""),
    }
}

/// Reads a stream of events, of which the middle may be missing.
pub(super) fn of_events(ends: &BothEnds) -> Told {
    let (mut model, mut usage, mut told) = (String::new(), Map::new(), Told::default());
    for part in [&ends.beginning, &ends.ending] {
        for line in lossy(part).lines().filter_map(|line| line.strip_prefix("data:")) {
            // Most events are text that was written, and cost no more than this.
            if !line.contains("\"message_start\"") && !line.contains("\"message_delta\"") {
                continue;
            }
            match serde_json::from_str::<Event>(line) {
                Ok(Event { kind, message: Some(start), .. }) if kind == "message_start" => {
                    model = start.model;
                    usage.extend(start.usage.into_iter().flatten());
                }
                Ok(Event { kind, delta, usage: Some(final_usage), .. }) if kind == "message_delta" => {
                    // What is told last counts; what is told no more stays.
                    usage.extend(final_usage.into_iter().filter(|(_, value)| !value.is_null()));
                    told.tool_stop = delta.and_then(|delta| delta.stop_reason).as_deref() == Some("tool_use");
                }
                _ => {}
            }
        }
    }
    if !usage.is_empty() {
        let message = Value::Object(Map::from_iter([("model".into(), model.into()), ("usage".into(), usage.into())]));
        told.billed = Billed::read(&message.to_string());
    }
    told
}

const TOOL_USE: &str = "tool_use";

fn bill(model: &str, usage: &str) -> Option<Billed> {
    Billed::read(&format!(r#"{{"model":{model},"usage":{usage}}}"#))
}

/// A cut may have gone through a character.
fn lossy(part: &[u8]) -> String {
    String::from_utf8_lossy(part).into_owned()
}

/// The value of the first member of this name.
fn member_before(text: &str, name: &str) -> Option<String> {
    let key = format!("\"{name}\":");
    value_at(&text[text.find(&key)? + key.len()..])
}

/// The value of the last member of this name.
fn member_behind(text: &str, name: &str) -> Option<String> {
    let key = format!("\"{name}\":");
    value_at(&text[text.rfind(&key)? + key.len()..])
}

/// The JSON value that a text begins with.
fn value_at(text: &str) -> Option<String> {
    let value = serde_json::Deserializer::from_str(text).into_iter::<Box<RawValue>>().next()?;
    value.ok().map(|value| value.get().to_owned())
}

#[derive(Deserialize)]
struct Stop<'a> {
    stop_reason: Option<&'a str>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    message: Option<Start>,
    delta: Option<Delta>,
    usage: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Start {
    model: String,
    usage: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Delta {
    stop_reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::Tokens;

    fn ends(beginning: &str, ending: &str) -> BothEnds {
        BothEnds { beginning: beginning.as_bytes().to_vec(), ending: ending.as_bytes().to_vec() }
    }

    fn tokens(told: &Told) -> Tokens {
        told.billed.as_ref().unwrap().tokens()
    }

    const BEGINNING: &str =
        r#"{"id":"x","model":"m","content":[{"type":"tool_use","input":{"usage":{"input_tokens":99},"#;
    const ENDING: &str = r#""y":1}}],"stop_reason":"tool_use","usage":{"input_tokens":7,"output_tokens":3}}"#;

    #[test]
    fn a_message_is_read_whole_or_by_its_ends() {
        let whole = format!("{BEGINNING}{ENDING}");
        for told in [of_message(&whole), of_message_ends(&ends(BEGINNING, ENDING)), of_message_ends(&ends("", &whole))]
        {
            assert_eq!((tokens(&told).input, tokens(&told).output, told.tool_stop), (7, 3, true));
            assert_eq!(told.billed.unwrap().model, "m");
        }
        assert_eq!(of_message("no"), Told::default());
        assert_eq!(of_message_ends(&ends("{\"model\":\"m\",\"con", "tent\":1}")), Told::default());
    }

    const EVENTS: &str = r#"event: message_start
data: {"type":"message_start","message":{"model":"m","usage":{"input_tokens":5,"cache_read_input_tokens":4,"output_tokens":1}}}

event: content_block_delta
data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"message_delta \"message_delta\""}}

"#;

    #[test]
    fn of_a_stream_the_last_word_counts() {
        let last = "d\"}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\
            \"usage\":{\"output_tokens\":30,\"input_tokens\":null,\"iterations\":[{\"type\":\"compaction\",\"input_tokens\":2}]}}\n\n";
        for told in [of_events(&ends(EVENTS, last)), of_events(&ends(&format!("{EVENTS}\n\n{last}"), ""))] {
            assert_eq!(tokens(&told), Tokens { input: 7, output: 30, cache_read: 4, ..Tokens::default() });
            assert!(told.tool_stop);
        }
    }

    #[test]
    fn of_a_stream_that_breaks_off_the_beginning_counts() {
        let told = of_events(&ends(EVENTS, ""));
        assert_eq!((tokens(&told).input, tokens(&told).output, told.tool_stop), (5, 1, false));
        assert_eq!(of_events(&ends("event: error\ndata: {\"type\":\"error\"}\n\n", "")), Told::default());
    }
}
