//! Reading a body that is to be queued: what it means without its encoding, the item it becomes, and its facts.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use crate::domain::body::Item;
use crate::domain::glance::{BodyFacts, Glance};
use crate::encoding::{self, DecodeError};
use crate::intake::{READ_ASIDE_BYTES, Refusal};

/// A body that a batch can take.
pub(super) struct Reading {
    pub(super) item: Item,
    /// What rules ask for, if that was wanted.
    pub(super) facts: BodyFacts,
}

/// Reads a body of at most `limit` bytes; its facts only if they are wanted.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Bytes,
    profile: Option<&str>,
    limit: u64,
    wants_facts: bool,
) -> Result<Reading, Refusal> {
    let (plain, length) = (decoded(headers, &body, limit).await?, body.len() as u64);
    let read = move |profile: Option<&str>| {
        let item = Item::read(&plain, profile)?;
        let facts = if wants_facts { facts_of(&plain, length) } else { BodyFacts::default() };
        Ok(Reading { item, facts })
    };
    if body.len() <= READ_ASIDE_BYTES {
        return read(profile).map_err(Refusal::NotDeferrable);
    }
    let profile = profile.map(str::to_owned);
    let reading = tokio::task::spawn_blocking(move || read(profile.as_deref()));
    reading.await.map_err(|_| Refusal::StoreUnavailable)?.map_err(Refusal::NotDeferrable)
}

/// The facts of a whole body that was so long before it was decoded.
pub(super) fn facts_of(plain: &[u8], length: u64) -> BodyFacts {
    let mut glance = Glance::default();
    glance.read(plain);
    glance.set_bytes(length);
    glance.end();
    glance.facts().clone()
}

async fn decoded(headers: &HeaderMap, body: &Bytes, limit: u64) -> Result<Bytes, Refusal> {
    let max = usize::try_from(limit).unwrap_or(usize::MAX);
    let encodings: Vec<&str> =
        headers.get_all(CONTENT_ENCODING).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    encoding::decode(&encodings.join(","), body, max).await.map_err(|error| match error {
        DecodeError::TooLong => Refusal::TooLarge(limit),
        DecodeError::Broken => Refusal::not_deferrable("body", "the body does not decode as its content-encoding"),
        DecodeError::Unknown => {
            let message = format!("the content-encoding must be one of {}, or none", encoding::KNOWN);
            Refusal::not_deferrable("content-encoding", message)
        }
    })
}
