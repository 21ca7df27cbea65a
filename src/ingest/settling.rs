//! Settling beside reading: while one chunk of results is settled, the next is read.

use tokio::task::JoinSet;

use crate::domain::id::DeferralId;
use crate::ingest::Ingest;
use crate::provider::ItemResult;
use crate::store::{ClaimedBatch, StoreError};

/// Results settled in one transaction, whichever of the two is met first; twice that is held, with the next chunk.
pub(super) const CHUNK_RESULTS: usize = 2_000;
const CHUNK_BYTES: usize = 4_000_000;

/// Gathers the results of one batch into chunks and settles these in order, one at a time. Dropped, it stops.
pub(super) struct Settling<'a> {
    ingest: &'a Ingest,
    batch: &'a ClaimedBatch,
    chunk: Vec<(DeferralId, ItemResult)>,
    chunk_bytes: usize,
    /// At most one: two chunks may hold the same item, of which the first word counts.
    running: JoinSet<Result<(), StoreError>>,
}

impl<'a> Settling<'a> {
    pub(super) fn new(ingest: &'a Ingest, batch: &'a ClaimedBatch) -> Self {
        Self { ingest, batch, chunk: Vec::new(), chunk_bytes: 0, running: JoinSet::new() }
    }

    /// Takes one more result; waits only if a whole chunk is gathered before the one in front of it is settled.
    pub(super) async fn push(&mut self, id: DeferralId, result: ItemResult) -> Result<(), StoreError> {
        self.chunk_bytes += weight(&result);
        self.chunk.push((id, result));
        if self.chunk.len() < CHUNK_RESULTS && self.chunk_bytes < CHUNK_BYTES {
            return Ok(());
        }
        self.settled().await?;
        let (ingest, batch) = (self.ingest.clone(), self.batch.clone());
        let chunk = std::mem::take(&mut self.chunk);
        self.chunk_bytes = 0;
        self.running.spawn(async move { ingest.settle(&batch, chunk).await });
        Ok(())
    }

    /// Settles what is left.
    pub(super) async fn finish(mut self) -> Result<(), StoreError> {
        self.settled().await?;
        self.ingest.settle(self.batch, self.chunk).await
    }

    /// Waits for the chunk that is under way.
    async fn settled(&mut self) -> Result<(), StoreError> {
        match self.running.join_next().await {
            Some(Ok(outcome)) => outcome,
            // It was not canceled: a panic goes on to where it would be without a task of its own.
            Some(Err(join)) => std::panic::resume_unwind(join.into_panic()),
            None => Ok(()),
        }
    }
}

fn weight(result: &ItemResult) -> usize {
    match result {
        ItemResult::Succeeded(text) | ItemResult::Errored(text) => text.len(),
        ItemResult::Canceled | ItemResult::Expired => 0,
    }
}
