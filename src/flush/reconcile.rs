//! Reconciling: what became of a batch whose creation was not answered, or whose sender died.
//!
//! The provider's list tells ids, times and counts, not whose items a batch holds. A batch of ours is taken to be the
//! one that was made after we began to send, holds as many items, and is no other batch of ours. Its results confirm
//! it, or show that it is somebody else's; then the search goes on. Only when none that may be it has shown for
//! `reconcile_wait` since nobody waits for the answer any more is it sent again.

use std::time::Duration;

use crate::crash;
use crate::domain::backoff;
use crate::domain::batch::BatchState;
use crate::flush::Flush;
use crate::provider::ProviderBatch;
use crate::store::{ClaimedBatch, StoreError};
use crate::telemetry::chain;

/// How much the provider's clock may be behind ours. More than that, and a batch that was made would be overlooked and
/// sent twice; looking at older ones costs little, for those that are ours are known.
const SKEW: Duration = Duration::from_secs(60 * 60);

/// Waits between looks at the list: doubling between these.
const LOOK_FIRST: Duration = Duration::from_secs(1);
const LOOK_CAP: Duration = Duration::from_secs(15);

impl Flush {
    /// One bite: looks for the uncertain batch that is longest due. Says whether there was one.
    ///
    /// # Errors
    /// If the store is unavailable; the batch's lease lapses, and it is taken up again.
    pub async fn reconcile_due(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let due = self.store.claim_batches(BatchState::Uncertain, now, self.settings.lease, 1).await?;
        let Some(batch) = due.into_iter().next() else { return Ok(false) };
        self.reconcile(&batch).await?;
        Ok(true)
    }

    async fn reconcile(&self, batch: &ClaimedBatch) -> Result<(), StoreError> {
        let now = self.clock.now();
        let next_look = now.plus(backoff::exponential(batch.looks, LOOK_FIRST, LOOK_CAP));
        let (Some(sent_at), Some(lane)) = (batch.sent_at, self.store.lane(batch.lane).await?) else {
            tracing::error!(batch.id = %batch.claim.batch, "an uncertain batch cannot be looked for");
            return self.store.batch_doubted(batch.claim, now, next_look).await.map(drop);
        };
        let listed = match self.provider.batches_since(&lane, sent_at.minus(SKEW)).await {
            Ok(listed) => listed,
            Err(error) => {
                let id = batch.claim.batch;
                tracing::warn!(batch.id = %id, error = %chain(&error), "the provider's list cannot be read");
                return self.store.batch_doubted(batch.claim, now, next_look).await.map(drop);
            }
        };
        let mut may_be_elsewhere = false;
        crash::point("reconcile.listed");
        for made in candidates(&listed, batch) {
            let (now, id) = (self.clock.now(), batch.claim.batch);
            if self.store.certain_others(id, &made.id).await? {
                continue;
            }
            if self.store.batch_submitted(batch.claim, &made.id, true, now, now).await? {
                crash::point("reconcile.adopted");
                tracing::info!(batch.id = %id, provider_id = made.id, "batch found in the provider's list");
                return Ok(());
            }
            // Another uncertain batch of ours was taken for it; until its results have said so, this may be the one.
            may_be_elsewhere = true;
        }
        if may_be_elsewhere {
            return self.store.batch_doubted(batch.claim, now, next_look).await.map(drop);
        }
        let doubted_at = batch.doubted_at.unwrap_or(now);
        if now >= doubted_at.plus(self.settings.reconcile_wait) && batch.doubted_at.is_some() {
            tracing::info!(batch.id = %batch.claim.batch, "the provider has no such batch: it is sent again");
            if self.store.batch_not_sent(batch.claim, now).await? {
                crash::point("reconcile.absent");
                self.built.wake();
            }
            return Ok(());
        }
        self.store.batch_doubted(batch.claim, now, next_look).await.map(drop)
    }
}

/// The provider's batches that may be this one, those first that were made closest to when it was sent.
fn candidates<'a>(listed: &'a [ProviderBatch], batch: &ClaimedBatch) -> Vec<&'a ProviderBatch> {
    let items = u64::from(batch.item_count);
    let mut candidates: Vec<_> = listed.iter().filter(|made| made.item_count == items).collect();
    let distance = |made: &ProviderBatch| {
        batch.sent_at.zip(made.created_at).map_or(Duration::MAX, |(sent, made)| sent.since(made).max(made.since(sent)))
    };
    candidates.sort_by_key(|made| distance(made));
    candidates
}
