//! HTTP/1.1 spoken by hand, so that a test sees every byte and decides when each is sent.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long a test waits for what it expects before it calls that a failure.
const LIMIT: Duration = Duration::from_secs(30);

/// How long a peer must take nothing more before it counts as not reading.
const STALL: Duration = Duration::from_millis(300);

/// Waits for what must happen.
pub(crate) async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, event).await.expect("what was waited for did not happen")
}

/// One end of a connection.
pub(crate) struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// The first line of a message, and its headers with lower-case names, sorted by name; repeated ones in their order.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(it, _)| it == name)?;
        Some(std::str::from_utf8(value).unwrap())
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.headers.iter().map(|(name, _)| name.as_str()).collect()
    }
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::new(soon(TcpStream::connect(address)).await.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    pub(crate) async fn send_chunk(&mut self, data: impl AsRef<[u8]>) {
        let data = data.as_ref();
        let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
        chunk.extend_from_slice(data);
        chunk.extend_from_slice(b"\r\n");
        self.send(chunk).await;
    }

    /// The next message's head.
    pub(crate) async fn head(&mut self) -> Head {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let start = String::from_utf8(lines.remove(0)).unwrap();
        let mut headers: Vec<_> = lines.iter().map(|line| header(line)).collect();
        headers.sort_by(|(a, _), (b, _)| a.cmp(b));
        Head { start, headers }
    }

    /// Exactly so many bytes.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            assert!(self.more().await, "closed after {} of {count} bytes", self.unread.len());
        }
        self.unread.drain(..count).collect()
    }

    /// The next chunk's data; empty at the end, whose trailers are still to be read with [`Wire::line`].
    pub(crate) async fn chunk(&mut self) -> Vec<u8> {
        let size = String::from_utf8(self.line().await).unwrap();
        let size = usize::from_str_radix(&size, 16).unwrap();
        let data = self.take(size).await;
        if size > 0 {
            assert_eq!(self.take(2).await, b"\r\n");
        }
        data
    }

    /// All chunks to the end, and the trailers.
    pub(crate) async fn chunks(&mut self) -> (Vec<u8>, Vec<String>) {
        let mut all = Vec::new();
        loop {
            let data = self.chunk().await;
            if data.is_empty() {
                break;
            }
            all.extend(data);
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                return (all, trailers);
            }
            trailers.push(String::from_utf8(line).unwrap());
        }
    }

    pub(crate) async fn line(&mut self) -> Vec<u8> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.unread.drain(..end).collect();
                self.unread.drain(..2);
                return line;
            }
            assert!(self.more().await, "closed within a line");
        }
    }

    /// Everything that still comes until the other end closes, or resets, the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.unread)
    }

    /// Writes up to `most` bytes, until the other end takes no more; how many it took.
    pub(crate) async fn send_until_stalled(&mut self, most: usize) -> usize {
        let block = vec![b'x'; 64 * 1024];
        let mut sent = 0;
        while sent < most {
            let write = self.stream.write(&block[..block.len().min(most - sent)]);
            match tokio::time::timeout(STALL, write).await {
                Ok(written) => sent += written.unwrap(),
                Err(_) => break,
            }
        }
        sent
    }

    /// Ends our direction; the other may still speak.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    async fn more(&mut self) -> bool {
        match soon(self.stream.read_buf(&mut self.unread)).await {
            Ok(read) => read > 0,
            Err(_) => false,
        }
    }
}

fn header(line: &[u8]) -> (String, Vec<u8>) {
    let colon = line.iter().position(|byte| *byte == b':').unwrap();
    let name = String::from_utf8(line[..colon].to_ascii_lowercase()).unwrap();
    (name, line[colon + 1..].trim_ascii().to_vec())
}
