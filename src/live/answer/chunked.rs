//! A body that comes in chunks: their data, merged, and the trailers after the last.

use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;

use super::Fault;
use super::head::{HEAD_MAX, HEADERS_MAX, collect};
use super::lines::Lines;

/// The most hexadecimal digits of a size, leading zeros included: as many as fit the number.
const DIGITS_MAX: u8 = 16;

/// The most bytes between a chunk's size and the end of its line. Nobody gives them a meaning; a few signatures are longer.
pub(super) const EXTENSION_MAX: u16 = 256;

/// Where in a chunked body we are.
#[derive(Debug)]
pub(super) struct Chunks(Step);

#[derive(Debug)]
enum Step {
    Size {
        size: u64,
        digits: u8,
    },
    /// After the size: blanks, then perhaps a semicolon, behind which anything may stand.
    Extension {
        size: u64,
        length: u16,
        begun: bool,
    },
    SizeEnd(u64),
    Data(u64),
    DataReturn,
    DataEnd,
    Trailers(Lines),
}

const SIZE: Step = Step::Size { size: 0, digits: 0 };

impl Default for Chunks {
    fn default() -> Self {
        Self(SIZE)
    }
}

impl Chunks {
    /// The data of all chunks, and parts of chunks, that have arrived: those after the first are moved up to it.
    pub(super) fn decode(&mut self, arrived: &mut BytesMut) -> Result<Bytes, Fault> {
        let (mut read, mut start, mut end) = (0, 0, 0);
        while let Some(byte) = arrived.get(read).copied() {
            match &mut self.0 {
                Step::Data(left) => {
                    let here =
                        usize::try_from(*left).map_or(arrived.len() - read, |left| left.min(arrived.len() - read));
                    if start == end {
                        (start, end) = (read, read);
                    } else {
                        arrived.copy_within(read..read + here, end);
                    }
                    end += here;
                    read += here;
                    *left -= here as u64;
                    if *left == 0 {
                        self.0 = Step::DataReturn;
                    }
                }
                Step::Trailers(_) => break,
                step => {
                    *step = step.after(byte)?;
                    read += 1;
                }
            }
        }
        if start == end {
            arrived.advance(read);
            return Ok(Bytes::new());
        }
        arrived.advance(start);
        let data = arrived.split_to(end - start).freeze();
        arrived.advance(read - end);
        Ok(data)
    }

    /// The trailers, which may be none, once the last chunk and they have arrived.
    pub(super) fn trailers(&mut self, arrived: &mut BytesMut) -> Result<Option<HeaderMap>, Fault> {
        let Step::Trailers(lines) = &mut self.0 else { return Ok(None) };
        let Some(end) = lines.end(arrived, HEAD_MAX).map_err(|_| Fault::Trailers)? else { return Ok(None) };
        parse(&arrived.split_to(end).freeze()).map(Some).ok_or(Fault::Trailers)
    }
}

impl Step {
    /// Where a byte leads that is not data.
    fn after(&self, byte: u8) -> Result<Self, Fault> {
        match (self, byte) {
            (&Self::Size { size, digits }, _) => after_size(size, digits, byte),
            (&Self::Extension { size, .. }, b'\r') => Ok(Self::SizeEnd(size)),
            (&Self::Extension { size, length, begun }, _) => {
                let fits = if begun {
                    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
                } else {
                    matches!(byte, b'\t' | b' ' | b';')
                };
                let step = Self::Extension { size, length: length + 1, begun: begun || byte == b';' };
                if fits && length < EXTENSION_MAX { Ok(step) } else { Err(Fault::Chunk) }
            }
            (Self::SizeEnd(0), b'\n') => Ok(Self::Trailers(Lines::default())),
            (&Self::SizeEnd(size), b'\n') => Ok(Self::Data(size)),
            (Self::DataReturn, b'\r') => Ok(Self::DataEnd),
            (Self::DataEnd, b'\n') => Ok(SIZE),
            _ => Err(Fault::Chunk),
        }
    }
}

fn after_size(size: u64, digits: u8, byte: u8) -> Result<Step, Fault> {
    match (char::from(byte).to_digit(16), byte) {
        (Some(digit), _) if digits < DIGITS_MAX => {
            Ok(Step::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
        }
        (None, b'\r') if digits > 0 => Ok(Step::SizeEnd(size)),
        (None, b'\t' | b' ' | b';') if digits > 0 => Ok(Step::Extension { size, length: 1, begun: byte == b';' }),
        _ => Err(Fault::Chunk),
    }
}

fn parse(block: &Bytes) -> Option<HeaderMap> {
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    match httparse::parse_headers(block, &mut slots) {
        Ok(httparse::Status::Complete((_, parsed))) => collect(block, parsed).ok(),
        _ => None,
    }
}
