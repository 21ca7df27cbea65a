//! Flushing: queued calls that are due are put into batches, and the batches are sent.

mod caching;
mod group;
mod reconcile;
mod settings;
mod submit;

use crate::clock::Clock;
use crate::crash;
use crate::domain::id::BatchId;
use crate::domain::price::Prices;
use crate::nudge::{Nudge, Settled};
use crate::provider::{Envelope, Provider};
use crate::store::{Limits, Store, StoreError};

pub use settings::Settings;

/// Batches that one look may build; what is left is due at the next look, which follows at once.
const BUILDS_AT_ONCE: usize = 16;

/// Puts calls into batches and sends them.
#[derive(Clone)]
pub struct Flush {
    store: Store,
    provider: Provider,
    clock: Clock,
    settings: Settings,
    prices: Prices,
    /// Wakes whoever sends what was built.
    built: Nudge,
    /// Wakes whoever acts on what has become final.
    settled: Settled,
}

impl Flush {
    /// All that flushing needs.
    pub fn new(
        store: Store,
        provider: Provider,
        clock: Clock,
        settings: Settings,
        prices: Prices,
        built: Nudge,
        settled: Settled,
    ) -> Self {
        Self { store, provider, clock, settings, prices, built, settled }
    }

    /// One look: builds the batches that are due. Says whether there may be more to do at once.
    ///
    /// # Errors
    /// If the store is unavailable; what was built before stays built.
    pub async fn build_due(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        self.follow_primes(now).await?;
        let flush_mark = self.store.flush_mark().await?;
        let backlogs = self.store.backlog(now, self.settings.max_requests).await?;
        let due = group::due(&backlogs, &self.settings, flush_mark, now);
        let mut built = 0;
        for lane in due.iter().take(BUILDS_AT_ONCE) {
            let (ahead, warm) = self.plan_caching(*lane, flush_mark, now).await?;
            built += ahead;
            let id = BatchId::new(now);
            // Due at once: whoever sends claims it like any other batch, here or on another replica.
            let batch = self.store.build_batch(id, *lane, self.limits(), now, std::time::Duration::ZERO).await?;
            if let Some(batch) = batch {
                crash::point("build.wake");
                if !warm.is_empty() {
                    self.store.ride(*lane, &warm, id).await?;
                }
                tracing::info!(batch.id = %id, items = batch.item_count, bytes = batch.item_bytes, "batch built");
                built += 1;
            }
        }
        if built > 0 {
            self.built.wake();
        }
        Ok(built > 0)
    }

    fn limits(&self) -> Limits {
        Limits {
            requests: self.settings.max_requests,
            bytes: self.settings.max_bytes.saturating_sub(Envelope::length(0, 0)),
            bytes_per_item: Envelope::BYTES_PER_ITEM,
        }
    }
}
