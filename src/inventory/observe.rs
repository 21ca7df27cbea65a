//! The inventory at work: what taps have seen is read within a small share of the time, and written down in bundles.

mod bundling;
mod following;
mod taking;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::domain::price::Prices;
use crate::domain::tally::Recorded;
use crate::inventory::Settings;
use crate::inventory::budget::Budget;
use crate::inventory::keyed::Keyed;
use crate::inventory::placing::{Pending, Places};
use crate::inventory::reading::{Callers, Reader};
use crate::inventory::recent::Recent;
use crate::inventory::recorder::{Desk, Recorder};
use crate::inventory::who::AskWho;
use crate::metrics::Metrics;
use crate::nudge::Nudge;
use crate::secret::Vault;
use crate::store::Store;

/// How much of its share of the time is saved up for when much comes at once, in seconds of one core.
const SAVED_SECONDS: f64 = 0.05;

/// Calls a second that are kept one by one, and how many more where few came before; all others are in the sums alone.
const ROWS_PER_SECOND: f64 = 500.0;
const ROWS_SAVED: f64 = 5_000.0;

/// Observes. Clones share it.
#[derive(Clone)]
pub struct Inventory(Arc<Office>);

struct Office {
    store: Store,
    settings: Settings,
    metrics: Metrics,
    desk: Arc<Desk>,
    reader: Reader,
    prices: Prices,
    spent: Nudge,
    reading: tokio::sync::Mutex<Reading>,
    pending: Mutex<VecDeque<Pending>>,
    writing: tokio::sync::Mutex<Writing>,
}

struct Reading {
    callers: Callers,
    time: Budget,
}

struct Writing {
    places: Places,
    rows: Budget,
    /// A bundle of which it is not known whether it was written: it must stay the same until it certainly was.
    held: Option<Held>,
}

struct Held {
    calls: Vec<Recorded>,
    /// So many of them are kept one by one.
    kept: usize,
    refusals: u32,
}

/// What the inventory works with.
pub struct Parts {
    /// Where records go.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// What hashes are keyed with.
    pub vault: Vault,
    /// What live calls cost.
    pub prices: Prices,
    /// What is counted.
    pub metrics: Metrics,
    /// Whose a credential is.
    pub ask_who: AskWho,
    /// Wakes whoever adds up what was spent.
    pub spent: Nudge,
}

impl Inventory {
    /// All that observing needs.
    pub fn new(parts: Parts, settings: Settings) -> Self {
        let Parts { store, clock, vault, prices, metrics, ask_who, spent } = parts;
        let (keyed, recent) = (Keyed::new(vault), Arc::<Recent>::default());
        let reader = Reader { clock, keyed, ask_who, preview: settings.prompt_preview, recent };
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let time = Budget::new(f64::from(settings.time_permille) / 1_000.0 * cores, SAVED_SECONDS * cores);
        let rows = Budget::new(ROWS_PER_SECOND, ROWS_SAVED);
        Self(Arc::new(Office {
            store,
            settings,
            desk: Arc::new(Desk::new(metrics.clone())),
            metrics,
            reader,
            prices,
            spent,
            reading: Reading { callers: Callers::default(), time }.into(),
            pending: Mutex::default(),
            writing: Writing { places: Places::default(), rows, held: None }.into(),
        }))
    }

    /// Where one thread of the gateway gets its taps from.
    pub fn recorder(&self) -> Recorder {
        Recorder::new(Arc::clone(&self.0.desk), self.0.settings.enabled)
    }

    /// Reads and writes everything, for the last time.
    pub async fn finish(&self) {
        self.take_up(true).await;
        // Where the store is gone, so is what it did not take.
        while self.write().await.unwrap_or(false) {}
    }
}

impl Office {
    /// Calls that were read and are not written yet.
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
