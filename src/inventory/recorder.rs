//! Where the gateway's threads get their taps from, and what all of these share.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;

use crate::clock::Timestamp;
use crate::inventory::room::Room;
use crate::inventory::tap::Tap;
use crate::inventory::tray::{Thing, Tray};
use crate::metrics::Metrics;

/// Bytes of calls that wait to be read: a second of them at full speed. What finds no room goes unread.
const REQUESTS_MAX: usize = 16_000_000;

/// Bytes of answers that wait to be read, or belong to streams that go on: the ends of eight thousand of these.
const ANSWERS_MAX: usize = 64_000_000;

/// Makes taps for one thread of the gateway. Clones share its tray.
#[derive(Clone)]
pub struct Recorder {
    desk: Arc<Desk>,
    tray: Arc<Tray>,
    is_on: bool,
}

/// What all taps share.
pub(super) struct Desk {
    pub(super) metrics: Metrics,
    pub(super) requests: Room,
    pub(super) answers: Room,
    trays: Mutex<Vec<Arc<Tray>>>,
}

impl Desk {
    pub(super) fn new(metrics: Metrics) -> Self {
        let (requests, answers) = (Room::new(REQUESTS_MAX), Room::new(ANSWERS_MAX));
        Self { metrics, requests, answers, trays: Mutex::default() }
    }

    /// Takes up what is on all trays.
    pub(super) fn take(&self) -> Vec<Thing> {
        let trays = self.trays.lock().unwrap_or_else(PoisonError::into_inner);
        trays.iter().flat_map(|tray| tray.take()).collect()
    }
}

impl Recorder {
    pub(super) fn new(desk: Arc<Desk>, is_on: bool) -> Self {
        let tray = Arc::<Tray>::default();
        desk.trays.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&tray));
        Self { desk, tray, is_on }
    }

    /// One for another thread, with a tray of its own.
    pub fn apart(&self) -> Self {
        Self::new(Arc::clone(&self.desk), self.is_on)
    }

    /// A tap for a call with these headers that came at `at`; it watches nothing where calls are not recorded.
    pub fn tap(&self, headers: &HeaderMap, at: Timestamp) -> Tap {
        if self.is_on { Tap::open(&self.desk, &self.tray, headers, at) } else { Tap::none() }
    }
}
