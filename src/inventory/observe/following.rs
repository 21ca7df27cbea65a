//! Following: deferrals are recorded when they have become final, in the order of the feed.

use tokio::time::Instant;

use super::{Inventory, Office};
use crate::domain::charge::charges;
use crate::domain::deferral::ServedBy;
use crate::domain::record::{CallRecord, Way};
use crate::domain::tally::{Recorded, last_seen, tally};
use crate::domain::workload::WorkloadId;
use crate::inventory::answer;
use crate::inventory::placing::Pending;
use crate::inventory::reading::{By, client, fill_in};
use crate::store::{Bundle, StoreError, Unrecorded};

/// Deferrals that are read before others have a turn on the thread: less than a millisecond of them.
const STRETCH: usize = 16;

impl Inventory {
    /// One bite: records deferrals that have become final, within its share of the time. Says whether there may be more.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn follow(&self) -> Result<bool, StoreError> {
        if !self.0.settings.enabled || !self.has_time().await {
            return Ok(false);
        }
        let (from, reach, found) = self.0.store.unrecorded().await?;
        let Some(to) = reach else { return Ok(false) };
        let pending = self.read_deferrals(&found).await;
        let mut writing = self.0.writing.lock().await;
        let calls = self.placed(&mut writing.places, &pending).await?;
        let (hours, seen, charges) = (tally(&calls), last_seen(&calls), charges(&calls));
        let now = self.0.reader.clock.now();
        let bundle = Bundle { calls: &calls, hours: &hours, seen: &seen, charges: &charges, now };
        if self.0.store.record_deferrals(from, to, bundle).await? {
            self.0.metrics.records_written(calls.len());
        }
        Ok(true)
    }

    async fn has_time(&self) -> bool {
        let mut reading = self.0.reading.lock().await;
        reading.time.grow(Instant::now());
        reading.time.is_left()
    }

    async fn read_deferrals(&self, found: &[Unrecorded]) -> Vec<Pending> {
        let begin = Instant::now();
        let mut pending = Vec::with_capacity(found.len());
        for (index, deferral) in found.iter().enumerate() {
            pending.push(self.read_deferral(deferral));
            if index % STRETCH == STRETCH - 1 {
                tokio::task::yield_now().await;
            }
        }
        self.0.reading.lock().await.time.spend(begin.elapsed());
        pending
    }

    fn read_deferral(&self, deferral: &Unrecorded) -> Pending {
        let Office { reader, prices, .. } = &*self.0;
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
            rule: deferral.rule.clone(),
            tokens: deferral.tokens,
            cost: deferral.cost,
            fees: prices.table().web_search(deferral.cost.map_or(0, |_| deferral.web_searches)),
            status: deferral.answer.status,
            request_bytes: deferral.text.len() as u64,
            answer_bytes: deferral.answer.body.len() as u64,
            duration_ms: deferral.completed_at.since(deferral.accepted_at).as_millis().try_into().unwrap_or(u64::MAX),
            hung_up: deferral.hung_up,
            retries: deferral.retries,
            client: client(user_agent),
            tool_stop: answer::of_message(&deferral.answer.body).tool_stop,
            ..CallRecord::default()
        };
        fill_in(&mut record, shape.as_ref());
        record.model.clone_from(&deferral.model);
        // Its text in a batch does not say that.
        record.stream = deferral.stream;
        record.blocked_by = None;
        let belongs = reader.belongs(deferral.workload.clone(), shape.as_ref(), &by);
        let id = WorkloadId::of(*deferral.id.0.as_bytes()).0 ^ low(deferral.id.0.as_u128());
        let is_unread = shape.is_none();
        Pending { recorded: Recorded { record, id, workload: WorkloadId(0), is_unread, charges: Vec::new() }, belongs }
    }
}

fn low(id: u128) -> i64 {
    (id as u64).cast_signed()
}
