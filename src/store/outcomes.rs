//! Outcomes: what came back is brought in once, in chunks, with its ledger entry in the same transaction.

use std::collections::HashSet;

use crate::clock::Timestamp;
use crate::domain::deferral::{Answer, Cost, ServedBy, State};
use crate::domain::id::{BatchId, DeferralId};
use crate::domain::usage::Tokens;
use crate::store::engine::{read, write};
use crate::store::finish::{Final, Finish as _};
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
    ($tx:ident, $id:expr, $kind:literal, $served_by:expr, $bill:expr, $now:expr) => {
        sqlx::query(
            "insert into entry (deferral_id, kind, tenant, workload, model, served_by, settled_at, input_tokens,
                 output_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, paid_nanousd,
                 live_nanousd)
             select id, $2, tenant, workload, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 from deferral where id = $1
             on conflict (deferral_id, kind) do nothing",
        )
        .bind($id)
        .bind($kind)
        .bind(&$bill.model)
        .bind($served_by)
        .bind($now)
        .bind(count($bill.tokens.input))
        .bind(count($bill.tokens.output))
        .bind(count($bill.tokens.cache_write_5m))
        .bind(count($bill.tokens.cache_write_1h))
        .bind(count($bill.tokens.cache_read))
        .bind($bill.cost.map(|cost| cost.paid))
        .bind($bill.cost.map(|cost| cost.live_price))
        .execute(&mut *$tx)
        .await?
    };
}

pub(super) use {insert_entry, insert_outcome};

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

/// What goes into the ledger for one answer.
#[derive(Clone, Debug)]
pub struct Bill {
    /// The model that answered.
    pub model: String,
    /// What it took.
    pub tokens: Tokens,
    /// What it cost, where the model has a known price.
    pub cost: Option<Cost>,
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

    /// The member of the batch with this id, if it still waits for its result.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn open_member(&self, batch: BatchId, id: DeferralId) -> Result<Option<Member>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_as(
                "select id, attempts, deadline_at, cancel_requested from deferral
                 where batch_id = $1 and state = 'batched' and id = $2",
            )
            .bind(batch)
            .bind(id)
            .fetch_optional(tx)
            .await?
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
        let mut seen = HashSet::with_capacity(settlements.len());
        // Of a member that comes twice the first word counts.
        for Settlement { id, verdict } in settlements.iter().filter(|settlement| seen.insert(settlement.id)) {
            match verdict {
                Verdict::Final { state, answer, bill } => {
                    let packed = self.pack(*id, &answer.body)?;
                    finals.push(Final { id: *id, state: *state, status: answer.status, packed, bill: bill.as_ref() });
                }
                Verdict::Again { result, detail, queued_at } => again.push((*id, *result, detail, Some(*queued_at))),
                Verdict::Rescue { result, detail } => again.push((*id, *result, detail, None)),
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
                    insert_entry!(tx, id, "late", ServedBy::Batch, bill, now);
                }
            }
            for (id, result, detail, queued_at) in again {
                let number: Option<i32> = sqlx::query_scalar(
                    "select attempts from deferral where id = $1 and batch_id = $2 and state = 'batched'",
                )
                .bind(id)
                .bind(batch)
                .fetch_optional(&mut *tx)
                .await?;
                let state = if queued_at.is_some() { State::Queued } else { State::Rescuing };
                let moved = sqlx::query(
                    "update deferral set state = $3, batch_id = null, queued_at = coalesce($4, queued_at),
                         rescue_due_at = case when $3 = 'rescuing' then $5 else rescue_due_at end,
                         attempts = attempts + case when $3 = 'rescuing' then 1 else 0 end
                     where id = $1 and batch_id = $2 and state = 'batched'",
                )
                .bind(id)
                .bind(batch)
                .bind(state)
                .bind(queued_at)
                .bind(now)
                .execute(&mut *tx)
                .await?
                .rows_affected() == 1;
                if let Some(number) = number.filter(|_| moved) {
                    sqlx::query(
                        "insert into attempt (deferral_id, number, batch_id, result, detail, ended_at)
                         values ($1, $2, $3, $4, $5, $6) on conflict (deferral_id, number) do nothing",
                    )
                    .bind(id)
                    .bind(number)
                    .bind(batch)
                    .bind(result)
                    .bind(detail)
                    .bind(now)
                    .execute(&mut *tx)
                    .await?;
                }
            }
            fresh.into_iter().collect()
        }))
    }
}

pub(super) fn count(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}
