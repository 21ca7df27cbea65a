//! The upstream: answers as the provider does, as fast as a socket takes it, on one thread.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::interval;
use tokio_rustls::TlsAcceptor;

use super::Shape;
use super::load::nanos;

/// Events of a stream, how many of them arrive in one write when they come in bursts, and the pause when they do not.
pub(crate) const EVENTS: usize = 50;
const EVENTS_IN_BURST: usize = 10;
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// What is read of a request at most before it is taken for a long body.
const LONG: usize = 1_000_000;

/// The files of an identity.
pub(crate) const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// Like the provider's: 21 with the two that say what the body is.
const HEADERS: &str = "date: Sun, 22 Nov 2026 12:00:00 GMT\r\nserver: cloudflare\r\nrequest-id: req_011CV9bXjZ8sQw1mYtPqRs7u\r\n\
    anthropic-organization-id: 5d3f8f5e-6f0c-4f43-b8fd-111122223333\r\nanthropic-ratelimit-requests-limit: 4000\r\n\
    anthropic-ratelimit-requests-remaining: 3999\r\nanthropic-ratelimit-requests-reset: 2026-11-22T12:00:00Z\r\n\
    anthropic-ratelimit-input-tokens-limit: 2000000\r\nanthropic-ratelimit-input-tokens-remaining: 2000000\r\n\
    anthropic-ratelimit-input-tokens-reset: 2026-11-22T12:00:00Z\r\nanthropic-ratelimit-output-tokens-limit: 400000\r\n\
    anthropic-ratelimit-output-tokens-remaining: 400000\r\nanthropic-ratelimit-output-tokens-reset: 2026-11-22T12:00:00Z\r\n\
    anthropic-ratelimit-tokens-limit: 2400000\r\nanthropic-ratelimit-tokens-remaining: 2400000\r\n\
    strict-transport-security: max-age=31536000; includeSubDomains; preload\r\nvia: 1.1 google\r\ncf-cache-status: DYNAMIC\r\n\
    x-robots-tag: none\r\n";

/// Serves until it is killed, plainly at one address and encrypted at another; says where.
pub(crate) async fn child(identity: &str) -> anyhow::Result<()> {
    let (plain, encrypted) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    crate::comparison::say(&format!("{} {}", plain.local_addr()?, encrypted.local_addr()?));
    let tls = acceptor(Path::new(identity))?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = plain.accept() => {
                stream.set_nodelay(true)?;
                connections.spawn(converse(stream));
            }
            Ok((stream, _)) = encrypted.accept() => {
                stream.set_nodelay(true)?;
                let tls = tls.clone();
                connections.spawn(async move { converse(tls.accept(stream).await?).await });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// An identity for this machine, in a folder: the certificate, and its key.
pub(crate) fn make_identity(folder: &Path) -> anyhow::Result<()> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(folder.join(CERTIFICATE), made.cert.pem())?;
    Ok(std::fs::write(folder.join(KEY), made.signing_key.serialize_pem())?)
}

fn acceptor(identity: &Path) -> anyhow::Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_file(identity.join(CERTIFICATE))?;
    let key = PrivateKeyDer::from_pem_file(identity.join(KEY))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// It ends when the other side goes away.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(16_384);
    loop {
        let Some((shape, length)) = request(&mut stream, &mut buffer).await? else { return Ok(()) };
        buffer.drain(..length);
        match shape {
            Shape::Json => stream.write_all(json().as_bytes()).await?,
            Shape::Bursts => bursts(&mut stream).await?,
            Shape::Paced => paced(&mut stream).await?,
            // That it is asked at all is a mistake.
            Shape::Defer => return Ok(()),
            Shape::Open => {
                stream.write_all(chunk(&event()).as_bytes()).await?;
                // Until the other side goes away.
                return stream.read_u8().await.map(drop).or(Ok(()));
            }
        }
    }
}

/// The next request: what it asks for, and its length.
async fn request(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buffer: &mut Vec<u8>,
) -> std::io::Result<Option<(Shape, usize)>> {
    loop {
        if let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
            let shape = Shape::ALL
                .into_iter()
                .find(|shape| text.lines().next().is_some_and(|line| line.contains(shape.name())));
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            let whole = head + 4 + length.unwrap_or(0);
            if buffer.len() >= whole {
                return Ok(shape.map(|shape| (shape, whole)));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
        // Of a body that is long only its length matters.
        if buffer.len() > LONG {
            discard_rest(stream, buffer).await?;
        }
    }
}

/// Takes of a long body what is still to come, and lets it look as if it had been none.
async fn discard_rest(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), buffer: &mut Vec<u8>) -> std::io::Result<()> {
    let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(()) };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<u64>().ok());
    let left = (head as u64 + 4 + length.unwrap_or(0)).saturating_sub(buffer.len() as u64);
    tokio::io::copy(&mut stream.take(left), &mut tokio::io::sink()).await?;
    let first = text.lines().next().unwrap_or_default().to_owned();
    *buffer = format!("{first}\r\n\r\n").into_bytes();
    Ok(())
}

fn json() -> String {
    let body = format!(
        r#"{{"type":"message","model":"claude-haiku-4-5","content":[{{"type":"text","text":"{}"}}],"stop_reason":"end_turn","usage":{{"input_tokens":240,"output_tokens":64}}}}"#,
        "x".repeat(840)
    );
    format!(
        "HTTP/1.1 200 OK\r\n{HEADERS}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn stream_head() -> String {
    format!("HTTP/1.1 200 OK\r\n{HEADERS}content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
}

/// An event that says when it left.
pub(crate) fn event() -> String {
    format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"t\":\"{:020}\",\"delta\":{{\"type\":\"text_delta\",\"text\":\"some words \"}}}}\n\n",
        nanos()
    )
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

async fn bursts(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    stream.write_all(stream_head().as_bytes()).await?;
    for _ in 0..EVENTS / EVENTS_IN_BURST {
        let burst: String = (0..EVENTS_IN_BURST).map(|_| chunk(&event())).collect();
        stream.write_all(burst.as_bytes()).await?;
        tokio::task::yield_now().await;
    }
    stream.write_all(b"0\r\n\r\n").await
}

async fn paced(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    stream.write_all(stream_head().as_bytes()).await?;
    let mut pause = interval(PAUSE);
    for _ in 0..EVENTS {
        pause.tick().await;
        stream.write_all(chunk(&event()).as_bytes()).await?;
    }
    stream.write_all(b"0\r\n\r\n").await
}

/// Where a child that has just been started says that it listens, plainly and encrypted.
pub(crate) fn parse(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (plain, encrypted) = line.trim().split_once(' ')?;
    Some((plain.parse().ok()?, encrypted.parse().ok()?))
}
