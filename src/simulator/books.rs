//! The books: what reached the stand-in, for those who test against it.
//!
//! They hold keys and prompts, so nothing here shows more of itself than ids, sizes and names.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// How many requests are kept; older ones are forgotten, so that a stand-in may run for days.
pub(super) const REQUESTS_MAX: usize = 200_000;
/// How many bytes of request bodies are kept.
pub(super) const BODY_BYTES_MAX: usize = 2_000_000_000;

/// Where a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `POST /v1/messages/batches`
    BatchCreate,
    /// `GET /v1/messages/batches`
    BatchList,
    /// `GET /v1/messages/batches/{id}`
    BatchRetrieve,
    /// `DELETE /v1/messages/batches/{id}`
    BatchDelete,
    /// `POST /v1/messages/batches/{id}/cancel`
    BatchCancel,
    /// `GET /v1/messages/batches/{id}/results`
    BatchResults,
    /// `GET /v1/models`
    Models,
    /// `GET /v1/models/{id}`
    Model,
    /// Anything else, which is a 404
    Other,
}

/// A copy of the books.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Every request in the order in which they were read in full, but for those of `/_sim/`.
    pub requests: Vec<Arc<Received>>,
    /// Every batch that was ever created, in order, the deleted ones too.
    pub batches: Vec<BatchRecord>,
    /// Clients that went away.
    pub disconnects: Disconnects,
}

impl Books {
    /// The requests to one endpoint.
    pub fn to(&self, endpoint: Endpoint) -> impl Iterator<Item = &Received> {
        self.requests.iter().map(Arc::as_ref).filter(move |received| received.endpoint == endpoint)
    }

    /// The live calls.
    pub fn live_calls(&self) -> impl Iterator<Item = &Received> {
        self.to(Endpoint::Messages)
    }

    /// All items of all batches.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.batches.iter().flat_map(|batch| batch.items.iter())
    }
}

/// A request as it came.
#[derive(Clone)]
pub struct Received {
    /// The `request-id` that it was given.
    pub request_id: String,
    /// When.
    pub at: Timestamp,
    /// Where it went.
    pub endpoint: Endpoint,
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its query, without the question mark.
    pub query: Option<String>,
    /// Its headers, credentials included.
    pub headers: HeaderMap,
    /// Its body, as it came; empty, if it was too large to be read.
    pub body: Bytes,
}

impl Received {
    /// A header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ({} bytes)", self.request_id, self.method, self.path, self.body.len())
    }
}

/// A batch as it was created.
#[derive(Clone, Debug)]
pub struct BatchRecord {
    /// Its id.
    pub id: String,
    /// The workspace that sees it.
    pub workspace: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When all its items had ended.
    pub ended_at: Option<Timestamp>,
    /// Whether it was deleted.
    pub deleted: bool,
    /// Its items, in the order in which they came.
    pub items: Arc<[Item]>,
}

/// A batch item exactly as it came.
#[derive(Clone)]
pub struct Item {
    /// Its `custom_id`.
    pub custom_id: Box<str>,
    /// The text of its `params`, byte for byte: a part of the request's body.
    pub params: Bytes,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.custom_id, self.params.len())
    }
}

/// How many clients went away before they had their answer, by how far it had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Disconnects {
    /// While their request was being read.
    pub reading: u64,
    /// Before the answer began.
    pub waiting: u64,
    /// While the answer was being sent.
    pub answering: u64,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Reading,
    Waiting,
    Answering,
}

/// The books as they are written.
#[derive(Default)]
pub(super) struct Ledger {
    requests: VecDeque<Arc<Received>>,
    body_bytes: usize,
    disconnects: Disconnects,
}

impl Ledger {
    pub(super) fn received(&mut self, received: Received) {
        self.body_bytes += received.body.len();
        self.requests.push_back(Arc::new(received));
        while self.requests.len() > REQUESTS_MAX || self.body_bytes > BODY_BYTES_MAX {
            let Some(oldest) = self.requests.pop_front() else { break };
            self.body_bytes -= oldest.body.len();
        }
    }

    pub(super) fn disconnected(&mut self, phase: Phase) {
        match phase {
            Phase::Reading => self.disconnects.reading += 1,
            Phase::Waiting => self.disconnects.waiting += 1,
            Phase::Answering => self.disconnects.answering += 1,
        }
    }

    /// A copy, to which the batches are added.
    pub(super) fn with(&self, batches: Vec<BatchRecord>) -> Books {
        Books { requests: self.requests.iter().cloned().collect(), batches, disconnects: self.disconnects }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(body: Bytes) -> Received {
        Received {
            request_id: "req_1".into(),
            at: Timestamp::from_millis(0),
            endpoint: Endpoint::Messages,
            method: Method::POST,
            path: "/v1/messages".into(),
            query: None,
            headers: [(http::header::AUTHORIZATION, "Bearer secret".parse().unwrap())].into_iter().collect(),
            body,
        }
    }

    #[test]
    fn show_neither_keys_nor_prompts() {
        let mut ledger = Ledger::default();
        ledger.received(received(Bytes::from_static(b"prompt")));
        assert_eq!(format!("{:?}", ledger.with(Vec::new()).requests), "[req_1 POST /v1/messages (6 bytes)]");
        let item = Item { custom_id: "a".into(), params: Bytes::from_static(b"prompt") };
        assert_eq!(format!("{item:?}"), "a (6 bytes)");
    }

    #[test]
    fn forget_the_oldest_requests() {
        let mut ledger = Ledger::default();
        for _ in 0..REQUESTS_MAX + 3 {
            ledger.received(received(Bytes::new()));
        }
        assert_eq!(ledger.with(Vec::new()).requests.len(), REQUESTS_MAX);
    }
}
