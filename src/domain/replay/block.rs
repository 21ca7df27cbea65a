//! One block of a Message: how it starts, the deltas that complete it, and its end.

use std::ops::Range;

use crate::domain::json::{self, Member};
use crate::domain::replay::{CLOSE, Delta, Step, edited, last, open, say, shifted};

/// What is known of a block that is being taken apart.
struct Block<'a> {
    index: usize,
    /// Where its text begins in the Message's.
    offset: usize,
    members: Vec<Member<'a>>,
    /// What its start says in the place of what deltas bring.
    edits: Vec<(Range<usize>, &'static str)>,
    deltas: Vec<Step>,
}

/// All that is told of the block that stands `at` some place of the Message's text.
pub(super) fn steps(index: usize, message: &[u8], at: Range<usize>) -> Vec<Step> {
    let text = String::from_utf8_lossy(&message[at.clone()]);
    let members = json::members(&text).unwrap_or_default();
    let mut block = Block { index, offset: at.start, members, edits: Vec::new(), deltas: Vec::new() };
    match block.kind().as_deref() {
        Some("text") => block.text(),
        Some("thinking") => block.thinking(),
        Some("tool_use" | "server_tool_use" | "mcp_tool_use") => block.tool_use(),
        Some("compaction") => block.compaction(),
        // It has no deltas, or none that we know.
        _ => {}
    }
    let mut steps = Vec::new();
    say(&mut steps, format!(r#"{},"index":{index},"content_block":"#, open("content_block_start")));
    edited(&mut steps, at, block.edits);
    say(&mut steps, CLOSE);
    steps.append(&mut block.deltas);
    say(&mut steps, format!(r#"{},"index":{index}{CLOSE}"#, open("content_block_stop")));
    steps
}

impl Block<'_> {
    fn kind(&self) -> Option<String> {
        json::unescape(last(&self.members, "type")?.value).map(|kind| kind.into_owned())
    }

    fn text(&mut self) {
        let Some(text) = self.string("text") else { return };
        let cited =
            self.value("citations").map(|(at, list)| shifted(json::elements(list).unwrap_or_default(), at.start));
        let cited = cited.unwrap_or_default();
        if !cited.is_empty() {
            self.start_with("citations", "[]");
        }
        for citation in cited {
            self.delta("citations_delta", [(r#""citation":"#, citation)]);
        }
        self.start_with("text", r#""""#);
        self.pieces("text_delta", "text", text, false);
    }

    fn thinking(&mut self) {
        let Some(thinking) = self.string("thinking") else { return };
        self.start_with("thinking", r#""""#);
        self.pieces("thinking_delta", "thinking", thinking, false);
        if self.string("signature").is_some()
            && let Some((signature, _)) = self.value("signature")
        {
            self.start_with("signature", r#""""#);
            // In one piece: clients do not put signatures together.
            self.delta("signature_delta", [(r#""signature":"#, signature)]);
        }
    }

    fn tool_use(&mut self) {
        let Some((input, _)) = self.value("input") else { return };
        self.start_with("input", "{}");
        self.delta("input_json_delta", [(r#""partial_json":"""#, input.start..input.start)]);
        self.pieces("input_json_delta", "partial_json", input, true);
    }

    fn compaction(&mut self) {
        let Some((content, _)) = self.value("content") else { return };
        self.start_with("content", "null");
        let encrypted = self.value("encrypted_content").map(|(at, _)| (r#","encrypted_content":"#, at));
        self.delta("compaction_delta", [(r#""content":"#, content)].into_iter().chain(encrypted));
    }

    /// Where a member's value stands, and its text.
    fn value(&self, name: &str) -> Option<(Range<usize>, &str)> {
        let member = last(&self.members, name)?;
        let at = member.value_range();
        Some((at.start + self.offset..at.end + self.offset, member.value))
    }

    /// What stands between the quotes of a member that is a string.
    fn string(&self, name: &str) -> Option<Range<usize>> {
        let (at, value) = self.value(name)?;
        (value.len() >= 2 && value.starts_with('"')).then(|| at.start + 1..at.end - 1)
    }

    fn start_with(&mut self, name: &str, words: &'static str) {
        let named = self.members.iter().filter(|member| member.name == name);
        let places = shifted(named.map(Member::value_range).collect(), self.offset);
        self.edits.extend(places.into_iter().map(|at| (at, words)));
    }

    fn pieces(&mut self, kind: &'static str, member: &'static str, at: Range<usize>, is_bare: bool) {
        self.deltas.push(Step::Pieces(Delta { index: self.index, kind, member, is_bare }, at));
    }

    /// A delta with these members, each a name and where its value stands.
    fn delta(&mut self, kind: &str, members: impl IntoIterator<Item = (&'static str, Range<usize>)>) {
        let (index, open) = (self.index, open("content_block_delta"));
        say(&mut self.deltas, format!(r#"{open},"index":{index},"delta":{{"type":"{kind}","#));
        for (name, value) in members {
            say(&mut self.deltas, name);
            self.deltas.push(Step::Copy(value));
        }
        say(&mut self.deltas, format!("}}{CLOSE}"));
    }
}
