//! Where the gateway's threads get their taps from, and what all of these share.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;

use crate::clock::Timestamp;
use crate::inventory::tap::Tap;
use crate::inventory::tray::Tray;
use crate::metrics::Metrics;

/// Makes taps for one thread of the gateway. Clones share its tray.
#[derive(Clone)]
pub struct Recorder {
    desk: Arc<Desk>,
    tray: Arc<Tray>,
    is_on: bool,
}

/// The trays of all threads.
pub(super) struct Desk {
    metrics: Metrics,
    trays: Mutex<Vec<Arc<Tray>>>,
}

impl Desk {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, trays: Mutex::default() }
    }

    /// A tray for one more thread.
    fn tray(&self) -> Arc<Tray> {
        let tray = Arc::new(Tray::new(self.metrics.clone()));
        self.trays.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&tray));
        tray
    }

    /// All trays there are.
    pub(super) fn trays(&self) -> Vec<Arc<Tray>> {
        self.trays.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Recorder {
    pub(super) fn new(desk: Arc<Desk>, is_on: bool) -> Self {
        let tray = desk.tray();
        Self { desk, tray, is_on }
    }

    /// One for another thread, with a tray of its own.
    pub fn apart(&self) -> Self {
        Self::new(Arc::clone(&self.desk), self.is_on)
    }

    /// A tap for a call with these headers that came at `at`; it watches nothing where calls are not recorded.
    pub fn tap(&self, headers: &HeaderMap, at: Timestamp) -> Tap {
        if !self.is_on {
            return Tap::none();
        }
        // Where more comes than is taken up, a call that would find no place need not be watched.
        if self.tray.is_full() {
            self.tray.drop_one();
            return Tap::none();
        }
        Tap::open(&self.tray, headers, at)
    }
}
