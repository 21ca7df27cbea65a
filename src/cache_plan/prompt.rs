//! A prompt as its cache marks see it: tools, the blocks of the system prompt, and the marks that are there already.

use std::ops::Range;

use crate::domain::caching::Place;
use crate::domain::json::{self, Member};

/// How many marks a call may have.
pub(super) const MARKS_MAX: usize = 4;

/// How deep objects may stand in each other; what was read as valid is never deeper.
const DEPTH_MAX: usize = 128;

/// The mark itself, and the member that it is.
const MARK: &str = r#"{"type":"ephemeral","ttl":"1h"}"#;
const MEMBER: &str = r#","cache_control":{"type":"ephemeral","ttl":"1h"}"#;

/// The places of one call's text.
pub(super) struct Prompt<'a> {
    text: &'a str,
    pub(super) members: Vec<Member<'a>>,
    tools: Vec<Range<usize>>,
    system: System,
    /// Marks that stand in the messages, or mark them as a whole.
    behind: usize,
}

/// The system prompt, as ranges of the call's text.
enum System {
    None,
    Text(Range<usize>),
    Blocks(Vec<Range<usize>>),
}

/// What is known of the mark on one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    None,
    Minutes5,
    Hour1,
    /// Of a kind that we do not know, and leave alone.
    Other,
}

impl<'a> Prompt<'a> {
    /// Reads the text of a call, which must be valid JSON.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let members = json::members(text)?;
        let tools = last(&members, "tools").map(|member| elements(text, member.value_range())).unwrap_or_default();
        let system = match last(&members, "system") {
            Some(member) if member.value.starts_with('"') => System::Text(member.value_range()),
            Some(member) if member.value.starts_with('[') => System::Blocks(elements(text, member.value_range())),
            _ => System::None,
        };
        let in_messages = last(&members, "messages").map_or(0, |member| marks_in(member.value, 0));
        let automatic = last(&members, "cache_control").is_some_and(|member| member.value != "null");
        Some(Self { text, members, tools, system, behind: in_messages + usize::from(automatic) })
    }

    /// The tools, each in its own text.
    pub(super) fn tools(&self) -> impl Iterator<Item = &'a str> {
        self.tools.iter().map(|range| &self.text[range.clone()])
    }

    /// The blocks of the system prompt, in their own text; a plain one stands for itself.
    pub(super) fn system(&self) -> impl Iterator<Item = &'a str> {
        let ranges = match &self.system {
            System::None => &[][..],
            System::Text(range) => std::slice::from_ref(range),
            System::Blocks(ranges) => ranges.as_slice(),
        };
        ranges.iter().map(|range| &self.text[range.clone()])
    }

    /// What is to be put where, so that the prompt is marked at `place` for an hour; `None` where it may not be.
    pub(super) fn change(&self, place: Place) -> Option<(Range<usize>, String)> {
        let mut marks: Vec<Mark> = self.tools().chain(self.blocks()).map(mark).collect();
        let at = match place {
            Place::Tools => self.tools.len().checked_sub(1)?,
            Place::System(block) => self.tools.len() + usize::from(block),
        };
        let change = match (place, &self.system) {
            (Place::System(0), System::Text(range)) => {
                marks.push(Mark::None);
                (range.clone(), wrapped(self.text.get(range.clone())?)?)
            }
            (Place::System(block), System::Blocks(ranges)) => {
                let range = ranges.get(usize::from(block))?;
                is_text(&self.text[range.clone()]).then_some(())?;
                on_block(self.text, range)?
            }
            (Place::System(_), _) => return None,
            (Place::Tools, _) => {
                let range = self.tools.get(at)?;
                is_loaded_at_once(&self.text[range.clone()]).then_some(())?;
                on_block(self.text, range)?
            }
        };
        // Longer ones must come first, and what we do not know we do not judge.
        let before = marks.get(..at)?;
        let fits = before.iter().all(|mark| matches!(mark, Mark::None | Mark::Hour1));
        *marks.get_mut(at)? = Mark::Hour1;
        let count = marks.iter().filter(|mark| **mark != Mark::None).count() + self.behind;
        (fits && count <= MARKS_MAX).then_some(change)
    }

    fn blocks(&self) -> impl Iterator<Item = &'a str> {
        self.system().filter(|_| matches!(self.system, System::Blocks(_)))
    }
}

/// Of a name that stands twice the last counts.
pub(super) fn last<'m, 'a>(members: &'m [Member<'a>], name: &str) -> Option<&'m Member<'a>> {
    members.iter().rev().find(|member| member.name == name)
}

fn elements(text: &str, list: Range<usize>) -> Vec<Range<usize>> {
    let found = text.get(list.clone()).and_then(json::elements).unwrap_or_default();
    found.into_iter().map(|range| list.start + range.start..list.start + range.end).collect()
}

fn mark(block: &str) -> Mark {
    let members = json::members(block).unwrap_or_default();
    match last(&members, "cache_control") {
        None => Mark::None,
        Some(member) => read(member.value),
    }
}

fn read(mark: &str) -> Mark {
    if mark == "null" {
        return Mark::None;
    }
    let Some(members) = json::members(mark) else { return Mark::Other };
    let word = |name| last(&members, name).and_then(|member| json::unescape(member.value));
    let is_known = members.iter().all(|member| matches!(member.name.as_ref(), "type" | "ttl"));
    let has_ttl = last(&members, "ttl").is_some();
    match (word("type").as_deref(), word("ttl").as_deref()) {
        (Some("ephemeral"), Some("1h")) if is_known => Mark::Hour1,
        (Some("ephemeral"), Some("5m")) if is_known => Mark::Minutes5,
        (Some("ephemeral"), None) if is_known && !has_ttl => Mark::Minutes5,
        _ => Mark::Other,
    }
}

/// Marks a block that is an object, or lengthens the mark that it has.
fn on_block(text: &str, range: &Range<usize>) -> Option<(Range<usize>, String)> {
    let members = json::members(&text[range.clone()])?;
    let end = range.start + members.last()?.whole.end;
    let Some(there) = last(&members, "cache_control") else { return Some((end..end, MEMBER.to_owned())) };
    let value = there.value_range();
    let value = range.start + value.start..range.start + value.end;
    match read(there.value) {
        Mark::Hour1 => Some((value.clone(), text[value].to_owned())),
        Mark::None | Mark::Minutes5 => Some((value, MARK.to_owned())),
        Mark::Other => None,
    }
}

/// A plain system prompt as a block with a mark.
fn wrapped(quoted: &str) -> Option<String> {
    has_words(quoted).then(|| format!(r#"[{{"type":"text","text":{quoted}{MEMBER}}}]"#))
}

fn is_text(block: &str) -> bool {
    let members = json::members(block).unwrap_or_default();
    let is_text = last(&members, "type").and_then(|member| json::unescape(member.value)).as_deref() == Some("text");
    is_text && last(&members, "text").is_some_and(|member| has_words(member.value))
}

/// An empty text cannot be marked.
fn has_words(quoted: &str) -> bool {
    json::unescape(quoted).is_some_and(|text| !text.trim().is_empty())
}

/// A tool that is loaded when it is asked for is no part of the beginning.
fn is_loaded_at_once(tool: &str) -> bool {
    let members = json::members(tool).unwrap_or_default();
    last(&members, "defer_loading").is_none_or(|member| matches!(member.value, "false" | "null"))
}

/// How many members of this name stand anywhere in it; rather one too many than one too few.
fn marks_in(text: &str, depth: usize) -> usize {
    // A name may be written with escapes.
    if depth > DEPTH_MAX || !(text.contains("cache_control") || text.contains("\\u")) {
        return 0;
    }
    if let Some(members) = json::members(text) {
        let own = members.iter().filter(|member| member.name == "cache_control" && member.value != "null").count();
        return own + members.iter().map(|member| marks_in(member.value, depth + 1)).sum::<usize>();
    }
    let elements = json::elements(text).unwrap_or_default();
    elements.into_iter().map(|range| marks_in(&text[range], depth + 1)).sum()
}
