//! The inventory at work: what taps have seen is read within a small share of the time, and written down in bundles.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::clock::Clock;
use crate::crash;
use crate::domain::deferral::ServedBy;
use crate::domain::price::Prices;
use crate::domain::record::{CallRecord, Way};
use crate::domain::tally::{Recorded, tally};
use crate::domain::workload::WorkloadId;
use crate::inventory::Settings;
use crate::inventory::budget::Budget;
use crate::inventory::keyed::Keyed;
use crate::inventory::placing::{Pending, Places, Placing};
use crate::inventory::reading::{By, Callers, Reader, client, fill_in};
use crate::inventory::recent::Recent;
use crate::inventory::recorder::{Desk, Recorder};
use crate::inventory::tray::{Kept, Sighting, Thing};
use crate::inventory::who::AskWho;
use crate::metrics::Metrics;
use crate::secret::Vault;
use crate::store::{Bundle, Store, StoreError, Unrecorded};

/// The share of one core's time that reading may take, and how much of it is saved up for when much comes at once.
const READING_SHARE: f64 = 0.02;
const READING_SAVED_SECONDS: f64 = 0.05;

/// Calls a second that are kept one by one, and how many more where few came before; all others are in the sums alone.
const ROWS_PER_SECOND: f64 = 1_000.0;
const ROWS_SAVED: f64 = 10_000.0;

/// Things that wait to be read, beside the bytes of them that there is room for.
const BACKLOG_MAX: usize = 20_000;

/// Calls that wait to be written while the store does not take them; then they are dropped.
const PENDING_MAX: usize = 20_000;

/// Calls in one bundle.
const BUNDLE_MAX: usize = 2_000;

/// How often a bundle is tried that the database itself refuses.
const REFUSED_MAX: u32 = 5;

/// Things that are read before others have a turn on the thread: less than a millisecond of them.
const STRETCH: usize = 16;

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
    reading: tokio::sync::Mutex<Reading>,
    pending: Mutex<VecDeque<Pending>>,
    writing: tokio::sync::Mutex<Writing>,
}

struct Reading {
    backlog: VecDeque<Thing>,
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
}

impl Inventory {
    /// All that observing needs.
    pub fn new(parts: Parts, settings: Settings) -> Self {
        let Parts { store, clock, vault, prices, metrics, ask_who } = parts;
        let (keyed, recent) = (Keyed::new(vault), Arc::<Recent>::default());
        let reader = Reader { clock, keyed, ask_who, preview: settings.prompt_preview, recent };
        let time = Budget::new(READING_SHARE, READING_SAVED_SECONDS);
        let rows = Budget::new(ROWS_PER_SECOND, ROWS_SAVED);
        Self(Arc::new(Office {
            store,
            settings,
            desk: Arc::new(Desk::new(metrics.clone())),
            metrics,
            reader,
            prices,
            reading: Reading { backlog: VecDeque::new(), callers: Callers::default(), time }.into(),
            pending: Mutex::default(),
            writing: Writing { places: Places::default(), rows, held: None }.into(),
        }))
    }

    /// Where one thread of the gateway gets its taps from.
    pub fn recorder(&self) -> Recorder {
        Recorder::new(Arc::clone(&self.0.desk), self.0.settings.enabled)
    }

    /// One look: reads what was seen, within its share of the time.
    ///
    /// # Errors
    /// None.
    pub async fn read(&self) -> Result<bool, StoreError> {
        self.read_all(false).await;
        Ok(false)
    }

    /// One bite: writes down what was read. Says whether there is more.
    ///
    /// # Errors
    /// If the store is unavailable; what was read is kept, up to a limit.
    pub async fn write(&self) -> Result<bool, StoreError> {
        let mut writing = self.0.writing.lock().await;
        if writing.held.is_none() {
            let bite = self.take();
            if bite.is_empty() {
                return Ok(false);
            }
            match self.bundle(&mut writing, &bite).await {
                Ok(held) => writing.held = Some(held),
                Err(error) => {
                    self.put_back(bite);
                    return Err(error);
                }
            }
        }
        self.write_held(&mut writing).await?;
        Ok(true)
    }

    /// One bite: records deferrals that have become final. Says whether there may be more.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn follow(&self) -> Result<bool, StoreError> {
        if !self.0.settings.enabled {
            return Ok(false);
        }
        {
            let mut reading = self.0.reading.lock().await;
            reading.time.grow(Instant::now());
            if !reading.time.is_left() {
                return Ok(false);
            }
        }
        let (from, reach, found) = self.0.store.unrecorded().await?;
        let Some(to) = reach else { return Ok(false) };
        let begin = Instant::now();
        let mut pending = Vec::with_capacity(found.len());
        for (index, deferral) in found.into_iter().enumerate() {
            pending.push(self.read_deferral(&deferral));
            if index % STRETCH == STRETCH - 1 {
                tokio::task::yield_now().await;
            }
        }
        self.0.reading.lock().await.time.spend(begin.elapsed());
        let mut writing = self.0.writing.lock().await;
        let calls = self.placed(&mut writing.places, &pending).await?;
        let hours = tally(&calls);
        let is_ours = self.0.store.record_deferrals(from, to, Bundle { calls: &calls, hours: &hours }).await?;
        if is_ours {
            self.0.metrics.records_written(calls.len());
        }
        Ok(true)
    }

    /// Reads and writes everything, for the last time.
    pub async fn finish(&self) {
        self.read_all(true).await;
        // Where the store is gone, so is what it did not take.
        while self.write().await.unwrap_or(false) {}
    }

    async fn read_all(&self, whatever_it_takes: bool) {
        let mut reading = self.0.reading.lock().await;
        let Reading { backlog, callers, time } = &mut *reading;
        time.grow(Instant::now());
        for thing in self.0.desk.take() {
            match thing {
                // What has nothing to be read does not wait for what has.
                Thing::Ended(seen) if is_plain(&seen) => self.read_thing(callers, Thing::Ended(seen)).await,
                other => backlog.push_back(other),
            }
        }
        let mut since = Instant::now();
        let mut stretch = 0;
        while whatever_it_takes || time.is_left() {
            let Some(thing) = backlog.pop_front() else { break };
            self.read_thing(callers, thing).await;
            let now = Instant::now();
            time.spend(now - since);
            since = now;
            stretch += 1;
            if stretch % STRETCH == 0 {
                tokio::task::yield_now().await;
                since = Instant::now();
            }
        }
        while backlog.len() > BACKLOG_MAX {
            let Some(thing) = backlog.pop_front() else { break };
            self.read_thing(callers, unread(thing)).await;
        }
    }

    async fn read_thing(&self, callers: &mut Callers, thing: Thing) {
        match thing {
            Thing::Asked(asked) => self.0.reader.read_body(callers, asked).await,
            Thing::Ended(seen) => {
                let pending = self.0.reader.read_sighting(callers, &self.0.prices.table(), *seen).await;
                if pending.recorded.is_unread {
                    self.0.metrics.record_unread();
                }
                let mut waiting = self.0.pending.lock().unwrap_or_else(PoisonError::into_inner);
                if waiting.len() < PENDING_MAX {
                    waiting.push_back(pending);
                } else {
                    self.0.metrics.record_dropped();
                }
            }
        }
    }

    fn take(&self) -> Vec<Pending> {
        let mut waiting = self.0.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let bite = waiting.len().min(BUNDLE_MAX);
        waiting.drain(..bite).collect()
    }

    fn put_back(&self, bite: Vec<Pending>) {
        let mut waiting = self.0.pending.lock().unwrap_or_else(PoisonError::into_inner);
        bite.into_iter().rev().for_each(|call| waiting.push_front(call));
    }

    async fn bundle(&self, writing: &mut Writing, bite: &[Pending]) -> Result<Held, StoreError> {
        let calls = self.placed(&mut writing.places, bite).await?;
        writing.rows.grow(Instant::now());
        // By one of them it is told whether a bundle is there.
        let kept = writing.rows.take(calls.len()).max(1);
        Ok(Held { calls, kept, refusals: 0 })
    }

    async fn placed(&self, places: &mut Places, pending: &[Pending]) -> Result<Vec<Recorded>, StoreError> {
        let Office { store, reader, .. } = &*self.0;
        let placing = Placing { store, keyed: &reader.keyed, recent: &reader.recent };
        let placed = placing.place(places, pending).await?;
        let at = |(call, (workload, name)): (&Pending, (WorkloadId, String))| {
            let mut recorded = call.recorded.clone();
            (recorded.workload, recorded.record.workload) = (workload, name);
            recorded
        };
        Ok(pending.iter().zip(placed).map(at).collect())
    }

    async fn write_held(&self, writing: &mut Writing) -> Result<(), StoreError> {
        let Some(held) = &mut writing.held else { return Ok(()) };
        let hours = tally(&held.calls);
        let written = self.0.store.record(Bundle { calls: &held.calls[..held.kept], hours: &hours }).await;
        crash::point("inventory.bundle");
        match written {
            Ok(()) => self.0.metrics.records_written(held.calls.len()),
            Err(error) => {
                held.refusals += u32::from(error.is_refusal());
                if held.refusals < REFUSED_MAX {
                    return Err(error);
                }
                // What the database does not take must not keep back what it would.
                self.0.metrics.records_dropped(held.calls.len());
                writing.held = None;
                return Err(error);
            }
        }
        writing.held = None;
        Ok(())
    }

    fn read_deferral(&self, deferral: &Unrecorded) -> Pending {
        let Office { reader, .. } = &*self.0;
        let user_agent = deferral.client.as_deref().unwrap_or_default();
        let by = By { tenant: &deferral.tenant, user_agent };
        let shape = reader.shape(deferral.text.as_bytes(), None, &by);
        let mut record = CallRecord {
            at: deferral.accepted_at,
            tenant: deferral.tenant.clone(),
            way: match deferral.served_by {
                Some(ServedBy::Batch) => Way::Batch,
                Some(ServedBy::Live) => Way::Rescued,
                None => Way::None,
            },
            tokens: deferral.tokens,
            cost: deferral.cost,
            status: deferral.answer.status,
            request_bytes: deferral.text.len() as u64,
            answer_bytes: deferral.answer.body.len() as u64,
            duration_ms: deferral.completed_at.since(deferral.accepted_at).as_millis().try_into().unwrap_or(u64::MAX),
            hung_up: deferral.hung_up,
            client: client(user_agent),
            tool_stop: crate::inventory::answer::of_message(&deferral.answer.body).tool_stop,
            ..CallRecord::default()
        };
        fill_in(&mut record, shape.as_ref());
        record.model.clone_from(&deferral.model);
        record.blocked_by = None;
        let belongs = reader.belongs(deferral.workload.clone(), shape.as_ref(), &by);
        let id = WorkloadId::of(*deferral.id.0.as_bytes()).0 ^ low(deferral.id.0.as_u128());
        let is_unread = shape.is_none();
        Pending { recorded: Recorded { record, id, workload: WorkloadId(0), is_unread }, belongs }
    }
}

fn low(id: u128) -> i64 {
    (id as u64).cast_signed()
}

/// Whether there is nothing in it that takes time to read.
fn is_plain(seen: &Sighting) -> bool {
    matches!(seen.answer, Kept::Nothing | Kept::Missed) && !seen.call.is_being_read()
}

/// The same without what would take time to read.
fn unread(thing: Thing) -> Thing {
    match thing {
        Thing::Asked(mut asked) => {
            asked.body = Default::default();
            Thing::Asked(asked)
        }
        Thing::Ended(mut seen) => {
            seen.answer = Kept::Missed;
            Thing::Ended(seen)
        }
    }
}
