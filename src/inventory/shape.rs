//! The shape of a call: the few facts of its body that are kept, and what its workload is recognised by.

use std::fmt;

use crate::domain::body;
use crate::domain::json::{self, Member};
use crate::inventory::fingerprint::{Prompt, Traits};
use crate::inventory::keyed::Keyed;

/// The longest model name that is kept.
const MODEL_MAX: usize = 256;

/// What is kept of a call's body.
#[derive(Clone, Default)]
pub(super) struct Shape {
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) max_tokens: u64,
    pub(super) messages: u32,
    pub(super) tools: u32,
    pub(super) tool_turn: bool,
    pub(super) blocked_by: Option<&'static str>,
    pub(super) system_hash: u64,
    pub(super) tools_hash: u64,
    pub(super) opening_hash: u64,
    pub(super) prefix_bytes: u64,
    /// What its workload is recognised by.
    pub(super) traits: Option<Box<Traits>>,
}

/// Without what a prompt left behind.
impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shape").field("messages", &self.messages).field("tools", &self.tools).finish_non_exhaustive()
    }
}

/// The shape of a call, and its prompt; `None` if the body is no JSON object.
pub(super) fn read(body: &[u8], profile: Option<&str>, keyed: &Keyed) -> Option<(Shape, Prompt)> {
    let text = std::str::from_utf8(body).ok().filter(|text| json::is_valid(text))?;
    let members = json::members(text)?;
    let list = |name| last(&members, name).and_then(|list| Some((list, json::elements(list)?)));
    let elements = |name| -> Vec<&str> {
        list(name).map(|(list, places)| places.into_iter().map(|at| &list[at]).collect()).unwrap_or_default()
    };
    let (messages, tools, system) = (elements("messages"), elements("tools"), last(&members, "system"));
    let system = system.filter(|system| !matches!(*system, "null" | "[]" | "\"\""));
    let hash = |label, parts: &[&str]| if parts.is_empty() { 0 } else { keyed.hash(label, &essence(parts)) };
    let model = last(&members, "model").and_then(json::unescape).unwrap_or_default();
    let shape = Shape {
        model: model.chars().filter(|letter| !letter.is_control()).take(MODEL_MAX).collect(),
        stream: last(&members, "stream") == Some("true"),
        max_tokens: last(&members, "max_tokens").and_then(|number| number.parse().ok()).unwrap_or(0),
        messages: count(&messages),
        tools: count(&tools),
        tool_turn: messages.last().is_some_and(|message| brings_result(message)),
        blocked_by: body::blocked_by(&members, profile),
        system_hash: hash("system", system.as_slice()),
        tools_hash: hash("tools", &tools),
        opening_hash: hash(
            "opening",
            messages.first().as_slice().iter().map(|first| **first).collect::<Vec<_>>().as_slice(),
        ),
        prefix_bytes: (list("tools").map_or(0, |(list, _)| list.len()) + system.map_or(0, str::len)) as u64,
        traits: None,
    };
    let prompt = Prompt {
        system: system.map(plain_text).unwrap_or_default(),
        tools: tools.iter().filter_map(|tool| name_of(tool)).collect(),
    };
    Some((shape, prompt))
}

/// Of a name that stands twice the last counts.
fn last<'a>(members: &[Member<'a>], name: &str) -> Option<&'a str> {
    members.iter().rev().find(|member| member.name == name).map(|member| member.value)
}

fn count(list: &[&str]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

/// Whether a message brings the result of a tool.
fn brings_result(message: &str) -> bool {
    let content = json::members(message).and_then(|members| last(&members, "content")).unwrap_or_default();
    let is_result = |block: &str| {
        let kind = json::members(block).and_then(|members| last(&members, "type"));
        kind == Some("\"tool_result\"")
    };
    json::elements(content).is_some_and(|blocks| blocks.into_iter().any(|at| is_result(&content[at])))
}

/// The name of a tool; the provider's own have one too.
fn name_of(tool: &str) -> Option<String> {
    let members = json::members(tool)?;
    last(&members, "name").and_then(json::unescape).map(std::borrow::Cow::into_owned)
}

/// The text of a prompt, which is a string or a list of blocks.
fn plain_text(prompt: &str) -> String {
    if let Some(text) = json::unescape(prompt) {
        return text.into_owned();
    }
    let mut whole = String::new();
    for at in json::elements(prompt).unwrap_or_default() {
        let members = json::members(&prompt[at]).unwrap_or_default();
        if let Some(text) = last(&members, "text").and_then(json::unescape) {
            whole.push_str(&text);
            whole.push('\n');
        }
    }
    whole
}

/// What stays the same of JSON values from one turn to the next: marks of the cache wander, and a text may become a block.
fn essence(values: &[&str]) -> Vec<u8> {
    let mut kept = Vec::new();
    values.iter().for_each(|value| keep_essence(value, &mut kept));
    kept
}

fn keep_essence(value: &str, kept: &mut Vec<u8>) {
    if let Some(elements) = json::elements(value) {
        elements.into_iter().for_each(|at| keep_essence(&value[at], kept));
        return;
    }
    let Some(members) = json::members(value) else {
        kept.extend_from_slice(value.as_bytes());
        return;
    };
    let is_text = last(&members, "type") == Some("\"text\"");
    for member in &members {
        match member.name.as_ref() {
            "cache_control" => {}
            "text" if is_text => kept.extend_from_slice(member.value.as_bytes()),
            _ if is_text => {}
            "content" => keep_essence(member.value, kept),
            _ => kept.extend_from_slice(value[member.whole.clone()].as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(body: &str) -> (Shape, Prompt) {
        read(body.as_bytes(), None, &Keyed::test()).unwrap()
    }

    #[test]
    fn facts_are_read() {
        let (shape, prompt) = shape(
            r#"{"model":"m\u0000","stream":true,"max_tokens":9,"system":[{"type":"text","text":"Be \"brief\""}],
               "tools":[{"name":"a","input_schema":{}},{"type":"bash_20250124","name":"bash"}],
               "messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":[]},
                 {"role":"user","content":[{"type":"tool_result","tool_use_id":"x","content":"secret"}]}]}"#,
        );
        assert_eq!((shape.model.as_str(), shape.stream, shape.max_tokens), ("m", true, 9));
        assert_eq!((shape.messages, shape.tools, shape.tool_turn), (3, 2, true));
        assert_eq!(shape.blocked_by, Some("body"));
        assert_eq!((prompt.system.as_str(), prompt.tools), ("Be \"brief\"\n", vec!["a".to_owned(), "bash".to_owned()]));
        assert_eq!(shape.prefix_bytes, 39 + 71);
        assert!(shape.system_hash != 0 && shape.tools_hash != 0 && shape.opening_hash != 0);
    }

    #[test]
    fn what_is_not_there_is_nothing() {
        let (shape, prompt) = shape(r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}"#);
        assert_eq!((shape.system_hash, shape.tools_hash, shape.prefix_bytes, shape.blocked_by), (0, 0, 0, None));
        assert!(prompt.system.is_empty() && prompt.tools.is_empty());
        for other in ["", "[]", "{\"model\":", "\u{feff}{}"] {
            assert!(read(other.as_bytes(), None, &Keyed::test()).is_none(), "{other}");
        }
    }

    #[test]
    fn turns_of_a_conversation_share_their_opening() {
        let opening =
            |first: &str| shape(&format!(r#"{{"messages":[{first},{{"role":"assistant","content":"x"}}]}}"#)).0;
        let plain = opening(r#"{"role":"user","content":"Hi"}"#);
        for same in [
            r#"{"role":"user","content":[{"type":"text","text":"Hi"}]}"#,
            r#"{"role":"user","content":[{"type":"text","text":"Hi","cache_control":{"type":"ephemeral"}}]}"#,
        ] {
            assert_eq!(opening(same).opening_hash, plain.opening_hash, "{same}");
        }
        assert_ne!(opening(r#"{"role":"user","content":"Ho"}"#).opening_hash, plain.opening_hash);
    }
}
