//! Outcomes: what came back is brought in once, in chunks, with its ledger entry in the same transaction.

use std::collections::HashSet;

use sqlx::{PgConnection, QueryBuilder, SqliteConnection};

use crate::clock::Timestamp;
use crate::domain::deferral::{Answer, Cost, ServedBy, State};
use crate::domain::id::{BatchId, DeferralId};
use crate::domain::usage::Tokens;
use crate::store::engine::{read, write};
use crate::store::packing::Packed;
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

struct Final<'a> {
    id: DeferralId,
    state: State,
    status: u16,
    packed: Packed,
    bill: Option<&'a Bill>,
}

impl Final<'_> {
    fn served_by(&self) -> Option<ServedBy> {
        matches!(self.state, State::Succeeded | State::Failed).then_some(ServedBy::Batch)
    }
}

/// Makes members final: state, outcome and entry.
trait Finish {
    async fn finish(
        &mut self,
        batch: BatchId,
        finals: &[Final<'_>],
        now: Timestamp,
    ) -> Result<Vec<DeferralId>, sqlx::Error>;
}

impl Finish for SqliteConnection {
    async fn finish(
        &mut self,
        batch: BatchId,
        finals: &[Final<'_>],
        now: Timestamp,
    ) -> Result<Vec<DeferralId>, sqlx::Error> {
        let mut changed = Vec::with_capacity(finals.len());
        for some in finals.chunks(SQLITE_ROWS) {
            let mut update =
                QueryBuilder::new("update deferral set state = column2, served_by = column3, lane_id = null");
            update.push(", completed_at = ").push_bind(now).push(" from (");
            update.push_values(some, |mut row, each| {
                row.push_bind(each.id).push_bind(each.state).push_bind(each.served_by());
            });
            update.push(") where id = column1 and batch_id = ").push_bind(batch);
            update.push(" and (state = 'batched' or (state = 'rescuing' and column2 = 'succeeded')) returning id");
            let fresh: Vec<DeferralId> = update.build_query_scalar().fetch_all(&mut *self).await?;
            let is_fresh: HashSet<DeferralId> = fresh.iter().copied().collect();
            let came: Vec<&Final<'_>> = some.iter().filter(|each| is_fresh.contains(&each.id)).collect();
            self.insert_outcomes(&came, now).await?;
            self.insert_entries(&came, now).await?;
            changed.extend(fresh);
        }
        Ok(changed)
    }
}

/// Rows in one statement on SQLite: each statement is a walk to the connection's thread and back.
const SQLITE_ROWS: usize = 100;

/// What [`Finish`] writes beside the state, many rows in one statement.
trait InsertFinals {
    async fn insert_outcomes(&mut self, finals: &[&Final<'_>], now: Timestamp) -> Result<(), sqlx::Error>;
    async fn insert_entries(&mut self, finals: &[&Final<'_>], now: Timestamp) -> Result<(), sqlx::Error>;
}

impl InsertFinals for SqliteConnection {
    async fn insert_outcomes(&mut self, finals: &[&Final<'_>], now: Timestamp) -> Result<(), sqlx::Error> {
        if finals.is_empty() {
            return Ok(());
        }
        let mut insert = QueryBuilder::new("insert into outcome (deferral_id, status, codec, body, received_at) ");
        insert.push_values(finals, |mut row, each| {
            row.push_bind(each.id).push_bind(i32::from(each.status));
            row.push_bind(each.packed.codec).push_bind(each.packed.body.as_slice()).push_bind(now);
        });
        insert.push(" on conflict (deferral_id) do nothing").build().execute(self).await.map(drop)
    }

    async fn insert_entries(&mut self, finals: &[&Final<'_>], now: Timestamp) -> Result<(), sqlx::Error> {
        let billed: Vec<(DeferralId, &Bill)> =
            finals.iter().filter_map(|each| each.bill.map(|bill| (each.id, bill))).collect();
        if billed.is_empty() {
            return Ok(());
        }
        let mut insert = QueryBuilder::new(
            "insert into entry (deferral_id, kind, tenant, workload, model, served_by, settled_at, input_tokens,
                 output_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, paid_nanousd,
                 live_nanousd)
             select id, 'answer', tenant, workload, column2, 'batch', ",
        );
        insert.push_bind(now);
        insert.push(", column3, column4, column5, column6, column7, column8, column9 from (");
        insert.push_values(billed, |mut row, (id, bill)| {
            row.push_bind(id).push_bind(&bill.model);
            row.push_bind(count(bill.tokens.input)).push_bind(count(bill.tokens.output));
            row.push_bind(count(bill.tokens.cache_write_5m)).push_bind(count(bill.tokens.cache_write_1h));
            row.push_bind(count(bill.tokens.cache_read));
            row.push_bind(bill.cost.map(|cost| cost.paid)).push_bind(bill.cost.map(|cost| cost.live_price));
        });
        // Without a condition of its own the select would take the next `on` for one.
        insert.push(") join deferral on id = column1 where true on conflict (deferral_id, kind) do nothing");
        insert.build().execute(self).await.map(drop)
    }
}

impl Finish for PgConnection {
    async fn finish(
        &mut self,
        batch: BatchId,
        finals: &[Final<'_>],
        now: Timestamp,
    ) -> Result<Vec<DeferralId>, sqlx::Error> {
        fn column<'a, T>(finals: &[&'a Final<'a>], value: impl Fn(&'a Final<'a>) -> T) -> Vec<T> {
            finals.iter().map(|each| value(each)).collect()
        }
        let all: Vec<&Final<'_>> = finals.iter().collect();
        let changed: Vec<DeferralId> = sqlx::query_scalar(
            "update deferral set state = done.state, completed_at = $5, served_by = done.served_by, lane_id = null
             from unnest($2::uuid[], $3::text[], $4::text[]) as done (id, state, served_by)
             where deferral.id = done.id and deferral.batch_id = $1
               and (deferral.state = 'batched' or (deferral.state = 'rescuing' and done.state = 'succeeded'))
             returning deferral.id",
        )
        .bind(batch)
        .bind(column(&all, |each| each.id))
        .bind(column(&all, |each| each.state.as_str()))
        .bind(column(&all, |each| each.served_by().map(|_| "batch")))
        .bind(now)
        .fetch_all(&mut *self)
        .await?;
        let changed_set: HashSet<DeferralId> = changed.iter().copied().collect();
        let fresh: Vec<&Final<'_>> = finals.iter().filter(|each| changed_set.contains(&each.id)).collect();
        sqlx::query(
            "insert into outcome (deferral_id, status, codec, body, received_at)
             select id, status, codec, body, $5
             from unnest($1::uuid[], $2::integer[], $3::smallint[], $4::bytea[]) as came (id, status, codec, body)
             on conflict (deferral_id) do nothing",
        )
        .bind(column(&fresh, |each| each.id))
        .bind(column(&fresh, |each| i32::from(each.status)))
        .bind(column(&fresh, |each| each.packed.codec))
        .bind(column(&fresh, |each| each.packed.body.as_slice()))
        .bind(now)
        .execute(&mut *self)
        .await?;
        let billed: Vec<(DeferralId, &Bill)> =
            fresh.iter().filter_map(|each| each.bill.map(|bill| (each.id, bill))).collect();
        let tokens = |class: fn(&Tokens) -> u64| -> Vec<i64> {
            billed.iter().map(|(_, bill)| count(class(&bill.tokens))).collect()
        };
        sqlx::query(
            "insert into entry (deferral_id, kind, tenant, workload, model, served_by, settled_at, input_tokens,
                 output_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, paid_nanousd,
                 live_nanousd)
             select deferral.id, 'answer', tenant, workload, bill.model, 'batch', $10, input, output, write_5m, write_1h, reads,
                 paid, live
             from unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                 $8::bigint[], $9::bigint[])
                 as bill (id, model, input, output, write_5m, write_1h, reads, paid, live)
             join deferral on deferral.id = bill.id
             on conflict (deferral_id, kind) do nothing",
        )
        .bind(billed.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .bind(billed.iter().map(|(_, bill)| bill.model.as_str()).collect::<Vec<_>>())
        .bind(tokens(|tokens| tokens.input))
        .bind(tokens(|tokens| tokens.output))
        .bind(tokens(|tokens| tokens.cache_write_5m))
        .bind(tokens(|tokens| tokens.cache_write_1h))
        .bind(tokens(|tokens| tokens.cache_read))
        .bind(billed.iter().map(|(_, bill)| bill.cost.map(|cost| cost.paid.0)).collect::<Vec<_>>())
        .bind(billed.iter().map(|(_, bill)| bill.cost.map(|cost| cost.live_price.0)).collect::<Vec<_>>())
        .bind(now)
        .execute(&mut *self)
        .await?;
        Ok(changed)
    }
}

pub(super) fn count(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}
