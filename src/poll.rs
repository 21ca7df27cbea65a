//! Polling: asking the provider how its batches are, often at first and then less.

mod settings;

use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use crate::clock::{Clock, Timestamp};
use crate::crash;
use crate::domain::batch::BatchState;
use crate::domain::lane::Lane;
use crate::nudge::Nudge;
use crate::provider::{Provider, ProviderError};
use crate::store::{ClaimedBatch, Store, StoreError};
use crate::telemetry::chain;

pub use settings::Settings;

/// Batches claimed by one look.
const CLAIMS: u32 = 64;

/// Questions under way at a time; the provider allows a thousand a minute, to all who share the credential.
const CONCURRENCY: usize = 8;

/// A batch is looked at again after this part of its age: a short batch is noticed soon, a long one costs few questions.
const PART_OF_AGE: u32 = 10;

/// A batch that the provider does not know any more is believed lost only this long after it was submitted.
const LOST_AFTER: Duration = Duration::from_secs(120);

/// Asks how batches are.
#[derive(Clone)]
pub struct Poll {
    store: Store,
    provider: Provider,
    clock: Clock,
    settings: Settings,
    /// Wakes whoever brings results home.
    ended: Nudge,
}

impl Poll {
    /// All that polling needs.
    pub fn new(store: Store, provider: Provider, clock: Clock, settings: Settings, ended: Nudge) -> Self {
        Self { store, provider, clock, settings, ended }
    }

    /// One bite: asks after all batches that are due. Says whether there may be more.
    ///
    /// # Errors
    /// If the store is unavailable; leases lapse, and the batches are taken up again.
    pub async fn run(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let due = self.store.claim_batches(BatchState::Submitted, now, self.settings.lease, CLAIMS).await?;
        let is_full = due.len() == CLAIMS as usize;
        let mut asked = stream::iter(due).map(|batch| self.ask(batch)).buffer_unordered(CONCURRENCY);
        while let Some(outcome) = asked.next().await {
            outcome?;
        }
        Ok(is_full)
    }

    async fn ask(&self, batch: ClaimedBatch) -> Result<(), StoreError> {
        let id = batch.claim.batch;
        let Some(lane) = self.store.lane(batch.lane).await? else {
            tracing::error!(batch.id = %id, "the lane of a batch is gone");
            return self.look_later(&batch).await;
        };
        let provider_id = batch.provider_id.as_deref().unwrap_or_default();
        let has_ended = match self.provider.batch(&lane, provider_id).await {
            Ok(seen) => seen.has_ended || seen.is_archived,
            Err(ProviderError::Refused(refusal)) if refusal.status == 404 => {
                // Its results are missing then, which whoever brings them home deals with.
                batch.submitted_at.is_some_and(|at| self.clock.now().since(at) >= LOST_AFTER)
            }
            Err(error) => {
                tracing::warn!(batch.id = %id, error = %chain(&error), "a batch cannot be asked after");
                false
            }
        };
        if !has_ended {
            self.stop_if_useless(&batch, &lane, provider_id).await?;
            return self.look_later(&batch).await;
        }
        if self.store.batch_ended(batch.claim, self.clock.now()).await? {
            crash::point("poll.wake");
            tracing::info!(batch.id = %id, provider_id, "batch ended");
            self.ended.wake();
        }
        Ok(())
    }

    /// Asks the provider to stop a batch that nobody waits for any more: what has not run yet is not billed.
    async fn stop_if_useless(&self, batch: &ClaimedBatch, lane: &Lane, provider_id: &str) -> Result<(), StoreError> {
        // An adopted batch may be somebody else's.
        if batch.cancel_requested || batch.adopted || self.store.batch_is_needed(batch.claim.batch).await? {
            return Ok(());
        }
        match self.provider.cancel_batch(lane, provider_id).await {
            Ok(_) => {
                crash::point("poll.canceled");
                tracing::info!(batch.id = %batch.claim.batch, provider_id, "batch canceled: nobody needs it any more");
                self.store.batch_cancel_requested(batch.claim).await.map(drop)
            }
            Err(error) => {
                tracing::warn!(batch.id = %batch.claim.batch, error = %chain(&error), "a batch is not canceled");
                Ok(())
            }
        }
    }

    async fn look_later(&self, batch: &ClaimedBatch) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.store
            .batch_looked_at(batch.claim, now.plus(pause(batch.submitted_at, now, &self.settings)))
            .await
            .map(drop)
    }
}

/// How long to wait before asking again.
fn pause(submitted_at: Option<Timestamp>, now: Timestamp, settings: &Settings) -> Duration {
    let age = submitted_at.map_or(Duration::ZERO, |at| now.since(at));
    (age / PART_OF_AGE).clamp(settings.min, settings.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_batches_are_asked_after_less_often() {
        let seconds = Duration::from_secs;
        let settings = Settings { min: seconds(10), max: seconds(120), lease: seconds(30) };
        let after = |age: i64| pause(Some(Timestamp::from_millis(0)), Timestamp::from_millis(age * 1_000), &settings);
        assert_eq!([after(0), after(99), after(600), after(86_400)], [10, 10, 60, 120].map(seconds));
    }
}
