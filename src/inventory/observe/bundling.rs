//! Bundling: what was read is written down together, and once.

use tokio::time::Instant;

use super::{Held, Inventory, Office, Writing};
use crate::crash;
use crate::domain::charge::charges;
use crate::domain::tally::{Recorded, last_seen, tally};
use crate::domain::workload::WorkloadId;
use crate::inventory::placing::{Pending, Places, Placing};
use crate::store::{Bundle, StoreError};

/// Calls in one bundle.
const BUNDLE_MAX: usize = 2_000;

/// How often a bundle is tried that the database itself refuses.
const REFUSED_MAX: u32 = 5;

impl Inventory {
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

    fn take(&self) -> Vec<Pending> {
        let mut waiting = self.0.waiting();
        let bite = waiting.len().min(BUNDLE_MAX);
        waiting.drain(..bite).collect()
    }

    fn put_back(&self, bite: Vec<Pending>) {
        let mut waiting = self.0.waiting();
        bite.into_iter().rev().for_each(|call| waiting.push_front(call));
    }

    async fn bundle(&self, writing: &mut Writing, bite: &[Pending]) -> Result<Held, StoreError> {
        let calls = self.placed(&mut writing.places, bite).await?;
        writing.rows.grow(Instant::now());
        // By one of them it is told whether a bundle is there.
        let kept = writing.rows.take(calls.len()).max(1);
        Ok(Held { calls, kept, refusals: 0 })
    }

    /// The records of calls, with their workloads.
    pub(super) async fn placed(&self, places: &mut Places, pending: &[Pending]) -> Result<Vec<Recorded>, StoreError> {
        let Office { store, reader, .. } = &*self.0;
        let placing = Placing { store, keyed: &reader.keyed, recent: &reader.recent };
        let placed = placing.place(places, pending).await?;
        crash::point("inventory.placed");
        let at = |(call, (workload, name)): (&Pending, (WorkloadId, String))| {
            let mut recorded = call.recorded.clone();
            (recorded.workload, recorded.record.workload) = (workload, name);
            recorded
        };
        Ok(pending.iter().zip(placed).map(at).collect())
    }

    async fn write_held(&self, writing: &mut Writing) -> Result<(), StoreError> {
        let Some(held) = &mut writing.held else { return Ok(()) };
        let (hours, seen, charges) = (tally(&held.calls), last_seen(&held.calls), charges(&held.calls));
        let (calls, now) = (&held.calls[..held.kept], self.0.reader.clock.now());
        let written = self.0.store.record(Bundle { calls, hours: &hours, seen: &seen, charges: &charges, now }).await;
        match written {
            Ok(()) => {
                self.0.metrics.records_written(held.calls.len());
                if !charges.is_empty() {
                    self.0.spent.wake();
                }
            }
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
}
