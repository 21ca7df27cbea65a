//! Batches: chosen, claimed and moved on. A claim is a lease: it lapses by itself, and its fence keeps latecomers out.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::batch::{Batch, BatchState, CacheEffect};
use crate::domain::caching::Place;
use crate::domain::id::{BatchId, DeferralId};
use crate::domain::money::NanoUsd;
use crate::store::engine::{Dialect, read, write};
use crate::store::lanes::LaneId;
use crate::store::packing::{Packed, STRETCH_BYTES};
use crate::store::partitions::IdSpan;
use crate::store::{Store, StoreError};

/// Items read at once while a batch is sent; whichever of the two is met first. The bytes are those of the items as
/// they were accepted: packed, a hundred large ones can be next to nothing.
const PAGE_ITEMS: i64 = 500;
const PAGE_BYTES: i64 = 4_000_000;

/// What one batch may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls.
    pub requests: usize,
    /// Bytes of their items, envelope included.
    pub bytes: u64,
    /// Bytes that the envelope adds to each item.
    pub bytes_per_item: u64,
}

/// The right to move a batch on, until its lease lapses or another claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The batch.
    pub batch: BatchId,
    pub(super) fence: i64,
}

/// A batch with the claim on it.
#[derive(Clone, Debug)]
pub struct ClaimedBatch {
    /// The right to move it on.
    pub claim: Claim,
    /// What it is sent with.
    pub lane: LaneId,
    /// The provider's id, once it is known.
    pub provider_id: Option<String>,
    /// How many calls it carries.
    pub item_count: u32,
    /// Their bytes.
    pub item_bytes: u64,
    /// When it was, or may have been, sent.
    pub sent_at: Option<Timestamp>,
    /// Since when nobody waits for the answer to its creation any more.
    pub doubted_at: Option<Timestamp>,
    /// When the provider was known to have it.
    pub submitted_at: Option<Timestamp>,
    /// How often it was looked at in its present state.
    pub looks: u32,
    /// Whether its id is out of the provider's list, and not yet confirmed by its results.
    pub adopted: bool,
    /// Whether the provider was asked to stop it.
    pub cancel_requested: bool,
}

/// One call of a batch, as it goes into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedItem {
    /// The deferral, whose id is the `custom_id`.
    pub id: DeferralId,
    /// The caller's text.
    pub text: String,
    /// Where its prompt is marked for caching on the way.
    pub mark: Option<Place>,
}

#[derive(sqlx::FromRow)]
struct BatchRow {
    id: BatchId,
    fence: i64,
    lane_id: LaneId,
    provider_id: Option<String>,
    item_count: i32,
    item_bytes: i64,
    sent_at: Option<Timestamp>,
    doubted_at: Option<Timestamp>,
    submitted_at: Option<Timestamp>,
    looks: i32,
    adopted: bool,
    cancel_requested: bool,
}

impl From<BatchRow> for ClaimedBatch {
    fn from(row: BatchRow) -> Self {
        Self {
            claim: Claim { batch: row.id, fence: row.fence },
            lane: row.lane_id,
            provider_id: row.provider_id,
            item_count: row.item_count.unsigned_abs(),
            item_bytes: row.item_bytes.unsigned_abs(),
            sent_at: row.sent_at,
            doubted_at: row.doubted_at,
            submitted_at: row.submitted_at,
            looks: row.looks.unsigned_abs(),
            adopted: row.adopted,
            cancel_requested: row.cancel_requested,
        }
    }
}

impl Store {
    /// Puts the calls at the head of a lane into a new batch, within the limits, and claims it; `None` if none waits.
    ///
    /// The first call is taken however large it is, so that it cannot stand in the way for ever.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn build_batch(
        &self,
        id: BatchId,
        lane: LaneId,
        limits: Limits,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Option<ClaimedBatch>, StoreError> {
        let row: Option<BatchRow> = write!(self, tx => {
            let taken = sqlx::query(tx.text(TAKE_SQLITE, TAKE_POSTGRES))
                .bind(id)
                .bind(lane)
                .bind(now)
                .bind(i64::try_from(limits.requests).unwrap_or(i64::MAX))
                .bind(i64::try_from(limits.bytes_per_item).unwrap_or(i64::MAX))
                .bind(i64::try_from(limits.bytes).unwrap_or(i64::MAX))
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if taken == 0 {
                None
            } else {
                sqlx::query_as(
                    "insert into batch (id, lane_id, tenant, state, item_count, item_bytes, built_at, due_at, fence)
                     select $1, $2, (select tenant from lane where id = $2), 'building',
                         cast(count(*) as integer), sum(body_bytes + mark_bytes), $3, $4, 1
                     from deferral where batch_id = $1 and state = 'batched'
                     returning id, fence, lane_id, provider_id, item_count, item_bytes, sent_at, doubted_at, submitted_at, looks,
         adopted, cancel_requested",
                )
                .bind(id)
                .bind(lane)
                .bind(now)
                .bind(now.plus(lease))
                .fetch_optional(tx)
                .await?
            }
        });
        Ok(row.map(ClaimedBatch::from))
    }

    /// Claims batches of one state that are due, the longest due first.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn claim_batches(
        &self,
        state: BatchState,
        now: Timestamp,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<ClaimedBatch>, StoreError> {
        let rows: Vec<BatchRow> = write!(self, tx => {
            sqlx::query_as(tx.text(CLAIM_SQLITE, CLAIM_POSTGRES))
                .bind(state)
                .bind(now)
                .bind(now.plus(lease))
                .bind(i64::from(limit))
                .fetch_all(tx)
                .await?
        });
        Ok(rows.into_iter().map(ClaimedBatch::from).collect())
    }

    /// Holds the claim until `until`; false if another has it by now.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn renew(&self, claim: Claim, until: Timestamp) -> Result<bool, StoreError> {
        self.release(claim, until).await
    }

    /// Lets go of the claim; the batch is looked at again from `due` on. False if another has it by now.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn release(&self, claim: Claim, due: Timestamp) -> Result<bool, StoreError> {
        Ok(write!(self, tx => {
            sqlx::query("update batch set due_at = $3 where id = $1 and fence = $2")
                .bind(claim.batch)
                .bind(claim.fence)
                .bind(due)
                .execute(tx)
                .await?
                .rows_affected() == 1
        }))
    }

    /// The next items of a batch in the order of their ids, as many as one page holds; none is the end.
    ///
    /// # Errors
    /// If the store is unavailable or an item does not unpack.
    pub async fn batch_items(&self, batch: BatchId, after: Option<DeferralId>) -> Result<Vec<QueuedItem>, StoreError> {
        let mut items = Vec::new();
        let (mut bytes, mut stretch) = (0, 0);
        read!(self, tx => {
            use futures_util::TryStreamExt as _;
            let after = after.unwrap_or(IdSpan::ALL.first);
            let mut span = IdSpan::ALL;
            if self.engine.has_partitions() {
                let ids: Vec<DeferralId> = sqlx::query_scalar(
                    "select id from deferral where batch_id = $1 and state = 'batched' and id > $2 order by id limit $3",
                )
                .bind(batch)
                .bind(after)
                .bind(PAGE_ITEMS)
                .fetch_all(&mut *tx)
                .await?;
                span = IdSpan::of(ids.into_iter());
            }
            let mut rows = sqlx::query_as::<_, (DeferralId, i32, Option<i16>, i16, Vec<u8>)>(
                // Each body is looked up by itself: of a join PostgreSQL may make a comparison of each with each, where it
                // believes that there is one.
                "select id, body_bytes, cache_place,
                     (select codec from payload where deferral_id = deferral.id and deferral_id >= $3 and deferral_id <= $4),
                     (select body from payload where deferral_id = deferral.id and deferral_id >= $3 and deferral_id <= $4)
                 from deferral
                 where batch_id = $1 and state = 'batched' and id > $2 and id <= $4
                 order by id limit $5",
            )
            .bind(batch)
            .bind(after)
            .bind(span.first)
            .bind(span.last)
            .bind(PAGE_ITEMS)
            .fetch(&mut *tx);
            while let Some((id, body_bytes, place, codec, body)) = rows.try_next().await? {
                // Unpacked while the next rows are read: whoever waits for each row has to be woken for each.
                let text = self.unpack(id, &Packed { codec, body })?;
                bytes += i64::from(body_bytes);
                stretch += text.len();
                items.push(QueuedItem { id, text, mark: place.and_then(Place::of) });
                if bytes >= PAGE_BYTES {
                    break;
                }
                if stretch >= STRETCH_BYTES {
                    stretch = 0;
                    tokio::task::yield_now().await;
                }
            }
        });
        Ok(items)
    }

    /// How many batches are under way, by state.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn batches_under_way(&self) -> Result<Vec<(BatchState, u64)>, StoreError> {
        let counts: Vec<(BatchState, i64)> = read!(self, tx => {
            sqlx::query_as(
                "select state, count(*) from batch
                 where state in ('building', 'uncertain', 'submitted', 'ended') group by state order by state",
            )
            .fetch_all(tx)
            .await?
        });
        Ok(counts.into_iter().map(|(state, count)| (state, count.unsigned_abs())).collect())
    }

    /// The newest batches, for an operator.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn batches(&self, limit: u32) -> Result<Vec<Batch>, StoreError> {
        let rows: Vec<BatchView> = read!(self, tx => {
            sqlx::query_as(
                "select id, provider_id, tenant, state, item_count, item_bytes, built_at, submitted_at, ended_at,
                     ingested_at, cache_read_tokens, cache_write_tokens, cache_gain_nanousd
                 from batch order by id desc limit $1",
            )
            .bind(i64::from(limit))
            .fetch_all(tx)
            .await?
        });
        Ok(rows.into_iter().map(Batch::from).collect())
    }
}

#[derive(sqlx::FromRow)]
struct BatchView {
    id: BatchId,
    provider_id: Option<String>,
    tenant: String,
    state: BatchState,
    item_count: i32,
    item_bytes: i64,
    built_at: Timestamp,
    submitted_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    ingested_at: Option<Timestamp>,
    cache_read_tokens: i64,
    cache_write_tokens: i64,
    cache_gain_nanousd: NanoUsd,
}

impl From<BatchView> for Batch {
    fn from(row: BatchView) -> Self {
        Self {
            id: row.id,
            provider_id: row.provider_id,
            tenant: row.tenant,
            state: row.state,
            item_count: row.item_count.unsigned_abs(),
            item_bytes: row.item_bytes.unsigned_abs(),
            built_at: row.built_at,
            submitted_at: row.submitted_at,
            ended_at: row.ended_at,
            ingested_at: row.ingested_at,
            cache: CacheEffect {
                read_tokens: row.cache_read_tokens.unsigned_abs(),
                write_tokens: row.cache_write_tokens.unsigned_abs(),
                gain: row.cache_gain_nanousd,
            },
        }
    }
}

/// Takes the head of a lane: $1 batch, $2 lane, $3 now, $4 calls, $5 bytes that an item adds, $6 bytes in all.
const TAKE_SQLITE: &str = "
    update deferral set state = 'batched', batch_id = $1, attempts = attempts + 1
    where state = 'queued' and id in (
        select id from (
            select id, sum(item_bytes + $5) over ahead as bytes, row_number() over ahead as place
            from (select id, queued_at, body_bytes + mark_bytes as item_bytes from deferral
                  where lane_id = $2 and state = 'queued' and queued_at <= $3 and not cancel_requested order by queued_at, id limit $4) as head
            window ahead as (order by queued_at, id rows unbounded preceding)) as counted
        where bytes <= $6 or place = 1)";

const TAKE_POSTGRES: &str = "
    update deferral set state = 'batched', batch_id = $1, attempts = attempts + 1
    where state = 'queued' and id in (
        select id from (
            select id, sum(item_bytes + $5) over ahead as bytes, row_number() over ahead as place
            from (select id, queued_at, body_bytes + mark_bytes as item_bytes from deferral
                  where lane_id = $2 and state = 'queued' and queued_at <= $3 and not cancel_requested order by queued_at, id limit $4
                  for update skip locked) as head
            window ahead as (order by queued_at, id rows unbounded preceding)) as counted
        where bytes <= $6 or place = 1)";

/// Claims due batches: $1 state, $2 now, $3 until when, $4 how many.
const CLAIM_SQLITE: &str = "
    update batch set due_at = $3, fence = fence + 1
    where id in (select id from batch where state = $1 and due_at <= $2 order by due_at limit $4)
    returning id, fence, lane_id, provider_id, item_count, item_bytes, sent_at, doubted_at, submitted_at, looks,
         adopted, cancel_requested";

const CLAIM_POSTGRES: &str = "
    update batch set due_at = $3, fence = fence + 1
    where id in (select id from batch where state = $1 and due_at <= $2 order by due_at limit $4
                 for update skip locked)
    returning id, fence, lane_id, provider_id, item_count, item_bytes, sent_at, doubted_at, submitted_at, looks,
         adopted, cancel_requested";
