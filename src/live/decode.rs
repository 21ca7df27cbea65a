//! Encoded bodies made plain, up to a limit.

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// `body` as it was before `encoding`; `None` if the encoding is unknown, the body is not whole, or it is longer than `limit`.
pub(super) async fn decode(encoding: &str, body: &Bytes, limit: usize) -> Option<Bytes> {
    let raw = body.as_ref();
    match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Some(body.clone()).filter(|body| body.len() <= limit),
        "gzip" | "x-gzip" => read(GzipDecoder::new(raw), limit).await,
        "deflate" => read(ZlibDecoder::new(raw), limit).await,
        "br" => read(BrotliDecoder::new(raw), limit).await,
        "zstd" => read(ZstdDecoder::new(raw), limit).await,
        _ => None,
    }
}

async fn read(decoder: impl AsyncRead + Unpin, limit: usize) -> Option<Bytes> {
    let mut plain = Vec::new();
    // One byte more than allowed is enough to know.
    decoder.take(limit as u64 + 1).read_to_end(&mut plain).await.ok()?;
    (plain.len() <= limit).then(|| plain.into())
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
            assert_eq!(at_limit.as_deref(), Some(PLAIN), "{encoding}");
            assert_eq!(decode(encoding, &encoded, PLAIN.len() - 1).await, None, "{encoding}");
        }
    }

    #[tokio::test]
    async fn the_rest_is_refused() {
        let encoded = all(GzipEncoder::new(PLAIN)).await;
        assert_eq!(decode("gzip, br", &encoded, 1000).await, None);
        assert_eq!(decode("snappy", &encoded, 1000).await, None);
        assert_eq!(decode("gzip", &encoded.slice(..encoded.len() / 2), 1000).await, None);
        assert_eq!(decode("gzip", &Bytes::from_static(b"plain"), 1000).await, None);
    }
}
