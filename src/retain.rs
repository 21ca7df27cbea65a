//! Retaining: what has been final for long enough is deleted, and credentials as soon as nothing needs them.

mod settings;

use crate::clock::{Clock, Timestamp};
use crate::crash;
use crate::store::{CachingOff, Store, StoreError};

pub use settings::Settings;

/// Deferrals, or lines of the feed, or deliveries, deleted in one transaction.
const BITE: u32 = 1_000;

/// Deletes what need not be kept.
#[derive(Clone)]
pub struct Retain {
    store: Store,
    clock: Clock,
    settings: Settings,
}

impl Retain {
    /// All that retaining needs.
    pub fn new(store: Store, clock: Clock, settings: Settings) -> Self {
        Self { store, clock, settings }
    }

    /// One bite. Says whether there is more to delete at once.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn run(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        self.store.make_room_ahead(now).await?;
        self.tell_of_caching(now).await?;
        let before = now.minus(self.settings.retention);
        let deferrals = self.store.forget_deferrals(before, BITE).await?;
        if deferrals == u64::from(BITE) {
            return Ok(true);
        }
        crash::point("retain.bodies");
        let days_of_bodies = self.store.forget_bodies(before).await?;
        let handed_over = self.store.forget_handed_over(before, BITE).await?;
        if handed_over >= u64::from(BITE) {
            return Ok(true);
        }
        let records = self.store.forget_records(before, BITE).await?;
        if records >= u64::from(BITE) {
            return Ok(true);
        }
        crash::point("retain.batches");
        let batches = self.store.forget_batches(before).await?;
        crash::point("retain.lanes");
        let credentials = self.store.forget_lanes(now).await?;
        if deferrals + days_of_bodies + handed_over + records + batches + credentials > 0 {
            tracing::info!(
                deferrals,
                days_of_bodies,
                handed_over,
                records,
                batches,
                credentials,
                "deleted what need not be kept"
            );
        }
        Ok(false)
    }

    /// Says for which workloads caching is on again, of which then nothing is known any more.
    async fn tell_of_caching(&self, now: Timestamp) -> Result<(), StoreError> {
        for on in self.store.caching_on_again(now).await? {
            let (workload, CachingOff { lost, since, .. }) = (on.name(), &on);
            tracing::info!(workload, lost_usd = %lost, off_since = %since, "caching is on again, as it is tried anew");
        }
        Ok(())
    }
}
