//! A glance at a body: the few facts that rules ask for, read as it arrives and no further than they stand.
//!
//! It takes the body to be a JSON object. What is not one shows no facts, and whether it is valid is for others to say. Of
//! a name that stands twice the first counts, since nobody knows what is still to come.

mod facts;

use memchr::memchr2;

use crate::domain::json;

pub use facts::BodyFacts;

/// How many characters of a system prompt are a fact.
pub const SYSTEM_PREFIX_CHARS: usize = 200;

/// The longest name that is looked at, in bytes with its escapes: ours are far shorter.
const NAME_MAX: usize = 64;

/// The longest model that is a fact, and the longest number, in bytes with their escapes.
const SCALAR_MAX: usize = 1_024;

/// The longest that a character is written, in bytes: as two escapes.
const CHARACTER_MAX: usize = 12;

/// As many bytes of a system prompt are kept.
const SYSTEM_MAX: usize = (SYSTEM_PREFIX_CHARS + 1) * CHARACTER_MAX;

/// A member of the body that is a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Model,
    Stream,
    MaxTokens,
    Messages,
    Tools,
    System,
}

/// Reads a body as it arrives.
#[derive(Debug, Default)]
pub struct Glance {
    facts: BodyFacts,
    /// How many containers are open, and which of the outermost are objects.
    depth: usize,
    are_objects: [bool; DEPTH_MAX],
    at: At,
    /// Whether a string would be a value, not a name.
    is_value: bool,
    /// The member whose value is being read, if it is a fact.
    member: Option<Member>,
    /// Whether the value that is being read is the text of a block of the system prompt.
    is_block_text: bool,
    /// What is kept of the string or number that is being read, and how much may be.
    kept: Vec<u8>,
    keep_max: usize,
    /// How many items the list has that is being counted.
    items: i64,
    /// The system prompt's text so far.
    system: String,
    has_ended: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Between,
    String,
    /// Behind a backslash in a string.
    Escape,
    Scalar,
}

/// Deeper than this nothing is a fact: the body, the list that is its system prompt, a block of that.
const DEPTH_MAX: usize = 3;

impl Glance {
    /// What is known so far.
    pub fn facts(&self) -> &BodyFacts {
        &self.facts
    }

    /// Whether there is nothing more to learn.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Reads on; says whether more is known than before.
    pub fn read(&mut self, mut bytes: &[u8]) -> bool {
        let before = self.facts.clone();
        while !self.has_ended && !bytes.is_empty() {
            let taken = self.step(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        if self.has_ended {
            self.end();
        }
        self.facts != before
    }

    /// Nothing more comes.
    pub fn end(&mut self) {
        self.has_ended = true;
        self.facts.has_ended = true;
    }

    /// How long the body is.
    pub fn set_bytes(&mut self, bytes: u64) {
        self.facts = std::mem::take(&mut self.facts).with_bytes(bytes);
    }

    /// Takes one step, and says over how many bytes.
    fn step(&mut self, bytes: &[u8]) -> usize {
        let Some(&byte) = bytes.first() else { return 0 };
        match self.at {
            At::String => self.in_string(bytes),
            At::Escape => {
                self.keep(&[byte]);
                self.at = At::String;
                1
            }
            At::Scalar if matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r') => {
                self.scalar_ends();
                self.at = At::Between;
                0
            }
            At::Scalar => {
                self.keep(&[byte]);
                1
            }
            At::Between => {
                self.between(byte);
                1
            }
        }
    }

    fn between(&mut self, byte: u8) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b'{' | b'[' => self.opens(byte == b'{'),
            b'}' | b']' => self.closes(),
            b':' => self.is_value = true,
            b',' => self.is_value = !self.is_in_object(),
            // Nothing but an object is a body.
            _ if self.depth == 0 => self.has_ended = true,
            b'"' => self.string_begins(),
            _ => {
                self.item_begins();
                self.at = At::Scalar;
                self.begin_to_keep(if self.depth == 1 && self.member.is_some() { SCALAR_MAX } else { 0 });
                self.keep(&[byte]);
            }
        }
    }

    fn opens(&mut self, is_object: bool) {
        if self.depth == 0 && !is_object {
            self.has_ended = true;
            return;
        }
        self.item_begins();
        self.begin_to_keep(0);
        if self.depth == 1 {
            self.items = 0;
        }
        if let Some(place) = self.are_objects.get_mut(self.depth) {
            *place = is_object;
        }
        self.depth += 1;
        self.is_value = !is_object;
        self.is_block_text = false;
    }

    fn closes(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        match self.depth {
            0 => self.has_ended = true,
            1 => self.value_ends(),
            _ => {}
        }
        self.is_value = true;
    }

    /// Whether the innermost container that is open is an object; of the deep ones nobody asks.
    fn is_in_object(&self) -> bool {
        self.depth.checked_sub(1).and_then(|at| self.are_objects.get(at)) == Some(&true)
    }

    /// Whether the innermost container is an object in a list in the body.
    fn is_in_block(&self) -> bool {
        self.depth == DEPTH_MAX && self.are_objects == [true, false, true]
    }

    /// A value begins; in a list that is counted it is one more.
    fn item_begins(&mut self) {
        if self.depth == 2 && !self.is_in_object() {
            self.items += 1;
        }
    }

    fn string_begins(&mut self) {
        self.at = At::String;
        let limit = match (self.is_value, self.depth, self.member) {
            (false, 1, _) => NAME_MAX,
            (false, DEPTH_MAX, Some(Member::System)) if self.is_in_block() => NAME_MAX,
            (true, 1, Some(Member::Model)) => SCALAR_MAX,
            (true, 1, Some(Member::System)) => SYSTEM_MAX,
            (true, DEPTH_MAX, Some(Member::System)) if self.is_block_text => SYSTEM_MAX,
            _ => 0,
        };
        self.item_begins();
        self.begin_to_keep(limit);
    }

    fn in_string(&mut self, bytes: &[u8]) -> usize {
        let end = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
        self.keep(bytes.get(..end).unwrap_or_default());
        match bytes.get(end) {
            None => end,
            Some(b'\\') => {
                self.keep(b"\\");
                self.at = At::Escape;
                end + 1
            }
            Some(_) => {
                self.at = At::Between;
                self.string_ends();
                end + 1
            }
        }
    }

    fn string_ends(&mut self) {
        match (self.is_value, self.depth) {
            (false, 1) => {
                self.member = self.text().and_then(|name| self.fresh(&name));
                self.begin_to_keep(0);
            }
            (false, DEPTH_MAX) if self.is_in_block() => self.is_block_text = self.text().as_deref() == Some("text"),
            (true, 1) => self.value_ends(),
            (true, DEPTH_MAX) if self.is_block_text => {
                self.is_block_text = false;
                self.add_system();
            }
            _ => {}
        }
    }

    fn scalar_ends(&mut self) {
        if self.depth == 1 {
            self.value_ends();
        }
    }

    /// The value of a member of the body ends.
    fn value_ends(&mut self) {
        // Also those of a member that nobody asks for: the next one may have none.
        let items = std::mem::take(&mut self.items);
        let Some(member) = self.member.take() else { return };
        let is_text = self.keep_max > 0 && self.at == At::Between;
        match member {
            Member::Model => self.facts.model = Some(self.text().filter(|_| is_text).unwrap_or_default()),
            Member::Stream => self.facts.stream = Some(self.kept == b"true"),
            Member::MaxTokens => {
                let number = std::str::from_utf8(&self.kept).ok().and_then(|text| text.parse().ok());
                self.facts.max_tokens = Some(number.unwrap_or(0));
            }
            Member::Messages => self.facts.messages = Some(items),
            Member::Tools => self.facts.tools = Some(items),
            Member::System => {
                if is_text {
                    self.add_system();
                }
                self.facts.system_prefix = Some(std::mem::take(&mut self.system));
            }
        }
        self.begin_to_keep(0);
    }

    /// The text that was kept joins the system prompt.
    fn add_system(&mut self) {
        let room = SYSTEM_PREFIX_CHARS.saturating_sub(self.system.chars().count());
        if let Some(text) = self.text() {
            self.system.extend(text.chars().take(room));
        }
        self.begin_to_keep(0);
    }

    /// The member of this name, unless it was seen before.
    fn fresh(&self, name: &str) -> Option<Member> {
        let facts = &self.facts;
        let (member, is_seen) = match name {
            "model" => (Member::Model, facts.model.is_some()),
            "stream" => (Member::Stream, facts.stream.is_some()),
            "max_tokens" => (Member::MaxTokens, facts.max_tokens.is_some()),
            "messages" => (Member::Messages, facts.messages.is_some()),
            "tools" => (Member::Tools, facts.tools.is_some()),
            "system" => (Member::System, facts.system_prefix.is_some()),
            _ => return None,
        };
        (!is_seen).then_some(member)
    }

    fn begin_to_keep(&mut self, limit: usize) {
        self.kept.clear();
        self.keep_max = limit;
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.keep_max.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or(bytes));
    }

    /// What was kept, as the string that it is; where no more was kept it ends between two characters.
    fn text(&self) -> Option<String> {
        let is_cut = self.kept.len() == self.keep_max;
        let left = self.kept.len().saturating_sub(CHARACTER_MAX);
        let end = if is_cut { json::piece(&self.kept, left) } else { self.kept.len() };
        let inner = std::str::from_utf8(self.kept.get(..end)?).ok()?;
        json::unescape(&format!("\"{inner}\"")).map(std::borrow::Cow::into_owned)
    }
}

#[cfg(test)]
mod tests;
