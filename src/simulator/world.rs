//! All state of one stand-in, and the one thing that moves it on: whoever looks at batches first lets those end
//! whose time has come.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as Turn, watch};

use super::Settings;
use super::batches::Batches;
use super::books::{Books, Item, Ledger, Phase, Received};
use super::cache::Cache;
use super::digest::hex_of;
use super::fault::ItemEnd;
use super::faults::Faults;
use super::run::run;
use crate::clock::{Clock, Timestamp};

/// The state behind every connection.
pub(super) struct World {
    pub(super) settings: Settings,
    clock: Clock,
    faults: Mutex<Faults>,
    batches: Mutex<Batches>,
    cache: Mutex<Cache>,
    ledger: Mutex<Ledger>,
    /// In how many batches a `custom_id` was run.
    attempts: Mutex<HashMap<Box<str>, u32>>,
    /// One at a time lets batches end.
    settling: Arc<Turn<()>>,
    changes: watch::Sender<()>,
    serial: AtomicU64,
}

impl World {
    pub(super) fn new(settings: Settings, clock: Clock) -> Self {
        Self {
            settings,
            clock,
            faults: Mutex::default(),
            batches: Mutex::default(),
            cache: Mutex::default(),
            ledger: Mutex::default(),
            attempts: Mutex::default(),
            settling: Arc::default(),
            changes: watch::Sender::new(()),
            serial: AtomicU64::new(0),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        held(&self.faults)
    }

    pub(super) fn batches(&self) -> MutexGuard<'_, Batches> {
        held(&self.batches)
    }

    pub(super) fn cache(&self) -> MutexGuard<'_, Cache> {
        held(&self.cache)
    }

    /// A fresh `request-id`.
    pub(super) fn request_id(&self) -> String {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        format!("req_{}", &hex_of(&format!("request {serial}"))[..24])
    }

    /// How a fault ends this item of a batch that is being run, if one does.
    pub(super) fn item_fault(&self, item: &Item) -> Option<ItemEnd> {
        let mut attempts = held(&self.attempts);
        let attempt = attempts.entry(item.custom_id.clone()).or_default();
        let end = self.faults().meet_item(&item.custom_id, &item.params, *attempt);
        *attempt += 1;
        end
    }

    /// Lets all batches end whose time has come.
    pub(super) async fn settle(self: &Arc<Self>) {
        let turn = Arc::clone(&self.settling).lock_owned().await;
        let now = self.now();
        let due = self.batches().due(now);
        if due.is_empty() {
            return;
        }
        let world = Arc::clone(self);
        // A large batch takes seconds to run, and the turn stays taken even if whoever looked goes away.
        let work = tokio::task::spawn_blocking(move || {
            for due in due {
                let outcomes = run(&world, &due);
                world.batches().end(&due, outcomes);
            }
            world.changed();
            drop(turn);
        });
        // It fails only when the process ends.
        let _ = work.await;
    }

    /// Writes a request into the books.
    pub(super) fn received(&self, received: Received) {
        held(&self.ledger).received(received);
        self.changed();
    }

    /// Writes into the books that a client went away.
    pub(super) fn disconnected(&self, phase: Phase) {
        held(&self.ledger).disconnected(phase);
        self.changed();
    }

    /// Tells those who wait for a condition to look again.
    pub(super) fn changed(&self) {
        self.changes.send_replace(());
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// A copy of the books.
    pub(super) fn books(&self) -> Books {
        let batches = self.batches().records();
        held(&self.ledger).with(batches)
    }
}

/// The value behind a lock, also when a thread died holding it: no change here is left half done.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
