//! Request bodies that come compressed.

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::error::ApiError;

/// What `content-encoding` says that `body` is, decoded; at most `limit` bytes.
pub(super) async fn decode(encoding: &[u8], body: Bytes, limit: usize) -> Result<Bytes, ApiError> {
    let packed = &body[..];
    let plain: Box<dyn AsyncRead + Send + Unpin + '_> = match encoding {
        b"gzip" | b"x-gzip" => Box::new(GzipDecoder::new(packed)),
        b"deflate" => Box::new(ZlibDecoder::new(packed)),
        b"br" => Box::new(BrotliDecoder::new(packed)),
        b"zstd" => Box::new(ZstdDecoder::new(packed)),
        b"identity" => return Ok(body),
        _ => {
            let error = ApiError::invalid("content-encoding: unsupported encoding");
            return Err(error.with_code("request_body_encoding_unsupported"));
        }
    };
    let mut decoded = Vec::new();
    // One byte more than allowed shows that there is more than allowed.
    let read = plain.take(limit as u64 + 1).read_to_end(&mut decoded).await;
    read.map_err(|_| {
        ApiError::invalid("The request body is not in its content-encoding").with_code("request_body_encoding_invalid")
    })?;
    if decoded.len() > limit {
        let error = ApiError::of("request_too_large", "Request exceeds the maximum size once it is decoded");
        return Err(error.with_code("request_body_too_large_after_decoding"));
    }
    Ok(decoded.into())
}

#[cfg(test)]
mod tests {
    use async_compression::tokio::bufread::GzipEncoder;

    use super::*;

    async fn gzip(plain: &[u8]) -> Bytes {
        let mut packed = Vec::new();
        GzipEncoder::new(plain).read_to_end(&mut packed).await.unwrap();
        packed.into()
    }

    #[tokio::test]
    async fn decodes_within_the_limit() {
        let packed = gzip(b"{\"a\":1}").await;
        assert_eq!(decode(b"gzip", packed.clone(), 7).await.unwrap(), "{\"a\":1}");
        assert_eq!(decode(b"gzip", packed, 6).await.err().map(|error| error.status), Some(413));
    }

    #[tokio::test]
    async fn refuses_what_it_cannot_decode() {
        for encoding in [&b"gzip"[..], b"rot13"] {
            assert_eq!(decode(encoding, "plain".into(), 99).await.err().map(|error| error.status), Some(400));
        }
    }
}
