//! One Messages API call as it was written: its members in order, each as raw text.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::digest::{Digest, tokens_of};
use super::error::ApiError;

/// A JSON object, its members in order and unread. The last of several members of one name counts.
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// What of a call is the prompt, in the order in which the provider reads it.
pub(super) const PROMPT: [&str; 3] = ["tools", "system", "messages"];

/// What a call says, however it is written.
pub(super) struct Said {
    pub(super) digest: [u8; 32],
    /// An estimate of the prompt's tokens.
    pub(super) prompt_tokens: u64,
}

impl<'a> Fields<'a> {
    /// Reads the outermost object of a request body.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, ApiError> {
        serde_json::from_slice(text).map_err(|fault| match fault.classify() {
            serde_json::error::Category::Data => ApiError::invalid("Input should be a valid dictionary"),
            _ => ApiError::invalid("The request body is not valid JSON"),
        })
    }

    /// The raw text of a member.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, raw)| *raw)
    }

    /// A member that is neither absent nor null.
    pub(super) fn given(&self, name: &str) -> Option<&'a RawValue> {
        self.get(name).filter(|raw| raw.get() != "null")
    }

    /// A member, if it is a string.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        text(self.get(name)?)
    }

    /// A member, if it reads as `T`.
    pub(super) fn read<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// The names of all members.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_ref())
    }

    /// What the call says, leaving out whether it wants a stream and in which order its members come: live and
    /// batched twins agree on it.
    pub(super) fn said(&self) -> Said {
        let mut members: Vec<_> = self.0.iter().filter(|(key, _)| key != "stream" && key != "cache_control").collect();
        members.sort_by(|one, other| one.0.cmp(&other.0));
        let mut digest = Digest::default();
        let mut prompt_bytes = 0;
        for (key, raw) in members {
            let before = digest.weight();
            digest.word(key);
            digest.json(raw);
            if PROMPT.contains(&key.as_ref()) {
                prompt_bytes += digest.weight() - before;
            }
        }
        Said { digest: digest.finish(), prompt_tokens: tokens_of(prompt_bytes).max(1) }
    }

    /// The text of the last user message: what steers the answer.
    pub(super) fn last_user_text(&self) -> String {
        let messages: Vec<Fields<'_>> = self.read("messages").unwrap_or_default();
        let last = messages.iter().rev().find(|message| message.text("role").as_deref() == Some("user"));
        let Some(content) = last.and_then(|message| message.get("content")) else { return String::new() };
        match text(content) {
            Some(text) => text.into_owned(),
            None => {
                let blocks: Vec<Fields<'_>> = serde_json::from_str(content.get()).unwrap_or_default();
                blocks.iter().filter_map(|block| block.text("text")).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// A raw value, if it is a string.
pub(super) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, raw)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    members.push((key.0, raw));
                }
                Ok(Fields(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A string that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields<'_> {
        Fields::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn twins_agree_whether_they_stream_or_not() {
        let live = fields(r#"{"model":"m", "stream": true, "messages":[]}"#);
        let item = fields(r#"{"model":"m","messages":[]}"#);
        let moved = fields(r#"{"messages":[],"model":"m"}"#);
        assert_eq!(live.said().digest, item.said().digest);
        assert_eq!(live.said().digest, moved.said().digest);
        assert_ne!(live.said().digest, fields(r#"{"model":"n","messages":[]}"#).said().digest);
    }

    #[test]
    fn finds_the_last_user_text() {
        for (body, expected) in [
            (r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#, "a"),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"\u0062"}]}]}"#,
                "a\nb",
            ),
            (r#"{"messages":[{"role":"user","content":[{"type":"image"}]}]}"#, ""),
            (r#"{"messages":7}"#, ""),
        ] {
            assert_eq!(fields(body).last_user_text(), expected, "{body}");
        }
    }

    #[test]
    fn tells_bad_json_from_a_wrong_type() {
        let message = |text: &str| Fields::parse(text.as_bytes()).err().map(|error| error.message);
        assert_eq!(message("{").as_deref(), Some("The request body is not valid JSON"));
        assert_eq!(message("[]").as_deref(), Some("Input should be a valid dictionary"));
        assert_eq!(message("{} x").as_deref(), Some("The request body is not valid JSON"));
    }

    #[test]
    fn the_last_member_of_a_name_counts() {
        assert_eq!(fields(r#"{"a":1,"a":2}"#).read::<u64>("a"), Some(2));
    }
}
