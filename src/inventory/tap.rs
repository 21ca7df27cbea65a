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
pub struct Tap(Option<Watching>);

struct Watching {
    tray: Arc<Tray>,
    /// Whether bodies are kept: where more comes than is taken up, nobody would read them.
    keeps: bool,
    began: Instant,
    seen: Box<Sighting>,
}

impl Tap {
    /// One that watches nothing.
    pub fn none() -> Self {
        Self(None)
    }

    pub(super) fn open(tray: &Arc<Tray>, headers: &HeaderMap, at: Timestamp) -> Self {
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
            hold: tray.answers.hold(),
        };
        let keeps = !tray.is_half_full();
        Self(Some(Watching { tray: Arc::clone(tray), keeps, began: Instant::now(), seen: Box::new(seen) }))
    }

    /// A rule has decided, and the Batches API could perhaps not take the call; its workload, where the caller names none.
    /// Said before the call goes on.
    pub fn ruled(&mut self, rule: &str, blocked_by: Option<&'static str>, workload: Option<&str>) {
        if let Some(watching) = &mut self.0 {
            (watching.seen.rule, watching.seen.blocked_by) = (Some(rule.into()), blocked_by);
            if let (Some(workload), Some(call)) = (workload, Arc::get_mut(&mut watching.seen.call)) {
                call.words.name_workload(workload);
            }
        }
    }

    /// The call goes another way, and is recorded there.
    pub fn forget(&mut self) {
        self.0 = None;
    }

    /// The body of the call, watched.
    pub fn asking<B>(&self, body: B) -> Asking<B>
    where
        B: Body<Data = Bytes>,
    {
        // One that is known to be too long takes no room on its way.
        let may_be_read = body.size_hint().lower() <= REQUEST_MAX as u64;
        let ear = self.0.as_ref().map(|watching| Ear {
            call: Arc::clone(&watching.seen.call),
            tray: Arc::clone(&watching.tray),
            body: (may_be_read && watching.keeps).then(|| (Pieces::default(), watching.tray.requests.hold())),
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
        let seen = &mut *self.seen;
        (seen.status, seen.first_byte) = (status, self.began.elapsed());
        let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let encoding = value(CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity"));
        seen.encoding = encoding.map(Into::into);
        seen.is_stream = value(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/event-stream"));
        seen.answer = match status {
            200..300 if !self.keeps => Kept::Missed,
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
            let Watching { tray, began, mut seen, .. } = watching;
            seen.duration = began.elapsed();
            tray.put_ended(seen);
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::*;
    use crate::metrics::{Measured, Metrics};

    const AT: Timestamp = Timestamp::from_millis(1);

    fn tray() -> (Arc<Tray>, Metrics) {
        let metrics = Metrics::default();
        (Arc::new(Tray::new(metrics.clone())), metrics)
    }

    fn sightings(tray: &Tray) -> Vec<Sighting> {
        let ended = |thing| if let Thing::Ended(seen) = thing { Some(*seen) } else { None };
        tray.take(usize::MAX).into_iter().filter_map(ended).collect()
    }

    fn answer<B>(body: B, kind: &'static str) -> Response<B> {
        let mut answer = Response::new(body);
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        answer
    }

    async fn pass(tap: Tap, pieces: Vec<Bytes>, kind: &'static str) {
        let frames = pieces.into_iter().map(|piece| Ok::<_, std::io::Error>(Frame::data(piece)));
        let body = StreamBody::new(futures_util::stream::iter(frames));
        tap.answered(answer(body, kind)).into_body().collect().await.unwrap();
    }

    #[tokio::test]
    async fn a_call_and_its_answer_are_put_down_in_their_order() {
        let (tray, _) = tray();
        let tap = Tap::open(&tray, &HeaderMap::new(), AT);
        tap.asking(Full::new(Bytes::from_static(b"asked"))).collect().await.unwrap();
        pass(tap, vec![Bytes::from_static(b"to"), Bytes::from_static(b"ld")], "application/json").await;
        let things = tray.take(usize::MAX);
        let [Thing::Asked(asked), Thing::Ended(seen)] = things.as_slice() else { panic!("{things:?}") };
        assert_eq!((asked.body.len(), asked.call.request_bytes.load(Ordering::Relaxed)), (5, 5));
        assert!(Arc::ptr_eq(&asked.call, &seen.call) && !seen.hung_up);
        assert_eq!((seen.status, seen.answer_bytes), (200, 4));
        assert!(matches!(&seen.answer, Kept::Whole(pieces) if pieces.len() == 4));
    }

    /// A body that says that it is too long to be read.
    struct Long;

    impl Body for Long {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; 10_000])))))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(REQUEST_MAX as u64 + 1)
        }
    }

    #[tokio::test]
    async fn of_a_body_that_is_too_long_nothing_is_kept_meanwhile() {
        let (tray, _) = tray();
        let tap = Tap::open(&tray, &HeaderMap::new(), AT);
        let mut body = tap.asking(Long);
        body.frame().await.unwrap().unwrap();
        assert!(tray.requests.hold().grow(8_000_000));
    }

    #[tokio::test]
    async fn a_body_that_is_left_is_not_read() {
        let (tray, _) = tray();
        let tap = Tap::open(&tray, &HeaderMap::new(), AT);
        drop(tap.asking(Full::new(Bytes::from_static(b"asked"))));
        drop(tap);
        let seen = sightings(&tray);
        assert!(seen.len() == 1 && seen[0].hung_up && seen[0].status == 0);
    }

    #[tokio::test]
    async fn of_a_stream_little_is_kept_and_of_long_answers_no_more() {
        for (kind, longest) in [("text/event-stream", Ends::MAX), ("application/json", ANSWER_MAX)] {
            let (tray, _) = tray();
            let piece = Bytes::from(vec![b'x'; 10_000]);
            pass(Tap::open(&tray, &HeaderMap::new(), AT), vec![piece; 100], kind).await;
            let seen = sightings(&tray).remove(0);
            assert!(matches!(seen.answer, Kept::Ends(_)), "{kind}");
            let mut all = tray.answers.hold();
            assert!(!all.grow(32_000_000 - 1_000), "{kind}: nothing is held");
            assert!(all.grow(32_000_000 - longest), "{kind}: more is held");
        }
    }

    #[tokio::test]
    async fn where_there_is_no_room_nothing_is_kept() {
        let (tray, _) = tray();
        let mut taken = (tray.requests.hold(), tray.answers.hold());
        assert!(taken.0.grow(8_000_000) && taken.1.grow(32_000_000));
        let tap = Tap::open(&tray, &HeaderMap::new(), AT);
        tap.asking(Full::new(Bytes::from_static(b"asked"))).collect().await.unwrap();
        pass(tap, vec![Bytes::from_static(b"told")], "application/json").await;
        let things = tray.take(usize::MAX);
        assert!(matches!(things.as_slice(), [Thing::Ended(seen)] if matches!(seen.answer, Kept::Missed)));
    }

    #[tokio::test]
    async fn where_more_comes_than_is_taken_up_no_body_is_kept() {
        let (tray, _) = tray();
        while !tray.is_half_full() {
            drop(Tap::open(&tray, &HeaderMap::new(), AT));
        }
        let tap = Tap::open(&tray, &HeaderMap::new(), AT);
        tap.asking(Full::new(Bytes::from_static(b"asked"))).collect().await.unwrap();
        pass(tap, vec![Bytes::from_static(b"told")], "application/json").await;
        let mut things = tray.take(usize::MAX);
        assert!(things.iter().all(|thing| matches!(thing, Thing::Ended(_))), "a body was put down");
        let Some(Thing::Ended(seen)) = things.pop() else { panic!("nothing was put down") };
        assert!(matches!(seen.answer, Kept::Missed) && seen.answer_bytes == 4 && !seen.hung_up);
        assert_eq!(seen.call.request_bytes.load(Ordering::Relaxed), 5);
    }

    #[tokio::test]
    async fn a_full_tray_takes_no_more_and_that_is_counted() {
        let (tray, metrics) = tray();
        while !tray.is_full() {
            drop(Tap::open(&tray, &HeaderMap::new(), AT));
        }
        let full = tray.take(0).len();
        assert_eq!(full, 0);
        drop(Tap::open(&tray, &HeaderMap::new(), AT));
        assert!(metrics.text(&Measured::default()).contains("offpeak_inventory_dropped_total 1\n"));
        assert!(tray.is_half_full() && tray.take(100).len() == 100 && !tray.is_full());
    }
}
