//! How the end of an answer's body is found.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use super::Fault;

/// What says where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The number of its bytes, which may be none.
    Counted(u64),
    /// Its last chunk.
    Chunked,
    /// The end of the connection.
    UntilClose,
}

impl Framing {
    /// Reads it off the head of an answer. What is said of a body that cannot be there must be sound too.
    pub(super) fn of(asked: &Method, status: StatusCode, version: Version, headers: &HeaderMap) -> Result<Self, Fault> {
        let length = length(headers)?;
        let is_chunked = is_chunked(headers)?;
        if is_chunked && length.is_some() {
            return Err(Fault::Ambiguous);
        }
        if is_chunked && version == Version::HTTP_10 {
            return Err(Fault::Coding);
        }
        let is_bare = *asked == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        Ok(match length {
            _ if is_bare => Self::Counted(0),
            Some(length) => Self::Counted(length),
            None if is_chunked => Self::Chunked,
            None => Self::UntilClose,
        })
    }
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let Some(value) = only(headers.get_all(CONTENT_LENGTH).iter()).ok_or(Fault::Length)? else { return Ok(None) };
    // A sign, a list or a blank would be read in one way here and in another elsewhere.
    if value.is_empty() || !value.as_bytes().iter().all(u8::is_ascii_digit) {
        return Err(Fault::Length);
    }
    let digits = value.to_str().map_err(|_| Fault::Length)?;
    digits.parse().map(Some).map_err(|_| Fault::Length)
}

fn is_chunked(headers: &HeaderMap) -> Result<bool, Fault> {
    match only(headers.get_all(TRANSFER_ENCODING).iter()).ok_or(Fault::Coding)? {
        Some(coding) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        Some(_) => Err(Fault::Coding),
        None => Ok(false),
    }
}

/// The only one, if there is any; `None` if there are several.
fn only<'a>(mut values: impl Iterator<Item = &'a HeaderValue>) -> Option<Option<&'a HeaderValue>> {
    let first = values.next();
    values.next().is_none().then_some(first)
}
