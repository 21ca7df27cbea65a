//! Departures: callers who go before they have their answer are noted at once, and written down together.
//!
//! Whoever makes a call durable for a caller keeps its [`Presence`] until the answer is handed over. A presence that is
//! dropped before that, as when the connection breaks, is a departure.

use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::{Clock, Timestamp};
use crate::domain::id::DeferralId;
use crate::nudge::Nudge;
use crate::store::attach::Departure;
use crate::store::{Store, StoreError};

/// Departures that wait to be written: more than one process holds connections. Of those beyond it a retry will not
/// know, and may take the place of somebody who is still there.
const NOTED_MAX: usize = 100_000;

/// Departures written in one bite.
const BITE: usize = 2_000;

/// Where departures are noted. Clones share it.
#[derive(Clone)]
pub struct Departures(Arc<Book>);

struct Book {
    store: Store,
    clock: Clock,
    /// Wakes whoever writes them down.
    nudge: Nudge,
    noted: Mutex<Vec<Departure>>,
}

/// A caller who waits for a deferral; dropped before it is served, it counts as gone.
pub struct Presence {
    departures: Departures,
    id: DeferralId,
    since: Timestamp,
    /// Not gone before this.
    not_before: Timestamp,
    is_served: bool,
}

impl Departures {
    /// Nobody is gone yet.
    pub fn new(store: Store, clock: Clock, nudge: Nudge) -> Self {
        Self(Arc::new(Book { store, clock, nudge, noted: Mutex::default() }))
    }

    /// The presence of a caller who has waited for this deferral since then.
    pub fn presence(&self, id: DeferralId, since: Timestamp) -> Presence {
        Presence { departures: self.clone(), id, since, not_before: since, is_served: false }
    }

    /// One bite: writes down who is gone. Says whether there may be more.
    ///
    /// # Errors
    /// If the store is unavailable; the departures stay noted.
    pub async fn write(&self) -> Result<bool, StoreError> {
        let bite = self.take(BITE);
        if bite.is_empty() {
            return Ok(false);
        }
        let written = self.0.store.callers_left(&bite).await;
        if written.is_err() {
            bite.into_iter().for_each(|departure| self.note(departure));
        }
        written.map(|()| true)
    }

    fn note(&self, departure: Departure) {
        let mut noted = self.0.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() < NOTED_MAX {
            noted.push(departure);
        }
    }

    fn take(&self, most: usize) -> Vec<Departure> {
        let mut noted = self.0.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let some = noted.len().min(most);
        noted.drain(..some).collect()
    }
}

impl Presence {
    /// The answer is handed over.
    pub fn served(mut self) {
        self.is_served = true;
    }

    /// It will be gone only after the deferral became final, which it was not told.
    pub fn untold(&mut self, completed_at: Timestamp) {
        // Another replica's clock may be ahead.
        self.not_before = self.not_before.max(completed_at);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if !self.is_served {
            let at = self.departures.0.clock.now().max(self.not_before);
            self.departures.note(Departure { id: self.id, since: self.since, at });
            self.departures.0.nudge.wake();
        }
    }
}
