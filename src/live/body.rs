//! The body of an answer on its way to the caller.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::answer::{Event, Fault, Framing};
use super::upstream::Exchange;
use super::{BoxError, Error};

/// What an answer holds: perhaps something that was read ahead, then the upstream's body, frame by frame: each is all
/// that has arrived, and nothing is waited for.
///
/// Dropping it cancels the upstream request.
pub struct LiveBody {
    ahead: Option<Frame<Bytes>>,
    rest: Option<Box<Exchange>>,
    /// Why nothing more comes, until it is told.
    failure: Option<Error>,
    end: End,
}

/// What the caller is told of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// How many bytes are still to come.
    After(u64),
    /// That it will be told.
    Open,
    /// That it is here.
    Here,
}

/// Shows nothing of what it holds.
impl fmt::Debug for LiveBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveBody").field("end", &self.end).finish_non_exhaustive()
    }
}

impl LiveBody {
    /// A body that is here in full.
    pub(super) fn whole(bytes: Bytes) -> Self {
        let end = End::After(bytes.len() as u64);
        Self { ahead: Some(Frame::data(bytes)), rest: None, failure: None, end }
    }

    /// The body of an answer whose head has been read, with what has arrived of it.
    pub(super) fn begun(mut exchange: Exchange, framing: Framing) -> Result<Self, Fault> {
        let ahead = exchange.arrived()?.and_then(frame);
        let end = if let Framing::Counted(length) = framing { End::After(length) } else { End::Open };
        let mut body = Self { ahead, rest: Some(Box::new(exchange)), failure: None, end };
        body.let_go_of_what_is_read();
        Ok(body)
    }

    /// The body as it was before its beginning was read.
    pub(super) fn with_beginning(self, beginning: Bytes) -> Self {
        debug_assert!(self.ahead.is_none(), "bytes would change places");
        let end = match self.end {
            End::After(left) => End::After(left + beginning.len() as u64),
            End::Open | End::Here => End::Open,
        };
        Self { ahead: Some(Frame::data(beginning)), end, ..self }
    }

    /// How many bytes are still to come, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.end {
            End::After(left) => Some(left),
            End::Here => Some(0),
            End::Open => None,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(ahead) = self.ahead.take() {
            return Poll::Ready(Some(Ok(ahead)));
        }
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        let Some(exchange) = &mut self.rest else { return Poll::Ready(None) };
        match ready!(exchange.poll_event(cx)) {
            Ok(event) => Poll::Ready(event.and_then(frame).map(Ok)),
            Err(failure) => {
                // The server throws away what it has not written yet as soon as a body fails. So it is told a turn later,
                // and what has arrived before goes out first.
                (self.rest, self.failure) = (None, Some(failure));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// The connection is of use to somebody else as soon as the last byte was read from it.
    fn let_go_of_what_is_read(&mut self) {
        if let Some(exchange) = self.rest.take_if(|exchange| exchange.is_complete()) {
            exchange.finish();
        }
    }
}

impl Body for LiveBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.poll_next(cx));
        self.let_go_of_what_is_read();
        match &frame {
            Some(Ok(frame)) => {
                self.end = match self.end {
                    End::After(left) => End::After(left.saturating_sub(length(frame))),
                    End::Open | End::Here if self.rest.is_none() => End::Here,
                    end => end,
                };
            }
            Some(Err(_)) => {}
            None => self.end = End::Here,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.end, End::After(0) | End::Here)
    }

    fn size_hint(&self) -> SizeHint {
        match self.left() {
            Some(left) => SizeHint::with_exact(left),
            None => {
                let mut size = SizeHint::new();
                size.set_lower(self.ahead.as_ref().map_or(0, length));
                size
            }
        }
    }
}

fn frame(event: Event) -> Option<Frame<Bytes>> {
    match event {
        Event::Head(_) => None,
        Event::Data(data) => Some(Frame::data(data)),
        Event::Trailers(trailers) => Some(Frame::trailers(trailers)),
    }
}

fn length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, Bytes::len) as u64
}
