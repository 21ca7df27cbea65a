//! Outcomes: what came back is brought in once, in chunks, with its ledger entry in the same transaction.

use std::collections::{HashMap, HashSet};

use sqlx::QueryBuilder;

use crate::clock::Timestamp;
use crate::domain::batch::CacheEffect;
use crate::domain::deferral::{Answer, ServedBy, State};
use crate::domain::id::{BatchId, DeferralId};
use crate::domain::ledger::{Bill, EntryKind};
use crate::store::caching::count_caching;
use crate::store::engine::{read, write};
use crate::store::feed::Complete as _;
use crate::store::finish::{Final, Finish as _};
use crate::store::packing::STRETCH_BYTES;
use crate::store::{Store, StoreError};

/// Writes what came back for one deferral, once.
macro_rules! insert_outcome {
    ($tx:ident, $id:expr, $status:expr, $packed:expr, $now:expr) => {
        sqlx::query(
            "insert into outcome (deferral_id, status, codec, body, received_at) values ($1, $2, $3, $4, $5)
             on conflict (deferral_id) do nothing",
        )
        .bind($id)
        .bind(i32::from($status))
        .bind($packed.codec)
        .bind(&$packed.body)
        .bind($now)
        .execute(&mut *$tx)
        .await?
    };
}

/// Writes one deferral's line of the ledger, once for each kind.
macro_rules! insert_entry {
    ($tx:ident, $id:expr, $kind:expr, $served_by:expr, $bill:expr, $now:expr) => {{
        let (tokens, usage, price) = ($bill.billed.tokens(), &$bill.billed.usage, $bill.price);
        sqlx::query(
            "insert into entry (deferral_id, kind, tenant, workload, model, served_by, settled_at, input_tokens,
                 output_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, web_searches, us_only,
                 fast, passes, paid_nanousd, live_nanousd, uncached_nanousd, marked)
             select id, $2, tenant, workload, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                 cache_place is not null
             from deferral where id = $1
             on conflict (deferral_id, kind) do nothing",
        )
        .bind($id)
        .bind($kind)
        .bind(&$bill.billed.model)
        .bind($served_by)
        .bind($now)
        .bind(count(tokens.input))
        .bind(count(tokens.output))
        .bind(count(tokens.cache_write_5m))
        .bind(count(tokens.cache_write_1h))
        .bind(count(tokens.cache_read))
        .bind(count(usage.web_searches))
        .bind(usage.us_only)
        .bind(usage.fast)
        .bind($bill.billed.passes_apart())
        .bind(price.map(|price| price.paid))
        .bind(price.map(|price| price.live))
        .bind(price.map(|price| price.uncached))
        .execute(&mut *$tx)
        .await?
    }};
}

pub(super) use {insert_entry, insert_outcome};

/// Takes members out of their batch, back into the queue or to be sent live, and notes the attempt.
macro_rules! send_back {
    ($tx:ident, $batch:expr, $returned:expr, $now:expr) => {
        for some in $returned.chunks(RETURNED_ROWS) {
            let mut update = QueryBuilder::new(
                "update deferral set batch_id = null, queued_at = coalesce(column2, queued_at),
                     state = case when column2 is null then 'rescuing' else 'queued' end,
                     attempts = attempts + case when column2 is null then 1 else 0 end,
                     rescue_due_at = case when column2 is null then ",
            );
            update.push_bind($now).push(" else rescue_due_at end from (");
            update.push_values(some, |mut row, each| {
                row.push_bind(each.id).push_bind(each.queued_at);
            });
            update.push(") as back where id = column1 and state = 'batched' and batch_id = ").push_bind($batch);
            update.push(" returning id, attempts - case when state = 'rescuing' then 1 else 0 end");
            let moved: Vec<(DeferralId, i32)> = update.build_query_as().fetch_all(&mut *$tx).await?;
            if moved.is_empty() {
                continue;
            }
            let came: HashMap<DeferralId, &Returned<'_>> = some.iter().map(|each| (each.id, each)).collect();
            let mut insert =
                QueryBuilder::new("insert into attempt (deferral_id, number, batch_id, result, detail, ended_at) ");
            insert.push_values(moved, |mut row, (id, number)| {
                let each = came.get(&id);
                row.push_bind(id).push_bind(number).push_bind($batch);
                row.push_bind(each.map(|each| each.result)).push_bind(each.and_then(|each| each.detail));
                row.push_bind($now);
            });
            insert.push(" on conflict (deferral_id, number) do nothing").build().execute(&mut *$tx).await?;
        }
    };
}

/// Members that are sent back by one statement; far below the 32,766 parameters that SQLite allows.
const RETURNED_ROWS: usize = 500;

/// What is decided for one member of a batch.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The member.
    pub id: DeferralId,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// What becomes of a deferral whose batch has come back.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is final.
    Final {
        /// One of the final states.
        state: State,
        /// What its caller gets.
        answer: Answer,
        /// What it took, if it was billed.
        bill: Option<Bill>,
    },
    /// It goes back into the queue.
    Again {
        /// What this attempt came to, in a word.
        result: &'static str,
        /// The provider's error type, where there is one.
        detail: Option<String>,
        /// From when on it may be put into a batch.
        queued_at: Timestamp,
    },
    /// It is sent live.
    Rescue {
        /// What this attempt came to, in a word.
        result: &'static str,
        /// The provider's error type, where there is one.
        detail: Option<String>,
    },
}

/// What deciding over a member needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Member {
    /// The deferral.
    pub id: DeferralId,
    /// How often it was submitted.
    pub attempts: i32,
    /// When its result is wanted.
    pub deadline_at: Timestamp,
    /// Whether its caller has asked to cancel it.
    pub cancel_requested: bool,
}

impl Store {
    /// Members of the batch that have neither a result nor a new place in the queue, after `after` in the order of ids.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn open_members(
        &self,
        batch: BatchId,
        after: Option<DeferralId>,
        limit: u32,
    ) -> Result<Vec<Member>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_as(
                "select id, attempts, deadline_at, cancel_requested from deferral
                 where batch_id = $1 and state = 'batched' and id > $2 order by id limit $3",
            )
            .bind(batch)
            .bind(after.unwrap_or(DeferralId(uuid::Uuid::nil())))
            .bind(i64::from(limit))
            .fetch_all(tx)
            .await?
        }))
    }

    /// Those of these members of the batch that still wait for their result.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn open_members_among(&self, batch: BatchId, ids: &[DeferralId]) -> Result<Vec<Member>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        Ok(read!(self, tx => {
            let mut select = QueryBuilder::new("select id, attempts, deadline_at, cancel_requested from deferral");
            select.push(" where state = 'batched' and batch_id = ").push_bind(batch).push(" and id in (");
            let mut list = select.separated(", ");
            for id in ids {
                list.push_bind(*id);
            }
            select.push(")").build_query_as().fetch_all(tx).await?
        }))
    }

    /// Settles members of a batch in one transaction; says which became final now.
    ///
    /// Running it twice changes nothing: only a member that is still in this batch is touched, and only a change
    /// writes an outcome and an entry.
    ///
    /// # Errors
    /// If the store is unavailable; then nothing was changed.
    pub async fn settle(
        &self,
        batch: BatchId,
        settlements: &[Settlement],
        now: Timestamp,
    ) -> Result<Vec<DeferralId>, StoreError> {
        let mut finals = Vec::new();
        let mut again = Vec::new();
        let mut stretch = 0;
        let mut seen = HashSet::with_capacity(settlements.len());
        // Of a member that comes twice the first word counts.
        for Settlement { id, verdict } in settlements.iter().filter(|settlement| seen.insert(settlement.id)) {
            match verdict {
                Verdict::Final { state, answer, bill } => {
                    let packed = self.pack(*id, &answer.body)?;
                    stretch += answer.body.len();
                    if stretch >= STRETCH_BYTES {
                        stretch = 0;
                        tokio::task::yield_now().await;
                    }
                    finals.push(Final { id: *id, state: *state, status: answer.status, packed, bill: bill.as_ref() });
                }
                Verdict::Again { result, detail, queued_at } => {
                    again.push(Returned { id: *id, result, detail: detail.as_deref(), queued_at: Some(*queued_at) });
                }
                Verdict::Rescue { result, detail } => {
                    again.push(Returned { id: *id, result, detail: detail.as_deref(), queued_at: None });
                }
            }
        }
        Ok(write!(self, tx => {
            let fresh: HashSet<DeferralId> = tx.finish(batch, &finals, now).await?.into_iter().collect();
            let came_late = finals.iter().filter(|each| !fresh.contains(&each.id));
            for (id, bill) in came_late.filter_map(|each| each.bill.map(|bill| (each.id, bill))) {
                let is_late: Option<i32> = sqlx::query_scalar(
                    "select 1 from deferral
                     where id = $1 and batch_id = $2 and completed_at is not null
                       and (served_by is null or served_by <> 'batch')",
                )
                .bind(id)
                .bind(batch)
                .fetch_optional(&mut *tx)
                .await?;
                if is_late.is_some() {
                    insert_entry!(tx, id, EntryKind::Late, ServedBy::Batch, bill, now);
                }
            }
            let bills = finals.iter().filter(|each| fresh.contains(&each.id)).filter_map(|each| each.bill);
            let effect = bills.map(CacheEffect::of).fold(CacheEffect::default(), CacheEffect::plus);
            if effect != CacheEffect::default() {
                count_caching!(tx, batch, effect);
            }
            send_back!(tx, batch, again, now);
            // Always in the same order, however they came.
            let mut fresh: Vec<DeferralId> = fresh.into_iter().collect();
            fresh.sort_unstable();
            tx.complete(&fresh, now).await?;
            fresh
        }))
    }
}

/// A member without a final result; to be sent live where it has no new place in the queue.
struct Returned<'a> {
    id: DeferralId,
    result: &'static str,
    detail: Option<&'a str>,
    queued_at: Option<Timestamp>,
}

pub(super) fn count(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}
