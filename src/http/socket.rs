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
