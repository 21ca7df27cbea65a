//! Encoded bodies made plain, up to a limit.

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The encodings that [`decode`] undoes, for error texts.
pub const KNOWN: &str = "gzip, deflate, br or zstd";

/// Decoding this much at a stretch takes a fraction of a millisecond; then others have a turn on the thread.
const STRETCH_BYTES: usize = 256 * 1024;

/// Why a body cannot be made plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The encoding is none of [`KNOWN`], or more than one.
    Unknown,
    /// The body is not of its encoding, or not whole.
    Broken,
    /// It is longer than the limit.
    TooLong,
}

/// `body` as it was before `encoding`.
///
/// # Errors
/// If it cannot be made plain, or is longer than `limit` bytes then.
pub async fn decode(encoding: &str, body: &Bytes, limit: usize) -> Result<Bytes, DecodeError> {
    let raw = body.as_ref();
    match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Some(body.clone()).filter(|body| body.len() <= limit).ok_or(DecodeError::TooLong),
        "gzip" | "x-gzip" => read(GzipDecoder::new(raw), limit).await,
        "deflate" => read(ZlibDecoder::new(raw), limit).await,
        "br" => read(BrotliDecoder::new(raw), limit).await,
        "zstd" => read(ZstdDecoder::new(raw), limit).await,
        _ => Err(DecodeError::Unknown),
    }
}

async fn read(decoder: impl AsyncRead + Unpin, limit: usize) -> Result<Bytes, DecodeError> {
    let mut plain = Vec::new();
    // One byte more than allowed is enough to know.
    let mut decoder = decoder.take(limit as u64 + 1);
    loop {
        let stretch = (&mut decoder).take(STRETCH_BYTES as u64).read_to_end(&mut plain).await;
        if stretch.map_err(|_| DecodeError::Broken)? < STRETCH_BYTES {
            break;
        }
        tokio::task::yield_now().await;
    }
    if plain.len() <= limit { Ok(plain.into()) } else { Err(DecodeError::TooLong) }
}

#[cfg(test)]
mod tests {
    use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};

    use super::*;

    const PLAIN: &[u8] = b"the same words, the same words, the same words, the same words";

    async fn all(mut encoder: impl AsyncRead + Unpin) -> Bytes {
        let mut encoded = Vec::new();
        encoder.read_to_end(&mut encoded).await.unwrap();
        encoded.into()
    }

    #[tokio::test]
    async fn known_encodings_are_undone_within_the_limit() {
        for (encoding, encoded) in [
            ("gzip", all(GzipEncoder::new(PLAIN)).await),
            ("X-GZIP", all(GzipEncoder::new(PLAIN)).await),
            ("deflate", all(ZlibEncoder::new(PLAIN)).await),
            ("br", all(BrotliEncoder::new(PLAIN)).await),
            (" zstd ", all(ZstdEncoder::new(PLAIN)).await),
            ("identity", Bytes::from_static(PLAIN)),
        ] {
            let at_limit = decode(encoding, &encoded, PLAIN.len()).await;
            assert_eq!(at_limit.as_deref(), Ok(PLAIN), "{encoding}");
            let beyond = decode(encoding, &encoded, PLAIN.len() - 1).await;
            assert_eq!(beyond, Err(DecodeError::TooLong), "{encoding}");
        }
    }

    #[tokio::test]
    async fn the_rest_is_refused() {
        let encoded = all(GzipEncoder::new(PLAIN)).await;
        assert_eq!(decode("gzip, br", &encoded, 1000).await, Err(DecodeError::Unknown));
        assert_eq!(decode("snappy", &encoded, 1000).await, Err(DecodeError::Unknown));
        let half = encoded.slice(..encoded.len() / 2);
        assert_eq!(decode("gzip", &half, 1000).await, Err(DecodeError::Broken));
        assert_eq!(decode("gzip", &Bytes::from_static(b"plain"), 1000).await, Err(DecodeError::Broken));
    }

    #[tokio::test]
    async fn long_bodies_come_whole() {
        let long = vec![b'x'; 3 * STRETCH_BYTES];
        let mut encoded = Vec::new();
        GzipEncoder::new(long.as_slice()).read_to_end(&mut encoded).await.unwrap();
        assert_eq!(decode("gzip", &encoded.into(), long.len()).await.unwrap().len(), long.len());
    }
}
