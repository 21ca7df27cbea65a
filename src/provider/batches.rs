//! Message Batches at the provider: create, look, list, cancel, and the stream of results.

use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method, Response};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::domain::id::DeferralId;
use crate::domain::lane::Lane;
use crate::provider::lines::Lines;
use crate::provider::{Provider, ProviderError, error};

/// How long creating a batch may take, the upload of 256 MB included.
const CREATE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Batches in one page of the provider's list; its maximum.
const LIST_PAGE: u32 = 1_000;

/// What stands around the items of a create, and how much it adds.
#[derive(Clone, Copy, Debug)]
pub struct Envelope;

impl Envelope {
    const OPEN: &str = "{\"requests\":[";
    const CLOSE: &str = "]}";

    /// Bytes that an item takes besides its text: the names, its id, and a comma.
    pub const BYTES_PER_ITEM: u64 =
        "{\"custom_id\":\"dfr_00000000000000000000000000000000\",\"params\":},".len() as u64;

    /// What comes before the first item.
    pub fn open() -> Bytes {
        Bytes::from_static(Self::OPEN.as_bytes())
    }

    /// What comes after the last item.
    pub fn close() -> Bytes {
        Bytes::from_static(Self::CLOSE.as_bytes())
    }

    /// Appends an item, whose text goes in as it is.
    pub fn push_item(buffer: &mut Vec<u8>, is_first: bool, id: DeferralId, text: &[u8]) {
        if !is_first {
            buffer.push(b',');
        }
        buffer.extend_from_slice(format!("{{\"custom_id\":\"{id}\",\"params\":").as_bytes());
        buffer.extend_from_slice(text);
        buffer.push(b'}');
    }

    /// Bytes of the whole body.
    pub fn length(items: u64, text_bytes: u64) -> u64 {
        // The last item has no comma behind it.
        (Self::OPEN.len() + Self::CLOSE.len()) as u64 + items * Self::BYTES_PER_ITEM + text_bytes - u64::from(items > 0)
    }
}

/// A batch as the provider tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderBatch {
    /// Its id.
    pub id: String,
    /// Whether its results can be fetched.
    pub has_ended: bool,
    /// Whether its results have been put away for good.
    pub is_archived: bool,
    /// When the provider made it.
    pub created_at: Option<Timestamp>,
    /// How many items it has.
    pub item_count: u64,
    /// How many of them came to an end that has a line in the results.
    pub result_count: u64,
}

impl Provider {
    /// Creates a batch; never repeats itself.
    ///
    /// `length` is the number of bytes that `body` yields.
    ///
    /// # Errors
    /// [`ProviderError::Unreachable`] and [`ProviderError::Refused`] below 500 or with 529 say that no batch was made;
    /// after any other one it may exist.
    pub async fn create_batch<S, E>(&self, lane: &Lane, length: u64, body: S) -> Result<ProviderBatch, ProviderError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let request = self
            .request(Method::POST, "/v1/messages/batches", lane)?
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_LENGTH, length)
            .timeout(CREATE_LIMIT)
            .body(Body::wrap_stream(body));
        let response = request.send().await.map_err(ProviderError::from_send)?;
        read_batch(error::accept(response).await?).await
    }

    /// How a batch is.
    ///
    /// # Errors
    /// As the upstream says.
    pub async fn batch(&self, lane: &Lane, id: &str) -> Result<ProviderBatch, ProviderError> {
        let request = self.request(Method::GET, &format!("/v1/messages/batches/{id}"), lane)?;
        read_batch(self.call(request).await?).await
    }

    /// Asks the provider to stop a batch.
    ///
    /// # Errors
    /// As the upstream says.
    pub async fn cancel_batch(&self, lane: &Lane, id: &str) -> Result<ProviderBatch, ProviderError> {
        let request = self.request(Method::POST, &format!("/v1/messages/batches/{id}/cancel"), lane)?;
        read_batch(self.call(request).await?).await
    }

    /// The batches that the provider has made since `since`, newest first.
    ///
    /// # Errors
    /// As the upstream says.
    pub async fn batches_since(&self, lane: &Lane, since: Timestamp) -> Result<Vec<ProviderBatch>, ProviderError> {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("/v1/messages/batches?limit={LIST_PAGE}{after}");
            let response = self.call(self.request(Method::GET, &path, lane)?).await?;
            let body = response.bytes().await.map_err(ProviderError::from_read)?;
            let page: WirePage = serde_json::from_slice(&body).map_err(|_| ProviderError::Unreadable("no list"))?;
            let last = page.data.last().map(|batch| batch.id.clone());
            let batches: Vec<ProviderBatch> = page.data.into_iter().map(ProviderBatch::from).collect();
            let is_older = |batch: &ProviderBatch| batch.created_at.is_some_and(|at| at < since);
            let reached_the_past = batches.iter().any(is_older);
            found.extend(batches.into_iter().filter(|batch| !is_older(batch)));
            match last {
                Some(last) if page.has_more && !reached_the_past => after = format!("&after_id={last}"),
                _ => return Ok(found),
            }
        }
    }

    /// The results of a batch that has ended, one at a time.
    ///
    /// # Errors
    /// As the upstream says.
    pub async fn results(&self, lane: &Lane, id: &str) -> Result<Results, ProviderError> {
        // The documented path, not the `results_url` of the answer: our credential goes to the upstream alone.
        let request = self.request(Method::GET, &format!("/v1/messages/batches/{id}/results"), lane)?;
        let response = error::accept(request.send().await.map_err(ProviderError::from_send)?).await?;
        Ok(Results { chunks: Some(response), lines: Lines::default(), unreadable: 0 })
    }
}

/// The stream of results of one batch.
#[derive(Debug)]
pub struct Results {
    chunks: Option<Response>,
    lines: Lines,
    /// Whole lines that were no results.
    pub unreadable: u64,
}

/// One line of the results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultLine {
    /// What the item was called.
    pub custom_id: String,
    /// What came of it.
    pub result: ItemResult,
}

/// What came of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemResult {
    /// A Message, in the provider's own text.
    Succeeded(String),
    /// An error envelope, in the provider's own text.
    Errored(String),
    /// It was canceled before it ran.
    Canceled,
    /// The batch ended before it ran.
    Expired,
}

impl Results {
    /// The next line that is a result; `None` is the end. Other whole lines are counted and passed over.
    ///
    /// # Errors
    /// If the stream breaks off, which a last line that does not read is a sign of as well.
    pub async fn next(&mut self) -> Result<Option<ResultLine>, ProviderError> {
        loop {
            if let Some(line) = self.lines.next() {
                if line.trim_ascii().is_empty() {
                    continue;
                }
                match read_line(&line) {
                    Ok(line) => return Ok(Some(line)),
                    Err(_) => self.unreadable += 1,
                }
                continue;
            }
            let Some(response) = &mut self.chunks else { return Ok(None) };
            match response.chunk().await.map_err(ProviderError::from_read)? {
                Some(chunk) => self.lines.push(&chunk).map_err(|_| ProviderError::Unreadable("a line without end"))?,
                None => {
                    self.chunks = None;
                    // A last line without an end is one all the same, if it reads.
                    let rest = std::mem::take(&mut self.lines).rest();
                    if !rest.trim_ascii().is_empty() {
                        return read_line(&rest).map(Some);
                    }
                }
            }
        }
    }
}

fn read_line(line: &[u8]) -> Result<ResultLine, ProviderError> {
    let unreadable = |_| ProviderError::Unreadable("a line that is no result");
    let text = std::str::from_utf8(line).map_err(|_| ProviderError::Unreadable("a line that is no text"))?;
    let wire: WireLine<'_> = serde_json::from_str(text).map_err(unreadable)?;
    let result = match (wire.result.kind.as_str(), wire.result.message, wire.result.error) {
        ("succeeded", Some(message), _) => ItemResult::Succeeded(message.get().to_owned()),
        ("errored", _, Some(error)) => ItemResult::Errored(error.get().to_owned()),
        ("canceled", ..) => ItemResult::Canceled,
        ("expired", ..) => ItemResult::Expired,
        _ => return Err(ProviderError::Unreadable("a result of a type that we do not know")),
    };
    Ok(ResultLine { custom_id: wire.custom_id, result })
}

async fn read_batch(response: Response) -> Result<ProviderBatch, ProviderError> {
    let body = response.bytes().await.map_err(ProviderError::from_read)?;
    let wire: WireBatch = serde_json::from_slice(&body).map_err(|_| ProviderError::Unreadable("no batch"))?;
    Ok(wire.into())
}

impl From<WireBatch> for ProviderBatch {
    fn from(wire: WireBatch) -> Self {
        let counts = wire.request_counts;
        let result_count = counts.succeeded + counts.errored + counts.canceled + counts.expired;
        Self {
            id: wire.id,
            has_ended: wire.processing_status == "ended",
            is_archived: wire.archived_at.is_some(),
            created_at: wire.created_at.as_deref().and_then(Timestamp::parse_rfc3339),
            item_count: counts.processing + result_count,
            result_count,
        }
    }
}

#[derive(Deserialize)]
struct WirePage {
    data: Vec<WireBatch>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct WireBatch {
    id: String,
    processing_status: String,
    #[serde(default)]
    request_counts: WireCounts,
    created_at: Option<String>,
    archived_at: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireCounts {
    processing: u64,
    succeeded: u64,
    errored: u64,
    canceled: u64,
    expired: u64,
}

#[derive(Deserialize)]
struct WireLine<'a> {
    custom_id: String,
    #[serde(borrow)]
    result: WireResult<'a>,
}

#[derive(Deserialize)]
struct WireResult<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_an_envelope_is_known_beforehand() {
        for texts in [vec![], vec!["{}"], vec!["{\"a\":1}", "{ }", "{\"b\":[]}"]] {
            let mut body = Envelope::open().to_vec();
            for (index, text) in texts.iter().enumerate() {
                Envelope::push_item(&mut body, index == 0, DeferralId(uuid::Uuid::nil()), text.as_bytes());
            }
            body.extend_from_slice(&Envelope::close());
            let bytes: usize = texts.iter().map(|text| text.len()).sum();
            assert_eq!(Envelope::length(texts.len() as u64, bytes as u64), body.len() as u64);
            assert!(crate::domain::json::is_valid(std::str::from_utf8(&body).unwrap()));
        }
    }

    #[test]
    fn a_result_keeps_its_own_text() {
        let line = br#"{"custom_id":"a","result":{"type":"succeeded","message":{ "x": 1.0, "y":1e5 },"new":1}}"#;
        let expected = ItemResult::Succeeded(r#"{ "x": 1.0, "y":1e5 }"#.into());
        assert_eq!(read_line(line).unwrap(), ResultLine { custom_id: "a".into(), result: expected });
        assert!(read_line(br#"{"custom_id":"a","result":{"type":"succeeded"}}"#).is_err());
        assert!(read_line(br#"{"custom_id":"a","resu"#).is_err());
    }
}
