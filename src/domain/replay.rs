//! Replaying: a finished Message as the sequence of events in which the provider would have streamed it.
//!
//! What clients rebuild from it is the Message that it is made of. Every value goes out in its own text, whatever is
//! unknown included: what deltas carry is empty when its block starts, and everything else is there then.

mod block;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::domain::json::{self, Member};

/// How much of a text one event carries: some hundred words, so that a long answer is not thousands of events.
const PIECE_BYTES: usize = 2_048;

/// What is null as long as a Message is streamed.
const STOPS: [&str; 3] = ["stop_reason", "stop_sequence", "stop_details"];

/// What clients take from the end of a stream, whatever its beginning said.
const SAID_LAST: [&str; 4] = ["stop_reason", "stop_sequence", "stop_details", "container"];
const SAID_BESIDE: [&str; 2] = ["context_management", "input_transformations"];
const COUNTED_LAST: [&str; 8] = [
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
    "server_tool_use",
    "iterations",
    "fallback_credit",
];

/// The end of every event.
const CLOSE: &str = "}\n\n";

/// The stream in chunks, as it goes over the wire; an event may come in several.
#[derive(Debug)]
pub struct Replay {
    /// The Message's text.
    text: Bytes,
    /// Where its blocks stand that were not told yet, each with its number.
    blocks: std::iter::Enumerate<std::vec::IntoIter<Range<usize>>>,
    /// What is told before the next block.
    steps: VecDeque<Step>,
    /// What is told after the last.
    end: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Say(String),
    /// A stretch of the Message's own text.
    Copy(Range<usize>),
    /// A stretch in pieces, each in an event of its own.
    Pieces(Delta, Range<usize>),
}

/// How the pieces of a stretch are told.
#[derive(Debug)]
struct Delta {
    /// The number of their block.
    index: usize,
    kind: &'static str,
    member: &'static str,
    /// Whether they are JSON that has to be quoted; otherwise they stand between quotes already.
    is_bare: bool,
}

impl Replay {
    /// The events of a Message, whose text is valid JSON; `None` if it is not an object.
    pub fn new(message: String) -> Option<Self> {
        let text = one_line(message);
        let whole = json::members(&text)?;
        let mut steps = Vec::new();
        start(&mut steps, text.len(), &whole);
        let mut end = Vec::new();
        finish(&mut end, &whole);
        let content = last(&whole, "content")
            .and_then(|content| Some(shifted(json::elements(content.value)?, content.value_range().start)));
        let blocks = content.unwrap_or_default().into_iter().enumerate();
        Some(Self { blocks, steps: steps.into(), end, text: text.into() })
    }
}

impl Iterator for Replay {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.steps.pop_front() {
                Some(Step::Say(words)) => return Some(words.into()),
                Some(Step::Copy(at)) => return Some(self.text.slice(at)),
                Some(Step::Pieces(_, rest)) if rest.is_empty() => {}
                Some(Step::Pieces(delta, rest)) => {
                    let cut = rest.start + json::piece(&self.text[rest.clone()], PIECE_BYTES);
                    let said = delta.say(&self.text[rest.start..cut]);
                    self.steps.push_front(Step::Pieces(delta, cut..rest.end));
                    return Some(said.into());
                }
                None => match self.blocks.next() {
                    Some((index, at)) => self.steps = block::steps(index, &self.text, at).into(),
                    None if self.end.is_empty() => return None,
                    None => self.steps = std::mem::take(&mut self.end).into(),
                },
            }
        }
    }
}

impl Delta {
    fn say(&self, piece: &[u8]) -> String {
        let Self { index, kind, member, is_bare } = self;
        let piece = String::from_utf8_lossy(piece);
        let literal = if *is_bare { serde_json::Value::from(piece).to_string() } else { format!("\"{piece}\"") };
        let open = open("content_block_delta");
        format!(r#"{open},"index":{index},"delta":{{"type":"{kind}","{member}":{literal}}}{CLOSE}"#)
    }
}

/// The Message as it was before anything was said.
fn start(steps: &mut Vec<Step>, length: usize, whole: &[Member<'_>]) {
    let mut edits = Vec::new();
    for member in whole {
        let at = member.value_range();
        match member.name.as_ref() {
            "content" => edits.push((at, "[]")),
            "usage" => edits.extend(output_tokens(member.value, at.start).map(|at| (at, "1"))),
            name if STOPS.contains(&name) => edits.push((at, "null")),
            _ => {}
        }
    }
    say(steps, format!(r#"{},"message":"#, open("message_start")));
    edited(steps, 0..length, edits);
    say(steps, CLOSE);
}

/// What came out in the end.
fn finish(steps: &mut Vec<Step>, whole: &[Member<'_>]) {
    say(steps, format!(r#"{},"delta":{{"#, open("message_delta")));
    listed(steps, 0, whole, &SAID_LAST);
    say(steps, r#"},"usage":{"#);
    if let Some(usage) = last(whole, "usage") {
        let counts = json::members(usage.value).unwrap_or_default();
        listed(steps, usage.value_range().start, &counts, &COUNTED_LAST);
    }
    say(steps, "}");
    for name in SAID_BESIDE.into_iter().filter(|name| last(whole, name).is_some()) {
        say(steps, ",");
        listed(steps, 0, whole, &[name]);
    }
    say(steps, format!("{CLOSE}{}{CLOSE}", open("message_stop")));
}

/// Where the output tokens are counted in a usage that stands at `offset`.
fn output_tokens(usage: &str, offset: usize) -> impl Iterator<Item = Range<usize>> {
    let counts = json::members(usage).unwrap_or_default();
    let counted = counts.into_iter().filter(|count| count.name == "output_tokens");
    shifted(counted.map(|count| count.value_range()).collect(), offset).into_iter()
}

/// The beginning of an event, up to its type.
fn open(name: &str) -> String {
    format!("event: {name}\ndata: {{\"type\":\"{name}\"")
}

fn say(steps: &mut Vec<Step>, words: impl Into<String>) {
    steps.push(Step::Say(words.into()));
}

/// A stretch of the text, with other words in some places.
fn edited(steps: &mut Vec<Step>, stretch: Range<usize>, mut edits: Vec<(Range<usize>, &'static str)>) {
    edits.sort_unstable_by_key(|(at, _)| at.start);
    let mut copied = stretch.start;
    for (at, words) in edits {
        steps.push(Step::Copy(copied..at.start));
        say(steps, words);
        copied = at.end;
    }
    steps.push(Step::Copy(copied..stretch.end));
}

/// Those of the named members that are there, each in its own text.
fn listed(steps: &mut Vec<Step>, offset: usize, members: &[Member<'_>], names: &[&str]) {
    let found = names.iter().filter_map(|name| last(members, name));
    for (number, member) in found.enumerate() {
        if number > 0 {
            say(steps, ",");
        }
        steps.push(Step::Copy(member.whole.start + offset..member.whole.end + offset));
    }
}

/// Of a name that stands twice the last counts, as in the parsers that will read it.
fn last<'m, 'a>(members: &'m [Member<'a>], name: &str) -> Option<&'m Member<'a>> {
    members.iter().rev().find(|member| member.name == name)
}

fn shifted(ranges: Vec<Range<usize>>, offset: usize) -> Vec<Range<usize>> {
    ranges.into_iter().map(|at| at.start + offset..at.end + offset).collect()
}

/// A line's end would end an event's data; in JSON it can only stand where a blank can.
fn one_line(message: String) -> String {
    let mut bytes = message.into_bytes();
    for byte in bytes.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
    // One ASCII character in the place of another leaves it UTF-8.
    String::from_utf8(bytes).unwrap_or_default()
}
