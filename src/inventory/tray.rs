//! Trays: what taps have seen, put down by one thread of the gateway and taken up by whoever reads it.
//!
//! Nothing wakes the reader, who comes round by himself: to wake a thread costs more than all else that a tap does.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::inventory::pieces::{Ends, Pieces};
use crate::inventory::room::Hold;
use crate::inventory::shape::Shape;
use crate::inventory::words::Words;

/// Things on one tray: what a thread puts down at full speed within a few rounds of the reader.
const THINGS_MAX: usize = 8_192;

/// One thread's tray.
#[derive(Debug, Default)]
pub(super) struct Tray(Mutex<Vec<Thing>>);

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
    /// Whether its body was put down, to be read.
    pub(super) is_put_down: AtomicBool,
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
    /// Puts something down; false if the tray is full.
    pub(super) fn put(&self, thing: Thing) -> bool {
        let mut things = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_place = things.len() < THINGS_MAX;
        if has_place {
            things.push(thing);
        }
        has_place
    }

    /// Takes up everything.
    pub(super) fn take(&self) -> Vec<Thing> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Call {
    pub(super) fn new(at: Timestamp, words: Words) -> Self {
        Self {
            at,
            words,
            request_bytes: AtomicU64::new(0),
            is_put_down: AtomicBool::new(false),
            shape: OnceLock::new(),
        }
    }

    /// Whether its body waits to be read.
    pub(super) fn is_being_read(&self) -> bool {
        self.is_put_down.load(Ordering::Acquire) && self.shape.get().is_none()
    }
}
