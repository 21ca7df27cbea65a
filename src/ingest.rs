//! Ingesting: the results of a batch that has ended are brought home, each once.
//!
//! Results are settled in chunks of one transaction. Whatever interrupts it, the batch stays `ended`, the stream is read
//! again from its beginning, and what was settled before is passed over.

mod decide;
mod settings;
mod settling;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::clock::Clock;
use crate::crash;
use crate::domain::backoff;
use crate::domain::batch::BatchState;
use crate::domain::id::DeferralId;
use crate::domain::lane::Lane;
use crate::domain::price::Prices;
use crate::ingest::settling::{CHUNK_RESULTS, Settling};
use crate::nudge::Settled;
use crate::provider::{ItemResult, Provider, ProviderError};
use crate::store::{ClaimedBatch, Member, Settlement, Store, StoreError};
use crate::telemetry::chain;

pub use settings::Settings;

/// Waits before results that did not come whole are fetched again: doubling between these.
const FETCH_FIRST: Duration = Duration::from_secs(2);
const FETCH_CAP: Duration = Duration::from_secs(120);

/// How often results with fewer lines than the provider counts are fetched before the rest counts as missing.
const FETCHES_FOR_MISSING: u32 = 5;

/// So many results without one of ours show that a batch out of the provider's list is somebody else's; fewer may be
/// strays in one that is ours.
const STRANGERS_MAX: u64 = 1_000;

/// Brings results home.
#[derive(Clone)]
pub struct Ingest {
    store: Store,
    provider: Provider,
    clock: Clock,
    settings: Settings,
    prices: Prices,
    /// Wakes whoever acts on what has become final.
    settled: Settled,
}

/// What reading the results of a batch came to.
enum Reading {
    /// To the end, with so many results.
    Whole(u64),
    /// The provider has none, or none any more.
    Gone,
    /// It broke off.
    Broken(ProviderError),
    /// Of so many results of an adopted batch none is ours: it is somebody else's.
    Foreign(u64),
}

impl Ingest {
    /// All that ingesting needs.
    pub fn new(
        store: Store,
        provider: Provider,
        clock: Clock,
        settings: Settings,
        prices: Prices,
        settled: Settled,
    ) -> Self {
        Self { store, provider, clock, settings, prices, settled }
    }

    /// One bite: brings home the batch that ended longest ago. Says whether there was one.
    ///
    /// # Errors
    /// If the store is unavailable; the batch's lease lapses, and it is taken up again.
    pub async fn run(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let due = self.store.claim_batches(BatchState::Ended, now, self.settings.lease, 1).await?;
        let Some(batch) = due.into_iter().next() else { return Ok(false) };
        let Some(lane) = self.store.lane(batch.lane).await? else {
            tracing::error!(batch.id = %batch.claim.batch, "the lane of a batch is gone");
            self.store.batch_looked_at(batch.claim, now.plus(FETCH_CAP)).await?;
            return Ok(true);
        };
        match self.read(&batch, &lane).await? {
            Reading::Whole(results) | Reading::Foreign(results) if self.is_short(&batch, &lane, results).await => {
                self.fetch_again(&batch).await?;
            }
            Reading::Whole(_) | Reading::Gone => self.finish(&batch).await?,
            Reading::Foreign(_) => {
                tracing::warn!(batch.id = %batch.claim.batch, "a batch was taken for ours and is not: looking again");
                self.store.batch_mistaken(batch.claim, self.clock.now()).await?;
                crash::point("ingest.mistaken");
            }
            Reading::Broken(error) => {
                let id = batch.claim.batch;
                tracing::warn!(batch.id = %id, error = %chain(&error), "results did not come whole");
                self.fetch_again(&batch).await?;
            }
        }
        Ok(true)
    }

    /// Reads the results from the first to the last and settles them as they come.
    async fn read(&self, batch: &ClaimedBatch, lane: &Lane) -> Result<Reading, StoreError> {
        let provider_id = batch.provider_id.as_deref().unwrap_or_default();
        let mut results = match self.provider.results(lane, provider_id).await {
            Ok(results) => results,
            // Without results nothing says that an adopted batch is ours; if it was, it is not found again.
            Err(ProviderError::Refused(refusal)) if matches!(refusal.status, 404 | 410) => {
                return Ok(if batch.adopted { Reading::Foreign(0) } else { Reading::Gone });
            }
            Err(error) => return Ok(Reading::Broken(error)),
        };
        let mut settling = Settling::new(self, batch);
        let mut seen = HashSet::new();
        let (mut is_unconfirmed, mut strangers) = (batch.adopted, 0);
        loop {
            let line = match results.next().await {
                Ok(line) => line,
                Err(error) => {
                    settling.finish().await?;
                    return Ok(Reading::Broken(error));
                }
            };
            let Some(line) = line else { break };
            // A line with a name that is none of ours belongs to nobody here.
            let id = DeferralId::parse(&line.custom_id);
            if is_unconfirmed {
                // Whose one item is, all are: a batch is made in one piece.
                is_unconfirmed = !self.confirm(batch, id).await?;
                strangers += u64::from(is_unconfirmed);
                if strangers > STRANGERS_MAX {
                    // However many more there are.
                    return Ok(Reading::Foreign(u64::MAX));
                }
            }
            let Some(id) = id.filter(|_| !is_unconfirmed) else { continue };
            seen.insert(id);
            settling.push(id, line.result).await?;
        }
        if is_unconfirmed {
            return Ok(Reading::Foreign(strangers));
        }
        settling.finish().await?;
        if results.unreadable > 0 {
            tracing::warn!(batch.id = %batch.claim.batch, lines = results.unreadable, "lines that are no results");
        }
        Ok(Reading::Whole(seen.len() as u64))
    }

    /// Whether a batch out of the provider's list is the one that it was taken for.
    async fn confirm(&self, batch: &ClaimedBatch, id: Option<DeferralId>) -> Result<bool, StoreError> {
        let is_ours = match id {
            Some(id) => self.store.is_member(batch.claim.batch, id).await?,
            None => false,
        };
        let is_confirmed = is_ours && self.store.batch_confirmed(batch.claim).await?;
        if is_confirmed {
            crash::point("ingest.confirmed");
        }
        Ok(is_confirmed)
    }

    async fn settle(&self, batch: &ClaimedBatch, chunk: Vec<(DeferralId, ItemResult)>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let is_message = |result: &ItemResult| matches!(result, ItemResult::Succeeded(_));
        let undecided: Vec<DeferralId> =
            chunk.iter().filter(|(_, result)| !is_message(result)).map(|(id, _)| *id).collect();
        let members = self.store.open_members_among(batch.claim.batch, &undecided).await?;
        let members: HashMap<DeferralId, Member> = members.into_iter().map(|member| (member.id, member)).collect();
        let prices = self.prices.table();
        let mut settlements = Vec::with_capacity(chunk.len());
        for (id, result) in chunk {
            let verdict = match result {
                // Nothing that we know of a call can change what a Message means for it.
                ItemResult::Succeeded(message) => decide::succeeded(message, &prices, now),
                other => match members.get(&id) {
                    Some(member) => decide::without_message(Some(other), member, &self.settings, now),
                    None => continue,
                },
            };
            settlements.push(Settlement { id, verdict });
        }
        self.bring_in(batch, &settlements).await
    }

    async fn bring_in(&self, batch: &ClaimedBatch, settlements: &[Settlement]) -> Result<(), StoreError> {
        let now = self.clock.now();
        if !settlements.is_empty() {
            let fresh = self.store.settle(batch.claim.batch, settlements, now).await?;
            crash::point("ingest.chunk");
            if !fresh.is_empty() {
                self.settled.wake();
            }
        }
        // Losing the lease is no reason to stop: whoever has it settles the same, and nothing is settled twice.
        self.store.renew(batch.claim, now.plus(self.settings.lease)).await.map(drop)
    }

    /// Whether the provider counts more results than came; it may not have been done writing them.
    async fn is_short(&self, batch: &ClaimedBatch, lane: &Lane, results: u64) -> bool {
        if results >= u64::from(batch.item_count) || batch.looks >= FETCHES_FOR_MISSING {
            return false;
        }
        let provider_id = batch.provider_id.as_deref().unwrap_or_default();
        match self.provider.batch(lane, provider_id).await {
            Ok(seen) => results < seen.result_count && !seen.is_archived,
            Err(ProviderError::Refused(refusal)) if refusal.status == 404 => false,
            Err(_) => true,
        }
    }

    async fn fetch_again(&self, batch: &ClaimedBatch) -> Result<(), StoreError> {
        let wait = backoff::exponential(batch.looks, FETCH_FIRST, FETCH_CAP);
        self.store.batch_looked_at(batch.claim, self.clock.now().plus(wait)).await.map(drop)
    }

    /// Members for which nothing came are missing; then the batch is done.
    async fn finish(&self, batch: &ClaimedBatch) -> Result<(), StoreError> {
        let now = self.clock.now();
        loop {
            let missing = self.store.open_members(batch.claim.batch, None, CHUNK_RESULTS as u32).await?;
            if missing.is_empty() {
                break;
            }
            tracing::warn!(batch.id = %batch.claim.batch, items = missing.len(), "items without a result");
            let settle = |member: &Member| Settlement {
                id: member.id,
                verdict: decide::without_message(None, member, &self.settings, now),
            };
            self.bring_in(batch, &missing.iter().map(settle).collect::<Vec<_>>()).await?;
        }
        crash::point("ingest.settled");
        if self.store.batch_ingested(batch.claim, now).await? {
            crash::point("ingest.done");
            tracing::info!(batch.id = %batch.claim.batch, "batch ingested");
        }
        Ok(())
    }
}
