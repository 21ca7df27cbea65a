//! The body of a held answer: what keeps its connection alive, and then the result.

use std::iter::Peekable;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::domain::deferral::{Answer, Deferral, State};
use crate::domain::id::DeferralId;
use crate::domain::replay::Replay;
use crate::hold::{End, Form, Periods, Place, Waited, Waiting};
use crate::http::held::events;

/// Replayed events are sent together up to this many bytes: most are far shorter than what a write is worth.
const CHUNK_BYTES: usize = 16 * 1024;

/// What keeps a JSON text alive: blanks may stand before it.
const BLANK: Bytes = Bytes::from_static(b" ");

/// A held answer's body. One that is dropped before its end had a caller who has gone.
pub(super) struct HeldBody {
    part: Part,
    place: Place,
}

/// What comes next.
enum Part {
    /// Whatever keeps the connection alive.
    Wait(Box<Wait>),
    /// The last bytes, and how the hold ends with them.
    Last(Bytes, End),
    /// The Message as events.
    Replay(Box<Peekable<Replay>>),
    /// The connection breaks off: without a clean end, so that no client takes what it has for all.
    Cut,
    Nothing,
}

struct Wait {
    form: Form,
    id: DeferralId,
    waiting: Waiting,
    ticks: Interval,
}

/// The body ends without an end.
#[derive(Debug, thiserror::Error)]
#[error("a held answer has no result under the status that was sent")]
pub(super) struct CutOff;

impl HeldBody {
    /// The result, with nothing before it.
    pub(super) fn whole(result: Bytes, place: Place) -> Self {
        Self { part: Part::Last(result, End::Answer), place }
    }

    /// The result in this form, with something before it that keeps the connection alive.
    pub(super) fn kept_alive(form: Form, id: DeferralId, waiting: Waiting, place: Place, periods: &Periods) -> Self {
        let every = match form {
            Form::Json => periods.blank_every,
            Form::Events => periods.ping_every,
        };
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { part: Part::Wait(Box::new(Wait { form, id, waiting, ticks })), place }
    }

    /// The last bytes are on their way.
    fn end(&mut self, end: End) {
        self.place.served(end);
        self.part = Part::Nothing;
    }
}

impl Body for HeldBody {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let this = &mut *self;
        loop {
            match &mut this.part {
                Part::Wait(wait) => {
                    // The first tick comes at once, before anything else.
                    if wait.ticks.poll_tick(cx).is_ready() {
                        return frame(wait.keepalive());
                    }
                    let waited = ready!(wait.waiting.as_mut().poll(cx));
                    this.part = match wait.form {
                        Form::Json => json(waited, &mut this.place),
                        Form::Events => event_stream(waited, wait.id, &mut this.place),
                    };
                }
                Part::Last(bytes, end) => {
                    let (bytes, end) = (std::mem::take(bytes), *end);
                    this.end(end);
                    return frame(bytes);
                }
                Part::Replay(replay) => {
                    let chunk = chunk(replay);
                    if replay.peek().is_none() {
                        this.end(End::Answer);
                    }
                    return frame(chunk);
                }
                Part::Cut => {
                    this.part = Part::Nothing;
                    return Poll::Ready(Some(Err(CutOff)));
                }
                Part::Nothing => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.part, Part::Nothing)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.part {
            Part::Last(bytes, _) => SizeHint::with_exact(bytes.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

impl Wait {
    fn keepalive(&self) -> Bytes {
        match self.form {
            Form::Json => BLANK,
            Form::Events => events::PING,
        }
    }
}

/// What follows the blanks: the status says `200` already, which holds for a Message alone.
fn json(waited: Waited, place: &mut Place) -> Part {
    let completed_at = match waited {
        Waited::Final(Deferral { answer: Some(Answer { status: 200, body }), .. }) => {
            return Part::Last(body.into(), End::Answer);
        }
        Waited::Final(deferral) => deferral.completed_at,
        Waited::TimeOver(_) | Waited::Ending(_) | Waited::Gone => None,
    };
    place.cut(completed_at);
    Part::Cut
}

/// What follows the pings.
fn event_stream(waited: Waited, id: DeferralId, place: &mut Place) -> Part {
    match waited {
        Waited::Final(Deferral { state: State::Succeeded, answer: Some(answer), .. }) => {
            match Replay::new(answer.body) {
                Some(replay) => Part::Replay(Box::new(replay.peekable())),
                None => Part::Last(events::no_result(id), End::Answer),
            }
        }
        Waited::Final(Deferral { answer: Some(answer), .. }) => Part::Last(events::error(&answer.body), End::Answer),
        Waited::Final(_) | Waited::Gone => Part::Last(events::no_result(id), End::Answer),
        Waited::TimeOver(_) => Part::Last(events::time_over(id), End::TimeOver),
        Waited::Ending(_) => {
            place.cut(None);
            Part::Cut
        }
    }
}

/// Some of the stream; a long stretch of it alone, so that it is not copied.
fn chunk(replay: &mut Peekable<Replay>) -> Bytes {
    let mut first = replay.next().unwrap_or_default();
    if first.len() < CHUNK_BYTES {
        let mut chunk = BytesMut::from(first);
        while let Some(next) = replay.next_if(|next| chunk.len() + next.len() <= CHUNK_BYTES) {
            chunk.extend_from_slice(&next);
        }
        first = chunk.freeze();
    }
    first
}

fn frame(bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
    Poll::Ready(Some(Ok(Frame::data(bytes))))
}
