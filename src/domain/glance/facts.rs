//! Facts: what rules may know of a body.

use super::SYSTEM_PREFIX_CHARS;
use crate::domain::record::CallRecord;

/// What is known of a body so far. At its end, or where nobody reads on, what was not seen is absent: empty, 0 or false.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyFacts {
    pub(super) model: Option<String>,
    pub(super) stream: Option<bool>,
    pub(super) max_tokens: Option<i64>,
    pub(super) bytes: Option<i64>,
    pub(super) messages: Option<i64>,
    pub(super) tools: Option<i64>,
    pub(super) system_prefix: Option<String>,
    pub(super) has_ended: bool,
}

impl BodyFacts {
    /// The same with nothing more to come.
    pub fn ended(self) -> Self {
        Self { has_ended: true, ..self }
    }

    /// The same with the body's length.
    pub fn with_bytes(self, bytes: u64) -> Self {
        Self { bytes: Some(i64::try_from(bytes).unwrap_or(i64::MAX)), ..self }
    }

    /// What a record keeps of a body: all of it but the text, of whose system prompt `preview` may be the beginning.
    pub fn of_record(record: &CallRecord, preview: Option<&str>) -> Self {
        let length = Self::default().with_bytes(record.request_bytes);
        // Every call holds a message: of one that seems to hold none the body was not read.
        if record.messages == 0 {
            return length;
        }
        let prompt = if record.system_hash == 0 { Some("") } else { preview };
        Self {
            model: Some(record.model.clone()),
            stream: Some(record.stream),
            max_tokens: Some(i64::try_from(record.max_tokens).unwrap_or(i64::MAX)),
            messages: Some(record.messages.into()),
            tools: Some(record.tools.into()),
            system_prefix: prompt.map(|prompt| prompt.chars().take(SYSTEM_PREFIX_CHARS).collect()),
            ..length
        }
    }

    /// The model that it names.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref().or(self.absent(""))
    }

    /// Whether it asks for a stream.
    pub fn stream(&self) -> Option<bool> {
        self.stream.or(self.absent(false))
    }

    /// Its `max_tokens`.
    pub fn max_tokens(&self) -> Option<i64> {
        self.max_tokens.or(self.absent(0))
    }

    /// How long it is, in bytes.
    pub fn bytes(&self) -> Option<i64> {
        self.bytes.or(self.absent(0))
    }

    /// How many messages it holds.
    pub fn messages(&self) -> Option<i64> {
        self.messages.or(self.absent(0))
    }

    /// How many tools it offers.
    pub fn tools(&self) -> Option<i64> {
        self.tools.or(self.absent(0))
    }

    /// The first characters of its system prompt.
    pub fn system_prefix(&self) -> Option<&str> {
        self.system_prefix.as_deref().or(self.absent(""))
    }

    fn absent<T>(&self, value: T) -> Option<T> {
        self.has_ended.then_some(value)
    }
}
