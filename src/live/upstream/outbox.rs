//! Bytes on their way out, as the pieces that they came in.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

use super::stream::Stream;

/// The most pieces in one write: a head, and the pieces of a body that had arrived with it.
const PIECES_AT_ONCE: usize = 16;

/// What is still to be written.
#[derive(Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Bytes>,
    length: usize,
    is_flushed: bool,
}

impl Outbox {
    pub(super) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.length += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Writes once, and says how much was taken.
    pub(super) fn poll_write(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = Pin::new(stream);
        let mut slices = [IoSlice::new(&[]); PIECES_AT_ONCE];
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
        }
        let count = self.pieces.len().min(PIECES_AT_ONCE);
        let written = ready!(stream.poll_write_vectored(cx, slices.get(..count).unwrap_or_default()))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.is_flushed = false;
        self.drop_front(written);
        Poll::Ready(Ok(written))
    }

    /// Sees to it that nothing that was written stays in a buffer of ours.
    pub(super) fn poll_flush(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_flushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn drop_front(&mut self, mut written: usize) {
        self.length -= written;
        while let Some(piece) = self.pieces.front_mut() {
            if written < piece.len() {
                piece.advance(written);
                return;
            }
            written -= piece.len();
            self.pieces.pop_front();
        }
    }
}
