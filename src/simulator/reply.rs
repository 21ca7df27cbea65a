//! An answer on its way out: a body in one piece, or in pieces with pauses between them.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};

use super::books::Phase;
use super::world::World;

/// The connection is cut. hyper closes it when a service or a body fails with this.
#[derive(Debug)]
pub(super) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is cut")
    }
}

impl std::error::Error for Cut {}

/// The pieces of a body as they are made, each sent on its own.
pub(super) type Pieces = Box<dyn Iterator<Item = Result<Bytes, Cut>> + Send>;

/// An answer before faults change it.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    /// Headers besides those that every answer has.
    pub(super) headers: Vec<(Cow<'static, str>, String)>,
    pub(super) content: Content,
}

/// The body of an answer.
pub(super) enum Content {
    Whole(Bytes),
    Pieces { pieces: Pieces, pause: Duration },
}

impl Reply {
    /// JSON in one piece.
    pub(super) fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            content_type: "application/json",
            headers: Vec::new(),
            content: Content::Whole(body.into()),
        }
    }

    /// A body that is made while it is sent.
    pub(super) fn pieces(content_type: &'static str, pieces: Pieces, pause: Duration) -> Self {
        Self { content_type, content: Content::Pieces { pieces, pause }, ..Self::json(200, Bytes::new()) }
    }

    /// With `pause` between its pieces.
    pub(super) fn slowed(mut self, by: Duration) -> Self {
        if let Content::Pieces { pause, .. } = &mut self.content {
            *pause = by;
        }
        self
    }

    /// Cut after so many pieces; one that has but one piece is cut in half.
    pub(super) fn cut_after(mut self, count: usize) -> Self {
        let cut = std::iter::once(Err(Cut));
        self.content = match self.content {
            Content::Pieces { pieces, pause } => {
                Content::Pieces { pieces: Box::new(pieces.take(count).chain(cut)), pause }
            }
            Content::Whole(whole) => {
                let half = whole.slice(..whole.len() / 2);
                Content::Pieces { pieces: Box::new(std::iter::once(Ok(half)).chain(cut)), pause: Duration::ZERO }
            }
        };
        self
    }

    /// The answer as hyper sends it, watched to its end.
    pub(super) fn into_response(self, mut watched: Watch) -> Response<Watched> {
        watched.answering();
        let body = match self.content {
            Content::Whole(whole) => Full::new(whole).map_err(|never: Infallible| match never {}).boxed_unsync(),
            Content::Pieces { pieces, pause } => StreamBody::new(paced(pieces, pause)).boxed_unsync(),
        };
        if body.is_end_stream() {
            watched.done();
        }
        let mut response = Response::new(Watched { body, watched });
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(&*name), HeaderValue::try_from(value)) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// Piece by piece. The pause is never nothing at all: hyper flushes what it has only when the body has to wait.
fn paced(pieces: Pieces, pause: Duration) -> impl stream::Stream<Item = Result<Frame<Bytes>, Cut>> {
    stream::unfold((pieces, true), move |(mut pieces, first)| async move {
        if !first && !pause.is_zero() {
            tokio::time::sleep(pause).await;
        } else {
            tokio::task::yield_now().await;
        }
        let piece = pieces.next()?;
        Some((piece.map(Frame::data), (pieces, false)))
    })
}

/// Notices a client that goes away: whoever drops it before it is done was left by the client.
pub(super) struct Watch {
    world: Arc<World>,
    phase: Option<Phase>,
}

impl Watch {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world, phase: Some(Phase::Reading) }
    }

    /// The request was read.
    pub(super) fn waiting(&mut self) {
        self.phase = Some(Phase::Waiting);
    }

    /// There is no more to send, or it was we who cut the connection.
    pub(super) fn done(&mut self) {
        self.phase = None;
    }

    /// The answer begins; what is not watched any more stays so.
    fn answering(&mut self) {
        self.phase = self.phase.map(|_| Phase::Answering);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(phase) = self.phase {
            self.world.disconnected(phase);
        }
    }
}

/// A body that tells its watch when it has been sent.
pub(super) struct Watched {
    body: UnsyncBoxBody<Bytes, Cut>,
    watched: Watch,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        let frame = std::task::ready!(Pin::new(&mut this.body).poll_frame(cx));
        if matches!(frame, None | Some(Err(_))) || this.body.is_end_stream() {
            this.watched.done();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
