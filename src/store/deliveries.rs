//! Deliveries: events that are due at a receiver, claimed receiver by receiver, and what became of each attempt.
//!
//! They come about in the transactions that make their cause final ([`super::feed`], [`super::groups`]).

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::callback::Callback;
use crate::domain::delivery::{Delivery, DeliveryAttempt, DeliveryState, Subject};
use crate::domain::id::{DeferralId, DeliveryId};
use crate::store::engine::{Dialect, read, write};
use crate::store::{Store, StoreError};

/// A delivery with the right to try it, until its lease lapses.
#[derive(Clone, Debug)]
pub struct ClaimedDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// Whose event it is.
    pub tenant: String,
    /// The event's type.
    pub event: String,
    /// What it is about.
    pub subject: Subject,
    /// Where it goes.
    pub callback: Callback,
    /// When the event came about.
    pub created_at: Timestamp,
    /// Which attempt this is since it was made or replayed, from 1.
    pub attempt: u32,
    fence: i64,
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The receiver has it.
    Delivered,
    /// It is tried again then.
    Again(Timestamp),
    /// It is given up.
    Dead,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The receiver's HTTP status, if it answered.
    pub status: Option<u16>,
    /// Why it did not, in a word.
    pub failure: Option<&'static str>,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
}

/// Which deliveries are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Only those in this state.
    pub state: Option<DeliveryState>,
    /// Only those to this receiver.
    pub receiver: Option<String>,
    /// Only those older than this one.
    pub after: Option<DeliveryId>,
}

#[derive(sqlx::FromRow)]
struct ClaimRow {
    id: DeliveryId,
    tenant: String,
    event: String,
    receiver: String,
    callback_url: Option<String>,
    deferral_id: Option<DeferralId>,
    group_name: Option<String>,
    created_at: Timestamp,
    attempts: i32,
    fence: i64,
}

#[derive(sqlx::FromRow)]
struct DeliveryRow {
    id: DeliveryId,
    tenant: String,
    event: String,
    receiver: String,
    callback_url: Option<String>,
    deferral_id: Option<DeferralId>,
    group_name: Option<String>,
    state: DeliveryState,
    attempts: i32,
    due_at: Timestamp,
    created_at: Timestamp,
    ended_at: Option<Timestamp>,
    number: Option<i32>,
    status: Option<i32>,
    failure: Option<String>,
    started_at: Option<Timestamp>,
    duration_ms: Option<i64>,
}

impl Store {
    /// Receivers for whom a delivery is due.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn due_receivers(&self, now: Timestamp, limit: u32) -> Result<Vec<String>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_scalar(DUE_RECEIVERS).bind(now).bind(i64::from(limit)).fetch_all(tx).await?
        }))
    }

    /// Claims deliveries that are due at one receiver, the longest due first. The claim counts as an attempt.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn claim_deliveries(
        &self,
        receiver: &str,
        now: Timestamp,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let rows: Vec<ClaimRow> = write!(self, tx => {
            sqlx::query_as(tx.text(CLAIM_SQLITE, CLAIM_POSTGRES))
                .bind(receiver)
                .bind(now)
                .bind(now.plus(lease))
                .bind(i64::from(limit))
                .fetch_all(tx)
                .await?
        });
        Ok(rows.into_iter().filter_map(ClaimRow::claimed).collect())
    }

    /// Notes how an attempt ended, and what follows from it. False if another has the delivery by now.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn delivery_tried(
        &self,
        claimed: &ClaimedDelivery,
        tried: Tried,
        next: Next,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (state, due_at) = match next {
            Next::Delivered => (DeliveryState::Delivered, now),
            Next::Again(at) => (DeliveryState::Due, at),
            Next::Dead => (DeliveryState::Dead, now),
        };
        Ok(write!(self, tx => {
            sqlx::query(
                "insert into delivery_attempt (delivery_id, number, status, failure, started_at, duration_ms)
                 values ($1, $2, $3, $4, $5, $6) on conflict (delivery_id, number) do nothing",
            )
            .bind(claimed.id)
            .bind(i32::try_from(claimed.fence).unwrap_or(i32::MAX))
            .bind(tried.status.map(i32::from))
            .bind(tried.failure)
            .bind(tried.started_at)
            .bind(i64::try_from(tried.duration.as_millis()).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await?;
            // A receiver that has it has it, whoever else is trying by now.
            sqlx::query(
                "update delivery set state = $2, due_at = $3, ended_at = $4
                 where id = $1 and state = 'due' and (fence = $5 or $2 = 'delivered')",
            )
            .bind(claimed.id)
            .bind(state)
            .bind(due_at)
            .bind((state != DeliveryState::Due).then_some(now))
            .bind(claimed.fence)
            .execute(tx)
            .await?
            .rows_affected() == 1
        }))
    }

    /// Deliveries, newest first.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn deliveries(&self, filter: &DeliveryFilter, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        let rows: Vec<DeliveryRow> = read!(self, tx => {
            sqlx::query_as(if filter.state.is_some() { DELIVERIES_IN_STATE } else { DELIVERIES })
                .bind(filter.after.unwrap_or(DeliveryId(uuid::Uuid::max())))
                .bind(filter.state)
                .bind(&filter.receiver)
                .bind(i64::from(limit))
                .fetch_all(tx)
                .await?
        });
        Ok(rows.into_iter().filter_map(DeliveryRow::delivery).collect())
    }

    /// One delivery.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        let row: Option<DeliveryRow> = read!(self, tx => {
            sqlx::query_as(select_delivery!("where delivery.id = $1")).bind(id).fetch_optional(tx).await?
        });
        Ok(row.and_then(DeliveryRow::delivery))
    }

    /// Makes a delivery due once more, with all its attempts before it again.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn replay_delivery(&self, id: DeliveryId, now: Timestamp) -> Result<Option<Delivery>, StoreError> {
        write!(self, tx => {
            sqlx::query(
                "update delivery set state = 'due', attempts = 0, due_at = $2, ended_at = null
                 where id = $1 and (state <> 'due' or due_at > $2)",
            )
            .bind(id)
            .bind(now)
            .execute(tx)
            .await?;
        });
        self.delivery(id).await
    }

    /// How many deliveries are due, and how many were given up.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn delivery_counts(&self) -> Result<(u64, u64), StoreError> {
        let (due, dead): (i64, i64) = read!(self, tx => {
            sqlx::query_as(
                "select (select count(*) from delivery where state = 'due'),
                     (select count(*) from delivery where state = 'dead')",
            )
            .fetch_one(tx)
            .await?
        });
        Ok((due.unsigned_abs(), dead.unsigned_abs()))
    }
}

fn subject(deferral: Option<DeferralId>, group: Option<String>) -> Option<Subject> {
    deferral.map(Subject::Deferral).or(group.map(Subject::Group))
}

impl ClaimRow {
    fn claimed(self) -> Option<ClaimedDelivery> {
        Some(ClaimedDelivery {
            id: self.id,
            tenant: self.tenant,
            event: self.event,
            subject: subject(self.deferral_id, self.group_name)?,
            callback: Callback { receiver: self.receiver, url: self.callback_url },
            created_at: self.created_at,
            attempt: self.attempts.unsigned_abs(),
            fence: self.fence,
        })
    }
}

impl DeliveryRow {
    fn delivery(self) -> Option<Delivery> {
        let last_attempt = self.number.zip(self.started_at).map(|(number, started_at)| DeliveryAttempt {
            number: number.unsigned_abs(),
            status: self.status.and_then(|status| u16::try_from(status).ok()),
            failure: self.failure,
            started_at,
            duration_ms: self.duration_ms.unwrap_or_default().unsigned_abs(),
        });
        Some(Delivery {
            id: self.id,
            tenant: self.tenant,
            event: self.event,
            subject: subject(self.deferral_id, self.group_name)?,
            callback: Callback { receiver: self.receiver, url: self.callback_url },
            state: self.state,
            attempts: self.attempts.unsigned_abs(),
            due_at: self.due_at,
            created_at: self.created_at,
            ended_at: self.ended_at,
            last_attempt,
        })
    }
}

/// Every receiver for whom anything waits is met once, however much waits: each step looks for the next name.
const DUE_RECEIVERS: &str = "
    with recursive waiting (receiver) as (
        select min(receiver) from delivery where state = 'due'
        union all
        select (select min(receiver) from delivery where state = 'due' and receiver > waiting.receiver)
        from waiting where waiting.receiver is not null)
    select receiver from waiting
    where receiver is not null and exists (
        select 1 from delivery where delivery.receiver = waiting.receiver and state = 'due' and due_at <= $1)
    limit $2";

/// Claims what is due at a receiver: $1 which, $2 now, $3 until when, $4 how many.
const CLAIM_SQLITE: &str = "
    update delivery set due_at = $3, fence = fence + 1, attempts = attempts + 1
    where id in (
        select id from delivery where receiver = $1 and state = 'due' and due_at <= $2 order by due_at limit $4)
    returning id, tenant, event, receiver, callback_url, deferral_id, group_name, created_at, attempts, fence";

const CLAIM_POSTGRES: &str = "
    update delivery set due_at = $3, fence = fence + 1, attempts = attempts + 1
    where id in (
        select id from delivery where receiver = $1 and state = 'due' and due_at <= $2 order by due_at limit $4
        for update skip locked)
    returning id, tenant, event, receiver, callback_url, deferral_id, group_name, created_at, attempts, fence";

/// Every select of a delivery begins like this.
macro_rules! select_delivery {
    ($rest:literal) => {
        concat!(
            "select delivery.id, delivery.tenant, delivery.event, delivery.receiver, delivery.callback_url,
                 delivery.deferral_id, delivery.group_name, delivery.state, delivery.attempts, delivery.due_at,
                 delivery.created_at, delivery.ended_at, last.number, last.status, last.failure, last.started_at,
                 last.duration_ms
             from delivery
             left join delivery_attempt as last on last.delivery_id = delivery.id
                 and last.number = (select max(number) from delivery_attempt where delivery_id = delivery.id) ",
            $rest
        )
    };
}
use select_delivery;

const DELIVERIES: &str = select_delivery!(
    "where delivery.id < $1 and $2 is null and ($3 is null or delivery.receiver = $3)
     order by delivery.id desc limit $4"
);
const DELIVERIES_IN_STATE: &str = select_delivery!(
    "where delivery.id < $1 and delivery.state = $2 and ($3 is null or delivery.receiver = $3)
     order by delivery.id desc limit $4"
);
