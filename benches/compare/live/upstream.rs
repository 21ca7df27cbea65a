//! The upstream: answers as the provider does, as fast as a socket takes it, on one thread.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::interval;

use super::Shape;
use super::load::nanos;

/// Events of a stream, how many of them arrive in one write when they come in bursts, and the pause when they do not.
const EVENTS: usize = 50;
const EVENTS_IN_BURST: usize = 10;
const PAUSE: Duration = Duration::from_millis(5);

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

/// Serves until it is killed; says where.
pub(crate) async fn child() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    crate::comparison::say(&listener.local_addr()?.to_string());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(converse(stream));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// It ends when the other side goes away.
async fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
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
                std::future::pending::<()>().await;
            }
        }
    }
}

/// The next request: what it asks for, and its length.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<(Shape, usize)>> {
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
    }
}

fn json() -> String {
    let body = format!(r#"{{"type":"message","content":[{{"type":"text","text":"{}"}}]}}"#, "x".repeat(960));
    format!(
        "HTTP/1.1 200 OK\r\n{HEADERS}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn stream_head() -> String {
    format!("HTTP/1.1 200 OK\r\n{HEADERS}content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
}

fn event() -> String {
    format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"t\":\"{:020}\",\"delta\":{{\"type\":\"text_delta\",\"text\":\"some words \"}}}}\n\n",
        nanos()
    )
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

async fn bursts(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(stream_head().as_bytes()).await?;
    for _ in 0..EVENTS / EVENTS_IN_BURST {
        let burst: String = (0..EVENTS_IN_BURST).map(|_| chunk(&event())).collect();
        stream.write_all(burst.as_bytes()).await?;
        tokio::task::yield_now().await;
    }
    stream.write_all(b"0\r\n\r\n").await
}

async fn paced(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(stream_head().as_bytes()).await?;
    let mut pause = interval(PAUSE);
    for _ in 0..EVENTS {
        pause.tick().await;
        stream.write_all(chunk(&event()).as_bytes()).await?;
    }
    stream.write_all(b"0\r\n\r\n").await
}

/// Where a child that has just been started says that it listens.
pub(crate) fn parse(line: &str) -> Option<SocketAddr> {
    line.trim().parse().ok()
}
