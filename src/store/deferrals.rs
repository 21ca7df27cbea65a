//! Deferrals as callers see them: one, a page, and the wish to cancel one.

use futures_util::TryStreamExt as _;

use crate::clock::Timestamp;
use crate::crash;
use crate::domain::deferral::{Answer, Attempt, Cost, Deferral, ServedBy, State};
use crate::domain::id::{BatchId, DeferralId};
use crate::domain::money::NanoUsd;
use crate::store::engine::{read, write};
use crate::store::feed::Complete as _;
use crate::store::outcomes::insert_outcome;
use crate::store::packing::Packed;
use crate::store::partitions::IdSpan;
use crate::store::{Store, StoreError};

/// A page ends early once its answers, unpacked, come to this: a thousand large Messages would not fit in memory.
const PAGE_BYTES: usize = 8_000_000;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// A tenant, who sees its own deferrals.
    Tenant(String),
    /// The operator, who sees all.
    All,
}

impl Scope {
    pub(super) fn tenant(&self) -> Option<&str> {
        match self {
            Self::Tenant(tenant) => Some(tenant),
            Self::All => None,
        }
    }
}

/// Which deferrals a page is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those of this workload.
    pub workload: Option<String>,
    /// Only those of this group.
    pub group: Option<String>,
}

/// Where a page begins; pages run from the newest to the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageCursor {
    /// At the newest.
    Newest,
    /// Right behind this one.
    After(DeferralId),
    /// So that it ends right before this one.
    Before(DeferralId),
}

/// A page, newest first.
#[derive(Clone, Debug)]
pub struct Page {
    /// The deferrals.
    pub deferrals: Vec<Deferral>,
    /// Whether there are more in the direction that was asked for.
    pub has_more: bool,
}

/// What is read of a deferral; a macro, because statements are put together at compile time.
macro_rules! deferral_columns {
    () => {
        "deferral.id, deferral.tenant, deferral.state, deferral.model, deferral.workload,
         deferral.reference, deferral.group_name, deferral.accepted_at, deferral.deadline_at,
         deferral.completed_at, deferral.cancel_requested, deferral.attempts, deferral.served_by,
         batch.provider_id, outcome.status, outcome.codec, outcome.body, answer.paid_nanousd, answer.live_nanousd,
         (select paid_nanousd from entry where deferral_id = deferral.id and kind = 'late') as late_nanousd"
    };
}

/// From where, beside the deferral itself. Of many deferrals PostgreSQL is told between which ids they lie.
macro_rules! deferral_joins {
    () => {
        "left join batch on batch.id = deferral.batch_id
         left join entry as answer on answer.deferral_id = deferral.id and answer.kind = 'answer'
         left join outcome on outcome.deferral_id = deferral.id"
    };
    ($first:literal, $last:literal) => {
        concat!(
            $crate::store::deferrals::deferral_joins!(),
            " and outcome.deferral_id >= ",
            $first,
            " and outcome.deferral_id <= ",
            $last
        )
    };
}

pub(super) use {deferral_columns, deferral_joins};

/// Deferrals with their answers; it ends so that a condition on the answers can follow.
macro_rules! select {
    ($rest:literal) => {
        concat!("select ", deferral_columns!(), " from deferral ", deferral_joins!(), $rest)
    };
}

pub(super) const SELECT: &str = select!("");
const SELECT_ONE: &str = select!(" where deferral.id = $1 and ($2 is null or deferral.tenant = $2)");

#[derive(sqlx::FromRow)]
struct AttemptRow {
    number: i32,
    provider_id: Option<String>,
    batched: bool,
    result: String,
    detail: Option<String>,
    ended_at: Timestamp,
}

impl From<AttemptRow> for Attempt {
    fn from(row: AttemptRow) -> Self {
        Self {
            number: row.number.unsigned_abs(),
            served_by: if row.batched { "batch" } else { "live" },
            batch_id: row.provider_id,
            outcome: row.result,
            error_type: row.detail,
            ended_at: Some(row.ended_at),
        }
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct DeferralRow {
    id: DeferralId,
    tenant: String,
    state: State,
    model: String,
    workload: Option<String>,
    reference: Option<String>,
    group_name: Option<String>,
    accepted_at: Timestamp,
    deadline_at: Timestamp,
    completed_at: Option<Timestamp>,
    cancel_requested: bool,
    attempts: i32,
    served_by: Option<ServedBy>,
    provider_id: Option<String>,
    status: Option<i32>,
    codec: Option<i16>,
    body: Option<Vec<u8>>,
    paid_nanousd: Option<NanoUsd>,
    live_nanousd: Option<NanoUsd>,
    late_nanousd: Option<NanoUsd>,
}

impl Store {
    /// The deferral with this id, if there is one that the asker may see.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn deferral(&self, id: DeferralId, scope: &Scope) -> Result<Option<Deferral>, StoreError> {
        let row: Option<DeferralRow> = read!(self, tx => {
            sqlx::query_as(SELECT_ONE)
                .bind(id)
                .bind(scope.tenant())
                .fetch_optional(tx)
                .await?
        });
        row.map(|row| self.deferral_of(row)).transpose()
    }

    /// The submissions of a deferral, the last one included.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn history(&self, deferral: &Deferral) -> Result<Vec<Attempt>, StoreError> {
        let rows: Vec<AttemptRow> = read!(self, tx => {
            sqlx::query_as(
                "select attempt.number, batch.provider_id, attempt.batch_id is not null as batched, attempt.result,
                     attempt.detail, attempt.ended_at
                 from attempt left join batch on batch.id = attempt.batch_id
                 where attempt.deferral_id = $1 order by attempt.number",
            )
            .bind(deferral.id)
            .fetch_all(tx)
            .await?
        });
        let mut history: Vec<Attempt> = rows.into_iter().map(Attempt::from).collect();
        let told = history.last().map_or(0, |attempt| attempt.number);
        if deferral.attempts > told {
            let is_live = deferral.served_by == Some(ServedBy::Live) || deferral.state == State::Rescuing;
            history.push(Attempt {
                number: deferral.attempts,
                served_by: if is_live { "live" } else { "batch" },
                batch_id: deferral.provider_batch_id.clone().filter(|_| !is_live),
                outcome: deferral.state.as_str().to_owned(),
                error_type: None,
                ended_at: deferral.completed_at,
            });
        }
        Ok(history)
    }

    /// A page of at most `limit` deferrals; it may end earlier where the answers are large.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn page(
        &self,
        scope: &Scope,
        filter: &Filter,
        cursor: PageCursor,
        limit: u32,
    ) -> Result<Page, StoreError> {
        let (older, newer) = match scope {
            Scope::Tenant(_) => (OLDER_OF_TENANT, NEWER_OF_TENANT),
            Scope::All => (OLDER_OF_ALL, NEWER_OF_ALL),
        };
        let ((ids, statement), edge) = match cursor {
            PageCursor::Newest => (older, IdSpan::ALL.last),
            PageCursor::After(id) => (older, id),
            PageCursor::Before(id) => (newer, id),
        };
        let mut deferrals: Vec<Deferral> = Vec::new();
        let mut bytes = 0;
        let mut has_more = false;
        read!(self, tx => {
            let mut span = IdSpan::ALL;
            if self.engine.has_partitions() {
                let ids: Vec<DeferralId> = sqlx::query_scalar(ids)
                    .bind(edge)
                    .bind(scope.tenant())
                    .bind(filter.state)
                    .bind(&filter.workload)
                    .bind(&filter.group)
                    .bind(i64::from(limit) + 1)
                    .fetch_all(&mut *tx)
                    .await?;
                // Even if one of them is gone in an instant.
                has_more = ids.len() > limit as usize;
                span = IdSpan::of(ids.into_iter());
            }
            let mut rows = sqlx::query_as::<_, DeferralRow>(statement)
                .bind(edge)
                .bind(scope.tenant())
                .bind(filter.state)
                .bind(&filter.workload)
                .bind(&filter.group)
                .bind(i64::from(limit) + 1)
                .bind(span.first)
                .bind(span.last)
                .fetch(&mut *tx);
            while let Some(row) = rows.try_next().await? {
                let is_full = deferrals.len() == limit as usize || bytes >= PAGE_BYTES;
                if is_full {
                    has_more = true;
                    break;
                }
                let deferral = self.deferral_of(row)?;
                bytes += deferral.answer.as_ref().map_or(0, |answer| answer.body.len());
                deferrals.push(deferral);
            }
        });
        if matches!(cursor, PageCursor::Before(_)) {
            deferrals.reverse();
        }
        Ok(Page { deferrals, has_more })
    }

    /// Cancels a deferral that was not sent yet at once, and notes the wish for one that is on its way; a final one stays
    /// as it is.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn cancel(
        &self,
        id: DeferralId,
        scope: &Scope,
        answer: &Answer,
        now: Timestamp,
    ) -> Result<Option<Deferral>, StoreError> {
        let packed = self.pack(id, &answer.body)?;
        write!(self, tx => {
            let canceled = sqlx::query(
                "update deferral set state = 'canceled', cancel_requested = true, completed_at = $3, lane_id = null
                 where id = $1 and ($2 is null or tenant = $2) and state = 'queued'",
            )
            .bind(id)
            .bind(scope.tenant())
            .bind(now)
            .execute(&mut *tx)
            .await?
            .rows_affected() == 1;
            let canceled = canceled || {
                // In a batch that was not sent yet: touching it makes whoever is about to send it count its members anew.
                let batch: Option<BatchId> = sqlx::query_scalar(
                    "update batch set due_at = due_at
                     where state = 'building' and id = (
                         select batch_id from deferral
                         where id = $1 and ($2 is null or tenant = $2) and state = 'batched')
                     returning id",
                )
                .bind(id)
                .bind(scope.tenant())
                .fetch_optional(&mut *tx)
                .await?;
                batch.is_some()
                    && sqlx::query(
                        "update deferral set state = 'canceled', cancel_requested = true, completed_at = $2,
                             lane_id = null, batch_id = null, attempts = attempts - 1
                         where id = $1 and state = 'batched' and batch_id = $3",
                    )
                    .bind(id)
                    .bind(now)
                    .bind(batch)
                    .execute(&mut *tx)
                    .await?
                    .rows_affected() == 1
            };
            if canceled {
                insert_outcome!(tx, id, answer.status, packed, now);
                tx.complete(&[id], now).await?;
            } else {
                sqlx::query(
                    // `queued` again, if its batch was given up since the statement before this one.
                    "update deferral set cancel_requested = true,
                         rescue_due_at = case when state = 'queued' then $3 else rescue_due_at end
                     where id = $1 and ($2 is null or tenant = $2) and state in ('queued', 'batched', 'rescuing')",
                )
                .bind(id)
                .bind(scope.tenant())
                .bind(now)
                .execute(tx)
                .await?;
            }
        });
        crash::point("cancel.answer");
        self.deferral(id, scope).await
    }

    pub(super) fn deferral_of(&self, row: DeferralRow) -> Result<Deferral, StoreError> {
        let answer = match (row.status, row.codec, row.body) {
            (Some(status), Some(codec), Some(body)) => Some(Answer {
                status: u16::try_from(status).unwrap_or(500),
                body: self.unpack(row.id, &Packed { codec, body })?,
            }),
            _ => None,
        };
        let cost = match (row.paid_nanousd, row.live_nanousd) {
            (Some(paid), Some(live_price)) => {
                let paid_twice = row.late_nanousd.unwrap_or_default();
                Some(Cost { paid: paid + paid_twice, live_price, paid_twice })
            }
            _ => None,
        };
        Ok(Deferral {
            id: row.id,
            tenant: row.tenant,
            state: row.state,
            model: row.model,
            workload: row.workload,
            reference: row.reference,
            group: row.group_name,
            created_at: row.accepted_at,
            deadline: row.deadline_at,
            completed_at: row.completed_at,
            cancel_requested: row.cancel_requested,
            provider_batch_id: row.provider_id,
            attempts: row.attempts.unsigned_abs(),
            served_by: row.served_by,
            answer,
            cost,
            history: None,
        })
    }
}

/// The ids on a page in one direction and of one scope, and what stands on it: with "all or this tenant" in one text,
/// SQLite would look for a tenant's deferrals among everybody's. What has come in between is not on it.
macro_rules! page {
    ($scope:literal, $edge:literal, $order:literal) => {
        (
            page!("deferral.id", "", $scope, $edge, "", $order),
            page!(
                deferral_columns!(),
                deferral_joins!("$7", "$8"),
                $scope,
                $edge,
                " and deferral.id >= $7 and deferral.id <= $8",
                $order
            ),
        )
    };
    ($columns:expr, $joins:expr, $scope:literal, $edge:literal, $span:literal, $order:literal) => {
        concat!(
            "select ",
            $columns,
            " from deferral ",
            $joins,
            " where ",
            $scope,
            " and ",
            $edge,
            " and ($3 is null or deferral.state = $3) and ($4 is null or deferral.workload = $4)
                and ($5 is null or deferral.group_name = $5)",
            $span,
            " order by deferral.id ",
            $order,
            " limit $6"
        )
    };
}

const OLDER_OF_TENANT: (&str, &str) = page!("deferral.tenant = $2", "deferral.id < $1", "desc");
const NEWER_OF_TENANT: (&str, &str) = page!("deferral.tenant = $2", "deferral.id > $1", "asc");
const OLDER_OF_ALL: (&str, &str) = page!("$2 is null", "deferral.id < $1", "desc");
const NEWER_OF_ALL: (&str, &str) = page!("$2 is null", "deferral.id > $1", "asc");
