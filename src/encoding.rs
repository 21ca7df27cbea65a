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

/// As much of what `body` was before `encoding` as can be told: at most `limit` bytes, and none beyond where it breaks off.
/// What is of no known encoding stays as it is.
pub async fn begin(encoding: &str, body: &Bytes, limit: usize) -> Bytes {
    let (raw, mut plain) = (body.as_ref(), Vec::new());
    // Why it ends where it does is for whoever needs all of it.
    let _ = match encoding.trim().to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => read_into(&mut plain, GzipDecoder::new(raw), limit).await,
        "deflate" => read_into(&mut plain, ZlibDecoder::new(raw), limit).await,
        "br" => read_into(&mut plain, BrotliDecoder::new(raw), limit).await,
        "zstd" => read_into(&mut plain, ZstdDecoder::new(raw), limit).await,
        _ => return body.slice(..body.len().min(limit)),
    };
    plain.truncate(limit);
    plain.into()
}

async fn read(decoder: impl AsyncRead + Unpin, limit: usize) -> Result<Bytes, DecodeError> {
    let mut plain = Vec::new();
    read_into(&mut plain, decoder, limit).await?;
    if plain.len() <= limit { Ok(plain.into()) } else { Err(DecodeError::TooLong) }
}

async fn read_into(plain: &mut Vec<u8>, decoder: impl AsyncRead + Unpin, limit: usize) -> Result<(), DecodeError> {
    // One byte more than allowed is enough to know.
    let mut decoder = decoder.take(limit as u64 + 1);
    loop {
        let stretch = (&mut decoder).take(STRETCH_BYTES as u64).read_to_end(plain).await;
        if stretch.map_err(|_| DecodeError::Broken)? < STRETCH_BYTES {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
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
    async fn as_much_as_can_be_told_is_told() {
        let whole = all(GzipEncoder::new(PLAIN)).await;
        assert_eq!(begin("gzip", &whole, 1_000).await, PLAIN);
        assert_eq!(begin("gzip", &whole, 10).await, PLAIN[..10]);
        assert_eq!(begin("snappy", &whole, 1_000).await, whole);
        assert_eq!(begin("", &Bytes::from_static(PLAIN), 10).await, PLAIN[..10]);
        let text: String = (0..20_000).map(|number| format!("{number} ")).collect();
        let encoded = all(GzipEncoder::new(text.as_bytes())).await;
        let half = begin("gzip", &encoded.slice(..encoded.len() / 2), 1_000_000).await;
        assert!(half.len() > 10_000 && text.as_bytes().starts_with(&half), "{}", half.len());
    }

    #[tokio::test]
    async fn long_bodies_come_whole() {
        let long = vec![b'x'; 3 * STRETCH_BYTES];
        let mut encoded = Vec::new();
        GzipEncoder::new(long.as_slice()).read_to_end(&mut encoded).await.unwrap();
        assert_eq!(decode("gzip", &encoded.into(), long.len()).await.unwrap().len(), long.len());
    }
}
