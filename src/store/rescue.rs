//! Rescue: deferrals that leave the way of the batch, to be sent live or to expire.
//!
//! A deferral leaves only where the provider cannot be about to be given it: from the queue, from a batch that was not
//! sent, or from one that the provider is known to have and whose results are not there yet. While it is not known
//! whether the provider has the batch, sending the call as well might pay for it twice.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::batch::BatchState;
use crate::domain::deferral::{Answer, ServedBy, State};
use crate::domain::id::{BatchId, DeferralId};
use crate::domain::ledger::{Bill, EntryKind};
use crate::store::engine::{Dialect, read, write};
use crate::store::feed::Complete as _;
use crate::store::lanes::LaneId;
use crate::store::outcomes::{count, insert_entry, insert_outcome};
use crate::store::packing::Packed;
use crate::store::{Scope, Store, StoreError};

/// A call that is to be sent live, with the claim on it.
#[derive(Clone, Debug)]
pub struct Rescue {
    /// The deferral.
    pub id: DeferralId,
    /// What it is sent with.
    pub lane: LaneId,
    /// The caller's text.
    pub text: String,
    /// Whether its caller has asked to cancel it.
    pub cancel_requested: bool,
    /// How often it was claimed, this time included.
    pub claims: u32,
    fence: i64,
}

/// What a deferral leaves its way for.
#[derive(Clone, Debug)]
pub enum Leave {
    /// To be sent live.
    ForRescue,
    /// To expire, with this answer.
    ToExpire(Answer),
    /// To fail, with this answer.
    ToFail(Answer),
}

#[derive(sqlx::FromRow)]
struct RescueRow {
    id: DeferralId,
    lane_id: LaneId,
    cancel_requested: bool,
    rescue_fence: i64,
}

impl Store {
    /// Queued and batched deferrals whose deadline is at or before `until`, the nearest first.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn endangered(&self, until: Timestamp, limit: u32) -> Result<Vec<DeferralId>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_scalar(
                "select id from deferral
                 where state in ('queued', 'batched') and deadline_at <= $1
                   and (state = 'queued' or exists (
                       select 1 from batch where id = deferral.batch_id and state in ('building', 'submitted')))
                 order by deadline_at limit $2",
            )
            .bind(until)
            .bind(i64::from(limit))
            .fetch_all(tx)
            .await?
        }))
    }

    /// Calls past their deadline whose credential the provider refuses, with what it answered.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn refused_and_late(&self, now: Timestamp, limit: u32) -> Result<Vec<(DeferralId, Answer)>, StoreError> {
        let rows: Vec<(DeferralId, i32, String)> = read!(self, tx => {
            sqlx::query_as(
                "select deferral.id, lane.pause_status, lane.pause_error
                 from lane join deferral on deferral.lane_id = lane.id
                 where lane.pause_status is not null and deferral.deadline_at <= $1
                   and (deferral.state = 'queued' or (deferral.state = 'batched' and exists (
                       select 1 from batch where id = deferral.batch_id and state = 'building')))
                 order by deferral.deadline_at limit $2",
            )
            .bind(now)
            .bind(i64::from(limit))
            .fetch_all(tx)
            .await?
        });
        let answer = |status: i32, body| Answer { status: u16::try_from(status).unwrap_or(401), body };
        Ok(rows.into_iter().map(|(id, status, body)| (id, answer(status, body))).collect())
    }

    /// Notes that a deferral is to be sent live as soon as it may leave the way of the batch.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn promote_later(&self, id: DeferralId, scope: &Scope, now: Timestamp) -> Result<(), StoreError> {
        write!(self, tx => {
            sqlx::query(
                "update deferral set rescue_due_at = $3
                 where id = $1 and ($2 is null or tenant = $2) and state in ('queued', 'batched')",
            )
            .bind(id)
            .bind(scope.tenant())
            .bind(now)
            .execute(tx)
            .await?;
        });
        Ok(())
    }

    /// Deferrals that are to be sent live as soon as they may leave the way of the batch, and now may.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn promoted(&self, limit: u32) -> Result<Vec<DeferralId>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_scalar(
                "select id from deferral
                 where state in ('queued', 'batched') and rescue_due_at is not null
                   and (state = 'queued' or exists (
                       select 1 from batch where id = deferral.batch_id and state in ('building', 'submitted')))
                 order by rescue_due_at limit $1",
            )
            .bind(i64::from(limit))
            .fetch_all(tx)
            .await?
        }))
    }

    /// Makes a batch due to be asked after.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn hurry_batch(&self, provider_id: &str, now: Timestamp) -> Result<(), StoreError> {
        write!(self, tx => {
            sqlx::query("update batch set due_at = $2 where provider_id = $1 and state = 'submitted' and due_at > $2")
                .bind(provider_id)
                .bind(now)
                .execute(tx)
                .await?;
        });
        Ok(())
    }

    /// The batch that a deferral is in at the provider, if its results are not known to be there.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn batch_under_way(&self, id: DeferralId) -> Result<Option<(LaneId, String)>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_as(
                "select batch.lane_id, batch.provider_id from deferral join batch on batch.id = deferral.batch_id
                 where deferral.id = $1 and deferral.state = 'batched' and batch.state = 'submitted'",
            )
            .bind(id)
            .fetch_optional(tx)
            .await?
        }))
    }

    /// Takes a deferral off the way of the batch. False if it is not on it, or where it must not leave it.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn leave(
        &self,
        id: DeferralId,
        scope: &Scope,
        leave: &Leave,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let packed = match leave {
            Leave::ToExpire(answer) => Some((State::Expired, answer.status, self.pack(id, &answer.body)?)),
            Leave::ToFail(answer) => Some((State::Failed, answer.status, self.pack(id, &answer.body)?)),
            Leave::ForRescue => None,
        };
        Ok(write!(self, tx => {
            let found: Option<(State, Option<BatchId>, i32)> = sqlx::query_as(
                "select state, batch_id, attempts from deferral where id = $1 and ($2 is null or tenant = $2)",
            )
            .bind(id)
            .bind(scope.tenant())
            .fetch_optional(&mut *tx)
            .await?;
            // From where it may leave: the queue, or a batch in one of two states.
            let from: Option<Option<(BatchId, BatchState)>> = match found {
                Some((State::Queued, ..)) => Some(None),
                // Touching the batch makes whoever is about to send it wait, and find its members counted anew.
                Some((State::Batched, Some(batch), _)) => {
                    let state: Option<BatchState> = sqlx::query_scalar(
                        "update batch set due_at = due_at where id = $1 and state in ('building', 'submitted')
                         returning state",
                    )
                    .bind(batch)
                    .fetch_optional(&mut *tx)
                    .await?;
                    state.map(|state| Some((batch, state)))
                }
                _ => None,
            };
            let has_left = match from {
                None => false,
                Some(from) => {
                    // What was not sent was no attempt, and that batch is none of this deferral's any more.
                    let unsent = from.is_some_and(|(_, state)| state == BatchState::Building);
                    let (state, completed_at, rescue_due_at, live_attempts) = match &packed {
                        None => (State::Rescuing, None, Some(now), 1),
                        Some((state, ..)) => (*state, Some(now), None, 0),
                    };
                    sqlx::query(
                        "update deferral set state = $2, completed_at = $3, rescue_due_at = $4, attempts = attempts + $5,
                             batch_id = case when $6 then null else batch_id end,
                             lane_id = case when $7 then null else lane_id end
                         where id = $1 and state = $8 and batch_id is not distinct from $9",
                    )
                    .bind(id)
                    .bind(state)
                    .bind(completed_at)
                    .bind(rescue_due_at)
                    .bind(live_attempts - i32::from(unsent))
                    .bind(unsent)
                    .bind(state.is_final())
                    .bind(if from.is_some() { State::Batched } else { State::Queued })
                    .bind(from.map(|(batch, _)| batch))
                    .execute(&mut *tx)
                    .await?
                    .rows_affected() == 1
                }
            };
            if has_left {
                if let (Some(Some((batch, BatchState::Submitted))), Some((_, _, number))) = (from, found) {
                    sqlx::query(
                        "insert into attempt (deferral_id, number, batch_id, result, ended_at)
                         values ($1, $2, $3, 'left', $4) on conflict (deferral_id, number) do nothing",
                    )
                    .bind(id)
                    .bind(number)
                    .bind(batch)
                    .bind(now)
                    .execute(&mut *tx)
                    .await?;
                }
                if let Some((_, status, packed)) = &packed {
                    insert_outcome!(tx, id, *status, packed, now);
                    tx.complete(&[id], now).await?;
                }
            }
            has_left
        }))
    }

    /// Claims calls that are due to be sent live, the longest due first; none of a lane that is paused for live calls.
    ///
    /// # Errors
    /// If the store is unavailable or a call does not unpack.
    pub async fn claim_rescues(&self, now: Timestamp, lease: Duration, limit: u32) -> Result<Vec<Rescue>, StoreError> {
        let rows: Vec<(RescueRow, Packed)> = write!(self, tx => {
            let claimed: Vec<RescueRow> = sqlx::query_as(tx.text(CLAIM_SQLITE, CLAIM_POSTGRES))
                .bind(now)
                .bind(now.plus(lease))
                .bind(i64::from(limit))
                .fetch_all(&mut *tx)
                .await?;
            let mut rows = Vec::with_capacity(claimed.len());
            for row in claimed {
                let packed = sqlx::query_as("select codec, body from payload where deferral_id = $1")
                    .bind(row.id)
                    .fetch_one(&mut *tx)
                    .await?;
                rows.push((row, packed));
            }
            rows
        });
        rows.into_iter()
            .map(|(row, packed)| {
                Ok(Rescue {
                    text: self.unpack(row.id, &packed)?,
                    id: row.id,
                    lane: row.lane_id,
                    cancel_requested: row.cancel_requested,
                    claims: u32::try_from(row.rescue_fence).unwrap_or(u32::MAX),
                    fence: row.rescue_fence,
                })
            })
            .collect()
    }

    /// Holds the claim, or lets it go, until `due`; false if another has it by now.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn rescue_due(&self, rescue: &Rescue, due: Timestamp) -> Result<bool, StoreError> {
        Ok(write!(self, tx => {
            sqlx::query(
                "update deferral set rescue_due_at = $3 where id = $1 and rescue_fence = $2 and state = 'rescuing'",
            )
            .bind(rescue.id)
            .bind(rescue.fence)
            .bind(due)
            .execute(tx)
            .await?
            .rows_affected() == 1
        }))
    }

    /// Makes a rescued deferral final. False if it is so already; then what was billed is in the ledger as late.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn settle_rescue(
        &self,
        rescue: &Rescue,
        state: State,
        answer: &Answer,
        bill: Option<&Bill>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let packed = self.pack(rescue.id, &answer.body)?;
        let served_by = matches!(state, State::Succeeded | State::Failed).then_some(ServedBy::Live);
        Ok(write!(self, tx => {
            let settled = sqlx::query(
                "update deferral set state = $2, completed_at = $3, served_by = $4, lane_id = null
                 where id = $1 and state = 'rescuing'",
            )
            .bind(rescue.id)
            .bind(state)
            .bind(now)
            .bind(served_by)
            .execute(&mut *tx)
            .await?
            .rows_affected() == 1;
            if settled {
                insert_outcome!(tx, rescue.id, answer.status, packed, now);
            }
            if let Some(bill) = bill {
                if settled {
                    insert_entry!(tx, rescue.id, EntryKind::Answer, ServedBy::Live, bill, now);
                } else {
                    insert_entry!(tx, rescue.id, EntryKind::Late, ServedBy::Live, bill, now);
                }
            }
            if settled {
                tx.complete(&[rescue.id], now).await?;
            }
            settled
        }))
    }

    /// Makes no live calls for a lane until `until`; says how often in a row that was so before.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn pause_live(&self, lane: LaneId, until: Timestamp) -> Result<(), StoreError> {
        write!(self, tx => {
            sqlx::query("update lane set live_paused_until = $2, live_pauses = live_pauses + 1 where id = $1")
                .bind(lane)
                .bind(until)
                .execute(tx)
                .await?;
        });
        Ok(())
    }

    /// Makes live calls for a lane again.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn resume_live(&self, lane: LaneId) -> Result<(), StoreError> {
        write!(self, tx => {
            sqlx::query("update lane set live_paused_until = null, live_pauses = 0 where id = $1 and live_pauses > 0")
                .bind(lane)
                .execute(tx)
                .await?;
        });
        Ok(())
    }

    /// How often in a row live calls of the lane were paused.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn live_pauses(&self, lane: LaneId) -> Result<u32, StoreError> {
        let pauses: Option<i32> = read!(self, tx => {
            sqlx::query_scalar("select live_pauses from lane where id = $1").bind(lane).fetch_optional(tx).await?
        });
        Ok(pauses.unwrap_or(0).unsigned_abs())
    }
}

/// Claims calls to be sent live: $1 now, $2 until when, $3 how many.
const CLAIM_SQLITE: &str = "
    update deferral set rescue_due_at = $2, rescue_fence = rescue_fence + 1
    where id in (
        select deferral.id from deferral join lane on lane.id = deferral.lane_id
        where deferral.state = 'rescuing' and deferral.rescue_due_at <= $1
          and (lane.live_paused_until is null or lane.live_paused_until <= $1)
        order by deferral.rescue_due_at limit $3)
    returning id, lane_id, cancel_requested, rescue_fence";

const CLAIM_POSTGRES: &str = "
    update deferral set rescue_due_at = $2, rescue_fence = rescue_fence + 1
    where id in (
        select deferral.id from deferral join lane on lane.id = deferral.lane_id
        where deferral.state = 'rescuing' and deferral.rescue_due_at <= $1
          and (lane.live_paused_until is null or lane.live_paused_until <= $1)
        order by deferral.rescue_due_at limit $3
        for update of deferral skip locked)
    returning id, lane_id, cancel_requested, rescue_fence";
