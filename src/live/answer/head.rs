//! Status line and headers.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use httparse::ParserConfig;
use hyper::ext::ReasonPhrase;

use super::{Fault, Framing, Known};

/// The longest head of an answer: the provider's are below 4 KiB, and other servers refuse to send half of this.
pub const HEAD_MAX: usize = 64 * 1024;

/// The most headers of an answer, and the most trailers: as many as a request may have.
pub const HEADERS_MAX: usize = 128;

const BEGINNING: &[u8] = b"HTTP/1.";

/// Where the reason stands in a status line, with a space before it.
const REASON_AT: usize = "HTTP/1.1 200".len();

/// Status and headers of an answer.
#[derive(Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The words after it, where they are not the usual ones.
    pub reason: Option<ReasonPhrase>,
    /// The headers, in order.
    pub headers: HeaderMap,
    pub(super) version: Version,
}

/// Refuses what cannot become an answer, however little of it is there.
pub(super) fn expect(arrived: &[u8]) -> Result<(), Fault> {
    let there = arrived.len().min(BEGINNING.len());
    if arrived.get(..there) == BEGINNING.get(..there) { Ok(()) } else { Err(Fault::NotHttp) }
}

impl Head {
    /// Reads what ends in an empty line, and all of whose lines end in CR and LF.
    pub(super) fn parse(block: &Bytes, known: &mut Known) -> Result<Self, Fault> {
        known.read(block).map_or_else(|| read_anew(block, known), Ok)
    }

    /// How the end of the body is found.
    ///
    /// # Errors
    /// If there is more than one way to find it, or none that is sure.
    pub fn framing(&self, asked: &Method) -> Result<Framing, Fault> {
        Framing::of(asked, self.status, self.version, &self.headers)
    }

    /// Whether the connection can take another request after this answer, if its end is clear.
    pub(super) fn stays_open(&self) -> bool {
        let says = |word: &str| {
            let values = self.headers.get_all(CONNECTION).iter();
            values
                .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
                .any(|option| option.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
        };
        !says("close") && (self.version == Version::HTTP_11 || says("keep-alive"))
    }
}

/// Reads a head as one that was never read before, and remembers it.
pub(super) fn read_anew(block: &Bytes, known: &mut Known) -> Result<Head, Fault> {
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, block, &mut slots).map_err(fault)?;
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Fault::Head)?;
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let head = Head { status, reason: reason(block, status), headers: collect(block, parsed.headers)?, version };
    known.remember(block, &head, parsed.headers.iter().map(|header| header.name));
    Ok(head)
}

/// The headers, or trailers, whose bytes stay where they are in `block`.
pub(super) fn collect(block: &Bytes, parsed: &[httparse::Header<'_>]) -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Fault::Head)?;
        let value = HeaderValue::from_maybe_shared(block.slice_ref(header.value)).map_err(|_| Fault::Head)?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn reason(block: &Bytes, status: StatusCode) -> Option<ReasonPhrase> {
    let line = block.split(|byte| *byte == b'\r').next()?;
    let after = line.get(REASON_AT..)?;
    let reason = after.strip_prefix(b" ").unwrap_or(after);
    let is_usual = status.canonical_reason().is_some_and(|usual| usual.as_bytes() == reason);
    if is_usual { None } else { ReasonPhrase::try_from(reason).ok() }
}

fn fault(error: httparse::Error) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => Fault::HeadTooLong,
        httparse::Error::Version => Fault::NotHttp,
        _ => Fault::Head,
    }
}
