//! An answer about batches, read in full so that its `results_url` can be moved.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;

use super::address::Address;
use super::{Error, LiveBody, results_url};
use crate::encoding::decode;

/// The longest answer that is read for its `results_url`: twenty times a full page of 1000 batches. A longer one
/// passes untouched.
const ANSWER_LIMIT: usize = 16_000_000;

/// The answer with every `results_url` of the upstream led to `origin`; as it came if there is none.
pub(super) async fn lead_back(
    answer: Response<LiveBody>,
    upstream: &Address,
    origin: &str,
) -> Result<Response<LiveBody>, Error> {
    if answer.status() != StatusCode::OK || !is_json(answer.headers()) {
        return Ok(answer);
    }
    let (mut head, body) = answer.into_parts();
    let whole = match read(body).await? {
        Read::Whole(bytes) => bytes,
        Read::TooLong(body) => return Ok(Response::from_parts(head, body)),
    };
    let Some(moved) = moved(&head.headers, &whole, upstream, origin).await else {
        return Ok(Response::from_parts(head, LiveBody::whole(whole)));
    };
    head.headers.remove(CONTENT_ENCODING);
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(moved.len()));
    Ok(Response::from_parts(head, LiveBody::whole(moved)))
}

/// The new text in plain, if there is anything to move. SDKs ask for compressed answers, and get this one plain:
/// who accepts an encoding accepts none too.
async fn moved(headers: &HeaderMap, whole: &Bytes, upstream: &Address, origin: &str) -> Option<Bytes> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    let encoding = encodings.next().map_or(Ok(""), HeaderValue::to_str).ok()?;
    if encodings.next().is_some() {
        return None;
    }
    let plain = decode(encoding, whole, ANSWER_LIMIT).await.ok()?;
    let text = std::str::from_utf8(&plain).ok()?;
    results_url::rewrite(text, upstream, origin).map(Bytes::from)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(media_type)) = headers.get(CONTENT_TYPE).map(HeaderValue::to_str) else { return false };
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

enum Read {
    Whole(Bytes),
    TooLong(LiveBody),
}

async fn read(mut body: LiveBody) -> Result<Read, Error> {
    if body.left().is_some_and(|left| left > ANSWER_LIMIT as u64) {
        return Ok(Read::TooLong(body));
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Nothing of this answer has been passed on, so a break in it is still a plain 502.
        let Ok(data) = frame.map_err(Error::Unreachable)?.into_data() else { continue };
        read.extend_from_slice(&data);
        if read.len() > ANSWER_LIMIT {
            return Ok(Read::TooLong(body.with_beginning(read.freeze())));
        }
    }
    Ok(Read::Whole(read.freeze()))
}
