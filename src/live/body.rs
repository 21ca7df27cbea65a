//! The body of an answer on its way to the caller.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// What an answer holds: perhaps something that was read ahead, then the upstream's body, frame by frame.
///
/// Dropping it cancels the upstream request.
#[derive(Debug)]
pub struct LiveBody {
    ahead: Bytes,
    rest: Option<Incoming>,
}

impl LiveBody {
    /// A body that is here in full.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self { ahead: bytes, rest: None }
    }

    /// A body whose beginning has been read.
    pub(super) fn resumed(ahead: Bytes, rest: Incoming) -> Self {
        Self { ahead, rest: Some(rest) }
    }
}

impl From<Incoming> for LiveBody {
    fn from(body: Incoming) -> Self {
        Self { ahead: Bytes::new(), rest: Some(body) }
    }
}

impl Body for LiveBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.ahead)))));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.rest.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.len() as u64;
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint);
        let mut size = SizeHint::new();
        size.set_lower(ahead.saturating_add(rest.lower()));
        if let Some(upper) = rest.upper() {
            size.set_upper(ahead.saturating_add(upper));
        }
        size
    }
}
