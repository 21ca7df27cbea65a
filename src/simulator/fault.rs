//! What can go wrong on request, as it is told in-process and over HTTP.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::books::Endpoint;
use crate::domain::units::{DURATION_FORM, parse_duration};

/// Something that shall go wrong. All conditions that are given must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Only at this endpoint; at any, when absent.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// Only for requests with this key or token.
    #[serde(default)]
    pub credential: Option<String>,
    /// Only for requests whose body contains this.
    #[serde(default)]
    pub text: Option<String>,
    /// Only for requests whose body has at least so many bytes.
    #[serde(default)]
    pub min_bytes: Option<usize>,
    /// The first so many requests that match are spared.
    #[serde(default)]
    pub skip: u32,
    /// How many requests (or batch items) are hit; all, when absent.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens.
    pub effect: Effect,
}

impl Fault {
    /// This effect on every request to an endpoint.
    pub fn at(endpoint: Endpoint, effect: Effect) -> Self {
        Self { endpoint: Some(endpoint), ..Self::anywhere(effect) }
    }

    /// This effect on every request (or, if it is one on items, on every item).
    pub fn anywhere(effect: Effect) -> Self {
        Self { endpoint: None, credential: None, text: None, min_bytes: None, skip: 0, times: None, effect }
    }

    /// The same fault, `times` times.
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// The same fault, after `skip` requests that would have been hit.
    pub fn after(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// The same fault, only for this credential.
    pub fn with_credential(self, credential: impl Into<String>) -> Self {
        Self { credential: Some(credential.into()), ..self }
    }

    /// The same fault, only for requests whose body has at least so many bytes.
    pub fn with_bytes(self, min_bytes: usize) -> Self {
        Self { min_bytes: Some(min_bytes), ..self }
    }

    /// The same fault, only for requests whose body contains `text`.
    pub fn with_text(self, text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..self }
    }
}

/// What a fault does. A request may meet several of different kinds, but only one of a kind: the one injected first.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Answers with this status instead of doing the work.
    Status {
        /// The status code.
        status: u16,
        /// The error's type; that of the status, when absent.
        #[serde(default)]
        error_type: Option<String>,
        /// The error's message.
        #[serde(default)]
        message: Option<String>,
        /// `retry-after`, in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
        /// `x-should-retry`.
        #[serde(default)]
        should_retry: Option<bool>,
        /// A body that is not JSON in place of the error, as an edge network sends it.
        #[serde(default)]
        html: Option<String>,
    },
    /// Cuts the connection before the work is done.
    CutBefore,
    /// Does the work and cuts the connection before the answer.
    CutAfter,
    /// Cuts the connection after so many events or chunks; an answer in one piece is cut in half.
    CutMidway {
        /// How many pieces still go out.
        pieces: usize,
    },
    /// Never answers, until the client goes.
    Hang {
        /// Whether the work is done.
        #[serde(default)]
        worked: bool,
    },
    /// Takes its time.
    Slow {
        /// Before the headers.
        #[serde(default, deserialize_with = "duration")]
        before: Duration,
        /// Between events or chunks.
        #[serde(default, deserialize_with = "duration")]
        between: Duration,
    },
    /// An `error` event in a stream, after so many events; nothing comes after it.
    StreamError {
        /// How many events go out first.
        events: usize,
        /// The error's type.
        error_type: String,
    },
    /// Results that end in the middle of a line.
    TruncateResults {
        /// How many whole lines come first.
        lines: usize,
        /// Whether the answer then looks complete; else the connection is cut.
        #[serde(default)]
        clean: bool,
    },
    /// Results that lack this many lines.
    OmitResults {
        /// How many.
        lines: usize,
    },
    /// Results that have this many lines twice.
    RepeatResults {
        /// How many.
        lines: usize,
    },
    /// Results with this many lines of custom ids that are not in the batch.
    ForeignResults {
        /// How many.
        lines: usize,
    },
    /// The batch that is created by this request stays out of the list for a while.
    HideBatch {
        /// For how long, by the clock.
        #[serde(deserialize_with = "duration")]
        during: Duration,
    },
    /// The batch that is created by this request takes this long.
    BatchTime {
        /// How long, by the clock.
        #[serde(deserialize_with = "duration")]
        time: Duration,
    },
    /// The batch that this request asks for is gone.
    LoseBatch,
    /// The batch that this request asks for was archived: it is there, but its results are not.
    ArchiveBatch,
    /// Batch items end like this, when they match.
    Items {
        /// Which items.
        #[serde(default)]
        which: ItemMatch,
        /// How they end.
        ends: ItemEnd,
    },
}

impl Effect {
    /// An error of the provider: its status, type and a message.
    pub fn status(status: u16) -> Self {
        Self::Status { status, error_type: None, message: None, retry_after: None, should_retry: None, html: None }
    }

    /// A 429 that asks to wait, or, without a wait, the spend cap of a tier.
    pub fn rate_limit(retry_after: Option<u64>) -> Self {
        Self::Status { status: 429, error_type: None, message: None, retry_after, should_retry: None, html: None }
    }

    /// A 413 as the edge network gives it: without the provider's body.
    pub fn edge_too_large() -> Self {
        let html = Some("<html><body><h1>413 Request Entity Too Large</h1></body></html>".to_owned());
        Self::Status { status: 413, error_type: None, message: None, retry_after: None, should_retry: None, html }
    }
}

/// Which batch items a fault hits. All conditions that are given must hold; without any, every item is hit.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemMatch {
    /// Its `custom_id` contains this.
    #[serde(default)]
    pub custom_id: Option<String>,
    /// The text of its `params` contains this.
    #[serde(default)]
    pub text: Option<String>,
    /// It is among this part of all items (0.25: a quarter), chosen by a hash of the `custom_id`.
    #[serde(default)]
    pub fraction: Option<f64>,
    /// Its `custom_id` has not been in this many batches before that were run.
    #[serde(default)]
    pub attempts: Option<u32>,
}

/// How an item ends that a fault hit.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ItemEnd {
    /// With an error of this type.
    Errored(String),
    /// Unfinished when time was up.
    Expired,
    /// Canceled.
    Canceled,
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| serde::de::Error::custom(format!("a duration is {DURATION_FORM}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_from_json() {
        for text in [
            r#"{"endpoint":"messages","times":1,"effect":{"kind":"status","status":529}}"#,
            r#"{"endpoint":"batch_create","effect":{"kind":"hide_batch","during":"90s"}}"#,
            r#"{"effect":{"kind":"items","which":{"attempts":1},"ends":{"errored":"api_error"}}}"#,
            r#"{"effect":{"kind":"items","ends":"expired"}}"#,
            r#"{"effect":{"kind":"cut_after"}}"#,
            r#"{"effect":{"kind":"slow","between":"5ms"}}"#,
        ] {
            serde_json::from_str::<Fault>(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        }
        for text in [
            r#"{"effect":{"kind":"explode"}}"#,
            r#"{"efect":{"kind":"cut_after"}}"#,
            r#"{"effect":{"kind":"slow","between":5}}"#,
            r#"{"effect":{"kind":"status","status":529,"retry":1}}"#,
        ] {
            assert!(serde_json::from_str::<Fault>(text).is_err(), "{text}");
        }
    }
}
