//! A client's socket: what the protocol reads and writes. It tells which protocol that is, and sends interim answers
//! between others, which hyper does not have.
//!
//! An interim answer is a head of its own, and must never stand within another message. It cannot, because it is written
//! in `poll_flush` alone: hyper calls that when it has handed over everything that it had to write. Whoever wants an
//! interim answer asks for it while a request's own answer has not begun, from within the poll of the connection that
//! asks him for that answer; the flush at the end of the same poll writes it. Where hyper has bytes of its own to write
//! first, as of an earlier answer that the client is slow to read, the wish lapses. What the socket does not take at once
//! of an interim answer is written before anything else.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::BufMut as _;
use http::request::Parts;
use http::{Request, Version};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The most that is read at a time. The protocol keeps a buffer as large as what it has read lately, also while a request
/// waits for hours for its answer: just below the size at which it would double it.
const READ_MAX: usize = 16 * 1024 - 1;

/// What every client says first that speaks HTTP/2 without being asked, and no other.
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const PROCESSING: &[u8] = b"HTTP/1.1 102 Processing\r\n\r\n";

/// The socket of one connection.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    /// What was read to know what the client speaks, and how much of it the protocol has not read yet.
    heard: [u8; HTTP2_PREFACE.len()],
    unread: Range<usize>,
    interim: Interim,
    /// What is left of an interim answer that has begun.
    unsent: &'static [u8],
}

/// A way to send interim answers before the answer to one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Interim(Arc<AtomicBool>);

impl Interim {
    /// That of a request whose connection can carry interim answers: HTTP/1.0 knows none, and in HTTP/2 they are frames.
    pub(super) fn of(head: &Parts) -> Option<Self> {
        head.extensions.get().filter(|_| head.version == Version::HTTP_11).cloned()
    }

    /// Lets a request know of it.
    pub(super) fn accompany<B>(&self, request: &mut Request<B>) {
        if request.version() == Version::HTTP_11 {
            request.extensions_mut().insert(self.clone());
        }
    }

    /// Sends `102 Processing`. To be called while the request's answer is being waited for, and only by whom the
    /// connection polls for it.
    pub(super) fn send(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn lapse(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, heard: [0; HTTP2_PREFACE.len()], unread: 0..0, interim: Interim::default(), unsent: &[] }
    }

    /// Whether the client speaks HTTP/2, as soon as it has said enough to tell. To be asked once, before anything is read.
    pub(super) async fn speaks_http2(&mut self) -> io::Result<bool> {
        while HTTP2_PREFACE.starts_with(&self.heard[self.unread.clone()]) {
            if self.unread.len() == HTTP2_PREFACE.len() {
                return Ok(true);
            }
            match self.stream.read(&mut self.heard[self.unread.end..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                heard => self.unread.end += heard,
            }
        }
        Ok(false)
    }

    pub(super) fn interim(&self) -> Interim {
        self.interim.clone()
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.unsent = &self.unsent[sent..],
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let some = self.unread.len().min(into.remaining());
            into.put_slice(&self.heard[self.unread.start..][..some]);
            self.unread.start += some;
            // Together with what follows: after a short first read the protocol would double its buffer. Whatever stands
            // in the way of that is met by the next read.
            let _ = self.stream.try_read_buf(&mut (&mut *into).limit(READ_MAX));
            return Poll::Ready(Ok(()));
        }
        // It learns from a short read that there is no more, where the other way takes a failed one to learn it.
        if into.remaining() <= READ_MAX {
            return Pin::new(&mut self.stream).poll_read(cx, into);
        }
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read_buf(&mut (&mut *into).limit(READ_MAX)) {
                Ok(_) => return Poll::Ready(Ok(())),
                // It was not readable after all.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.interim.lapse();
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.interim.lapse();
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.is_empty() && self.interim.take() {
            self.unsent = PROCESSING;
        }
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// A socket, and its client.
    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Socket::new(listener.accept().await.unwrap().0), client)
    }

    /// All that the client hears until the socket goes.
    async fn heard(socket: Socket, mut client: TcpStream) -> Vec<u8> {
        drop(socket);
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        heard
    }

    #[tokio::test]
    async fn an_interim_answer_goes_out_with_a_flush_and_once() {
        let (mut socket, client) = pair().await;
        let interim = socket.interim();
        socket.flush().await.unwrap();
        interim.send();
        interim.send();
        socket.flush().await.unwrap();
        socket.flush().await.unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        socket.flush().await.unwrap();
        assert_eq!(heard(socket, client).await, [PROCESSING, b"HTTP/1.1 200 OK\r\n"].concat());
    }

    #[tokio::test]
    async fn what_the_protocol_has_to_say_comes_instead() {
        let (mut socket, client) = pair().await;
        for part in ["HTTP/1.1 ", "200 OK\r\n"] {
            socket.interim().send();
            socket.write_all(part.as_bytes()).await.unwrap();
        }
        socket.interim().send();
        let parts = [io::IoSlice::new(b"a: b\r\n"), io::IoSlice::new(b"\r\n")];
        assert_eq!(socket.write_vectored(&parts).await.unwrap(), 8);
        socket.flush().await.unwrap();
        assert_eq!(heard(socket, client).await, b"HTTP/1.1 200 OK\r\na: b\r\n\r\n");
    }

    #[tokio::test]
    async fn what_is_not_taken_at_once_is_written_before_anything_else() {
        let (mut socket, mut client) = pair().await;
        let mut filled = 0;
        let block = [b'x'; 65_536];
        let mut fill = async || poll_fn(|cx| Poll::Ready(Pin::new(&mut socket).poll_write(cx, &block))).await;
        while let Poll::Ready(taken) = fill().await {
            filled += taken.unwrap();
        }
        socket.interim().send();
        let flushed = poll_fn(|cx| Poll::Ready(Pin::new(&mut socket).poll_flush(cx))).await;
        assert!(flushed.is_pending());
        let mut heard = vec![0; filled];
        let (read, written) = tokio::join!(client.read_exact(&mut heard), socket.write_all(b"HTTP/1.1 200 OK\r\n"));
        assert_eq!(read.unwrap(), filled);
        written.unwrap();
        assert!(heard.iter().all(|byte| *byte == b'x'));
        assert_eq!(self::heard(socket, client).await, [PROCESSING, b"HTTP/1.1 200 OK\r\n"].concat());
    }

    #[tokio::test]
    async fn the_first_bytes_tell_the_protocol_and_are_read_with_the_rest() {
        let preface = std::str::from_utf8(HTTP2_PREFACE).unwrap();
        for (words, expected) in [
            ("GET / HTTP/1.1\r\nhost: gateway\r\n\r\n", false),
            ("P", false),
            ("PRI * HTTP/1.1\r\n\r\n", false),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", false),
            (preface, true),
            (&format!("{preface}and a frame"), true),
        ] {
            let (mut socket, mut client) = pair().await;
            // Byte by byte, so that it cannot tell too early.
            client.set_nodelay(true).unwrap();
            let say = async {
                for byte in words.as_bytes() {
                    client.write_all(&[*byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
                client.shutdown().await.unwrap();
            };
            let (told, ()) = tokio::join!(socket.speaks_http2(), say);
            match (words, told) {
                ("P", told) => assert_eq!(told.unwrap_err().kind(), io::ErrorKind::UnexpectedEof),
                (_, told) => assert_eq!(told.unwrap(), expected, "{words}"),
            }
            let mut read = String::new();
            socket.read_to_string(&mut read).await.unwrap();
            assert_eq!(read, words);
        }
    }

    #[tokio::test]
    async fn no_read_makes_the_protocol_double_its_buffer() {
        let (mut socket, mut client) = pair().await;
        client.write_all(&[b'x'; 40_000]).await.unwrap();
        assert!(!socket.speaks_http2().await.unwrap());
        let mut into = vec![0; 65_536];
        let first = socket.read(&mut into).await.unwrap();
        assert!(first > HTTP2_PREFACE.len() && first <= HTTP2_PREFACE.len() + READ_MAX);
        assert!(socket.read(&mut into).await.unwrap() <= READ_MAX);
    }
}
