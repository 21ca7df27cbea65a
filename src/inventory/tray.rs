//! Trays: what taps have seen, put down by one thread of the gateway and taken up by whoever reads it.
//!
//! Nothing wakes the reader, who comes round by himself: to wake a thread costs more than all else that a tap does.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::inventory::pieces::{Ends, Pieces};
use crate::inventory::room::{Hold, Room};
use crate::inventory::shape::Shape;
use crate::inventory::words::Words;
use crate::metrics::Metrics;

/// Things on one tray: what a thread puts down at full speed within half a second.
const THINGS_MAX: usize = 8_192;

/// Bytes of calls that wait to be read, of one thread: a second of them at full speed. What finds no room goes unread.
const REQUESTS_MAX: usize = 8_000_000;

/// Bytes of answers that wait to be read, or belong to streams that go on, of one thread: the ends of four thousand of these.
const ANSWERS_MAX: usize = 32_000_000;

/// One thread's tray, and the room that it has. Threads share nothing of it: what several of them count by makes each wait
/// for the others.
#[derive(Debug)]
pub(super) struct Tray {
    things: Mutex<VecDeque<Thing>>,
    /// How many there are, for those who only want to know that.
    count: AtomicUsize,
    pub(super) requests: Room,
    pub(super) answers: Room,
    metrics: Metrics,
}

/// What is put down.
#[derive(Debug)]
pub(super) enum Thing {
    /// The body of a call, as soon as all of it was sent.
    Asked(Asked),
    /// A call that is over.
    Ended(Box<Sighting>),
}

/// What is known of a call from its beginning on, and what is found out while its answer is on its way.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) at: Timestamp,
    pub(super) words: Words,
    /// The length of its body, once all of it was sent.
    pub(super) request_bytes: AtomicU64,
    /// What its body says; `None` inside where it could not be read.
    pub(super) shape: OnceLock<Option<Shape>>,
}

/// A body that was sent.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) call: Arc<Call>,
    pub(super) body: Pieces,
    pub(super) _hold: Hold,
}

/// A call and its answer, as they were watched.
#[derive(Debug)]
pub(super) struct Sighting {
    pub(super) call: Arc<Call>,
    pub(super) rule: Option<Arc<str>>,
    pub(super) blocked_by: Option<&'static str>,
    pub(super) status: u16,
    pub(super) answer_bytes: u64,
    pub(super) duration: Duration,
    pub(super) first_byte: Duration,
    pub(super) reader_wait: Duration,
    pub(super) hung_up: bool,
    pub(super) answer: Kept,
    /// How the answer is encoded; none if it is plain.
    pub(super) encoding: Option<Box<str>>,
    pub(super) is_stream: bool,
    pub(super) hold: Hold,
}

/// What was kept of an answer.
#[derive(Debug, Default)]
pub(super) enum Kept {
    /// Nothing, because there is nothing in it to be read.
    #[default]
    Nothing,
    /// Nothing, for want of room.
    Missed,
    /// All of it.
    Whole(Pieces),
    /// Its ends.
    Ends(Box<Ends>),
}

impl Tray {
    pub(super) fn new(metrics: Metrics) -> Self {
        let (requests, answers) = (Room::new(REQUESTS_MAX), Room::new(ANSWERS_MAX));
        Self { things: Mutex::default(), count: AtomicUsize::new(0), requests, answers, metrics }
    }

    /// Puts down a call that is over. On a full tray it is dropped.
    pub(super) fn put_ended(&self, seen: Box<Sighting>) {
        if !self.put(Thing::Ended(seen)) {
            self.drop_one();
        }
    }

    /// A call goes unseen.
    pub(super) fn drop_one(&self) {
        self.metrics.record_dropped();
    }

    /// Whether there is no place for more.
    pub(super) fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= THINGS_MAX
    }

    /// Whether more comes than is taken up.
    pub(super) fn is_half_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= THINGS_MAX / 2
    }

    /// Puts something down; false if the tray is full.
    pub(super) fn put(&self, thing: Thing) -> bool {
        let mut things = self.things.lock().unwrap_or_else(PoisonError::into_inner);
        let has_place = things.len() < THINGS_MAX;
        if has_place {
            things.push_back(thing);
            self.count.store(things.len(), Ordering::Relaxed);
        }
        has_place
    }

    /// Takes up the first so many.
    pub(super) fn take(&self, most: usize) -> Vec<Thing> {
        let mut things = self.things.lock().unwrap_or_else(PoisonError::into_inner);
        let some = things.len().min(most);
        let taken = things.drain(..some).collect();
        self.count.store(things.len(), Ordering::Relaxed);
        taken
    }
}

impl Call {
    pub(super) fn new(at: Timestamp, words: Words) -> Self {
        Self { at, words, request_bytes: AtomicU64::new(0), shape: OnceLock::new() }
    }
}
