//! The depth of the queue: how many calls may wait, in all and of one tenant.
//!
//! The store is counted now and then; between counts this process adds what it has admitted itself, and takes nothing
//! off. So the estimate errs high, and before anybody is refused on its word the store is counted again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::intake::Refusal;
use crate::store::{QueueDepth, Store, StoreError};
use crate::telemetry::chain;

/// A count is used this long, in which other replicas may admit unseen.
const COUNT_HOLDS: Duration = Duration::from_secs(5);

/// While the queue is full it is counted at most this often.
const RECOUNT_PAUSE: Duration = Duration::from_millis(100);

/// Keeps the queue within its limits. Clones share it.
#[derive(Clone)]
pub(super) struct Depth {
    store: Store,
    clock: Clock,
    max_queued: u64,
    estimate: Arc<Mutex<Estimate>>,
    counting: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Estimate {
    counted_at: Option<Timestamp>,
    /// What waits, by tenant: counted, and admitted since.
    waiting: HashMap<String, u64>,
    /// What is being made durable at this moment, by tenant.
    arriving: HashMap<String, u64>,
}

/// A place in the queue for one call; given back when dropped unless it was taken.
#[derive(Debug)]
pub(super) struct Room {
    estimate: Arc<Mutex<Estimate>>,
    tenant: String,
}

impl Depth {
    pub(super) fn new(store: Store, clock: Clock, max_queued: u64) -> Self {
        Self { store, clock, max_queued, estimate: Arc::default(), counting: Arc::default() }
    }

    /// Reserves a place, or refuses.
    pub(super) async fn reserve(&self, tenant: &str, retry_after_seconds: u64) -> Result<Room, Refusal> {
        if let Some(room) = self.try_reserve(tenant, COUNT_HOLDS) {
            return Ok(room);
        }
        let _counting = self.counting.lock().await;
        let is_recent = |at: Timestamp| self.clock.now().since(at) < RECOUNT_PAUSE && self.clock.now() > at;
        if !self.lock().counted_at.is_some_and(is_recent) {
            let QueueDepth(counted) = self.store.queue_depth().await.map_err(unavailable)?;
            let mut estimate = self.lock();
            estimate.waiting = counted;
            estimate.counted_at = Some(self.clock.now());
        }
        self.try_reserve(tenant, Duration::MAX).ok_or(Refusal::QueueFull { retry_after_seconds })
    }

    fn try_reserve(&self, tenant: &str, count_holds: Duration) -> Option<Room> {
        let now = self.clock.now();
        let mut estimate = self.lock();
        let is_known = estimate.counted_at.is_some_and(|at| now.since(at) < count_holds);
        if !is_known || !fits(&estimate, tenant, self.max_queued) {
            return None;
        }
        *estimate.arriving.entry(tenant.to_owned()).or_insert(0) += 1;
        Some(Room { estimate: self.estimate.clone(), tenant: tenant.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, Estimate> {
        self.estimate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// The call has arrived in the queue, or has not.
    pub(super) fn settle(self, is_queued: bool) {
        if is_queued {
            let mut estimate = self.estimate.lock().unwrap_or_else(PoisonError::into_inner);
            *estimate.waiting.entry(self.tenant.clone()).or_insert(0) += 1;
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut estimate = self.estimate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(arriving) = estimate.arriving.get_mut(&self.tenant) {
            *arriving -= 1;
            if *arriving == 0 {
                estimate.arriving.remove(&self.tenant);
            }
        }
    }
}

fn unavailable(error: StoreError) -> Refusal {
    tracing::error!(error = %chain(&error), "the queue could not be counted");
    Refusal::StoreUnavailable
}

/// Whether one more call of this tenant fits: into the queue, and into half of it while others wait too.
fn fits(estimate: &Estimate, tenant: &str, max_queued: u64) -> bool {
    let sum = |map: &HashMap<String, u64>| map.values().sum::<u64>();
    let of = |map: &HashMap<String, u64>| map.get(tenant).copied().unwrap_or(0);
    let total = sum(&estimate.waiting) + sum(&estimate.arriving);
    let own = of(&estimate.waiting) + of(&estimate.arriving);
    let others_wait = sum(&estimate.waiting) > of(&estimate.waiting);
    total < max_queued && !(others_wait && own >= max_queued.div_ceil(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(waiting: &[(&str, u64)], arriving: &[(&str, u64)]) -> Estimate {
        let map = |pairs: &[(&str, u64)]| pairs.iter().map(|(tenant, calls)| ((*tenant).to_owned(), *calls)).collect();
        Estimate { counted_at: None, waiting: map(waiting), arriving: map(arriving) }
    }

    #[test]
    fn the_whole_queue_has_a_limit() {
        assert!(fits(&estimate(&[("a", 8)], &[("a", 1)]), "a", 10));
        assert!(!fits(&estimate(&[("a", 8)], &[("a", 2)]), "a", 10));
        assert!(!fits(&estimate(&[("a", 8)], &[("b", 2)]), "b", 10));
    }

    #[test]
    fn a_tenant_may_hold_half_while_another_waits() {
        assert!(fits(&estimate(&[("a", 5)], &[]), "a", 10));
        assert!(!fits(&estimate(&[("a", 5), ("b", 1)], &[]), "a", 10));
        assert!(fits(&estimate(&[("a", 5), ("b", 1)], &[]), "b", 10));
    }
}
