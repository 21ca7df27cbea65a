//! Taps: a live call and its answer are watched while they pass, without a look into them.
//!
//! All that happens on the gateway's threads is here: short pieces are copied, long ones kept by handle, a clock is read,
//! and what was seen is put on a tray. Nothing is parsed, hashed or waited for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::inventory::pieces::{Ends, Pieces};
use crate::inventory::recorder::Desk;
use crate::inventory::room::Hold;
use crate::inventory::tray::{Asked, Call, Kept, Sighting, Thing, Tray};
use crate::inventory::words::Words;

/// The longest request that is read: prompts with a whole book in them are known by what the head says.
const REQUEST_MAX: usize = 1_000_000;

/// The longest answer that is kept whole; of a longer one its ends are, which have all that is wanted.
const ANSWER_MAX: usize = 256_000;

/// A shorter pause between two pieces is the time that passing them on takes, not a reader who does not take them.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// Watches one call. Dropped before there is an answer, it has seen its client leave.
pub struct Tap(Option<Box<Watching>>);

struct Watching {
    desk: Arc<Desk>,
    tray: Arc<Tray>,
    began: Instant,
    seen: Sighting,
}

impl Tap {
    /// One that watches nothing.
    pub fn none() -> Self {
        Self(None)
    }

    pub(super) fn open(desk: &Arc<Desk>, tray: &Arc<Tray>, headers: &HeaderMap, at: Timestamp) -> Self {
        let seen = Sighting {
            call: Arc::new(Call::new(at, Words::of(headers))),
            rule: None,
            blocked_by: None,
            status: 0,
            answer_bytes: 0,
            duration: Duration::ZERO,
            first_byte: Duration::ZERO,
            reader_wait: Duration::ZERO,
            hung_up: true,
            answer: Kept::Nothing,
            encoding: None,
            is_stream: false,
            hold: desk.answers.hold(),
        };
        let (desk, tray) = (Arc::clone(desk), Arc::clone(tray));
        Self(Some(Box::new(Watching { desk, tray, began: Instant::now(), seen })))
    }

    /// A rule has decided, and the Batches API could perhaps not take the call.
    pub fn ruled(&mut self, rule: &str, blocked_by: Option<&'static str>) {
        if let Some(watching) = &mut self.0 {
            (watching.seen.rule, watching.seen.blocked_by) = (Some(rule.into()), blocked_by);
        }
    }

    /// The body of the call, watched.
    pub fn asking<B>(&self, body: B) -> Asking<B>
    where
        B: Body<Data = Bytes>,
    {
        let ear = self.0.as_ref().map(|watching| Ear {
            call: Arc::clone(&watching.seen.call),
            tray: Arc::clone(&watching.tray),
            body: Some((Pieces::default(), watching.desk.requests.hold())),
            bytes: 0,
            is_over: false,
        });
        Asking { body, ear }
    }

    /// The answer, watched.
    pub fn answered<B>(mut self, answer: Response<B>) -> Response<Answering<B>>
    where
        B: Body<Data = Bytes>,
    {
        if let Some(watching) = &mut self.0 {
            watching.begin(answer.status().as_u16(), answer.headers());
        }
        answer.map(|body| Answering { body, tap: self, given: None })
    }

    /// There is no answer but one of our own, with this status.
    pub fn failed(mut self, status: u16) {
        if let Some(watching) = &mut self.0 {
            (watching.seen.status, watching.seen.hung_up) = (status, false);
        }
    }
}

impl Watching {
    fn begin(&mut self, status: u16, headers: &HeaderMap) {
        let seen = &mut self.seen;
        (seen.status, seen.first_byte) = (status, self.began.elapsed());
        let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let encoding = value(CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity"));
        seen.encoding = encoding.map(Into::into);
        seen.is_stream = value(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/event-stream"));
        seen.answer = match status {
            // What a compressed stream ends with cannot be read without what is before it.
            200..300 if seen.is_stream && encoding.is_none() => Kept::Ends(Box::default()),
            200..300 => Kept::Whole(Pieces::default()),
            _ => Kept::Nothing,
        };
    }
}

impl Sighting {
    fn see(&mut self, data: &Bytes) {
        let before = usize::try_from(self.answer_bytes).unwrap_or(usize::MAX);
        self.answer_bytes += data.len() as u64;
        match &mut self.answer {
            Kept::Nothing | Kept::Missed => {}
            Kept::Ends(ends) => {
                let after = before.saturating_add(data.len()).min(Ends::MAX);
                if after <= before || self.hold.grow(after - before) {
                    ends.push(data);
                } else {
                    self.answer = Kept::Missed;
                }
            }
            Kept::Whole(pieces) if pieces.len() + data.len() <= ANSWER_MAX => {
                if self.hold.grow(data.len()) {
                    pieces.push(data);
                } else {
                    self.answer = Kept::Missed;
                }
            }
            Kept::Whole(_) if self.encoding.is_some() => self.answer = Kept::Missed,
            Kept::Whole(pieces) => {
                let mut ends = Box::new(Ends::of(pieces));
                ends.push(data);
                self.answer = Kept::Ends(ends);
            }
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some(watching) = self.0.take() {
            let Watching { desk, tray, began, mut seen } = *watching;
            seen.duration = began.elapsed();
            if !tray.put(Thing::Ended(Box::new(seen))) {
                desk.metrics.record_dropped();
            }
        }
    }
}

/// The body of a call on its way.
pub struct Asking<B: Body> {
    body: B,
    ear: Option<Ear>,
}

struct Ear {
    call: Arc<Call>,
    tray: Arc<Tray>,
    /// Kept as long as there is room for it.
    body: Option<(Pieces, Hold)>,
    bytes: u64,
    is_over: bool,
}

impl Ear {
    fn hear(&mut self, data: &Bytes) {
        self.bytes += data.len() as u64;
        if let Some((pieces, hold)) = &mut self.body {
            if pieces.len() + data.len() <= REQUEST_MAX && hold.grow(data.len()) {
                pieces.push(data);
            } else {
                self.body = None;
            }
        }
    }

    /// The body is put down as soon as it was sent: a stream may go on for a long time.
    fn put_down(self, is_whole: bool) {
        let Self { call, tray, body, bytes, .. } = self;
        call.request_bytes.store(bytes, Ordering::Relaxed);
        let Some((body, hold)) = body.filter(|_| is_whole) else { return };
        call.is_put_down.store(true, Ordering::Release);
        if !tray.put(Thing::Asked(Asked { call: Arc::clone(&call), body, _hold: hold })) {
            let _ = call.shape.set(None);
        }
    }
}

impl<B> Body for Asking<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(ear) = &mut this.ear {
            match &frame {
                Some(Ok(frame)) => frame.data_ref().into_iter().for_each(|data| ear.hear(data)),
                Some(Err(_)) => ear.body = None,
                None => ear.is_over = true,
            }
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

impl<B: Body> Drop for Asking<B> {
    fn drop(&mut self) {
        if let Some(ear) = self.ear.take() {
            let is_whole = ear.is_over || self.body.is_end_stream();
            ear.put_down(is_whole);
        }
    }
}

/// The body of an answer on its way.
pub struct Answering<B: Body> {
    body: B,
    tap: Tap,
    /// When the last piece was given.
    given: Option<Instant>,
}

impl<B: Body> Answering<B> {
    /// The body itself.
    pub fn get_ref(&self) -> &B {
        &self.body
    }
}

impl<B> Body for Answering<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let Some(watching) = &mut this.tap.0 else { return Pin::new(&mut this.body).poll_frame(cx) };
        if let Some(given) = this.given.take() {
            // It is asked for the next piece at once, unless the one before is still in the way.
            let waited = given.elapsed();
            watching.seen.reader_wait += if waited < WAIT_MIN { Duration::ZERO } else { waited };
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                frame.data_ref().into_iter().for_each(|data| watching.seen.see(data));
                this.given = Some(Instant::now());
            }
            // The upstream has broken off, or all was said: nobody has left.
            Some(Err(_)) | None => watching.seen.hung_up = false,
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

impl<B: Body> Drop for Answering<B> {
    fn drop(&mut self) {
        if let Some(watching) = &mut self.tap.0 {
            watching.seen.hung_up &= !self.body.is_end_stream();
        }
    }
}
