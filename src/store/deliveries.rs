//! Deliveries as the operator sees them: a page, one, what became of its attempts, and trying it once more.

use crate::clock::Timestamp;
use crate::crash;
use crate::domain::callback::Callback;
use crate::domain::delivery::{Delivery, DeliveryAttempt, DeliveryState};
use crate::domain::id::{DeferralId, DeliveryId};
use crate::store::delivering::subject;
use crate::store::engine::{read, write};
use crate::store::{Store, StoreError};

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

#[derive(sqlx::FromRow)]
struct AttemptRow {
    number: i32,
    status: Option<i32>,
    failure: Option<String>,
    started_at: Timestamp,
    duration_ms: i64,
}

impl Store {
    /// Deliveries, newest first.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn deliveries(&self, filter: &DeliveryFilter, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        // A text for each way to filter: with "all or these" in one, SQLite would look for a few among everybody's.
        let statement = match (&filter.receiver, filter.state) {
            (None, None) => DELIVERIES,
            (None, Some(_)) => DELIVERIES_IN_STATE,
            (Some(_), None) => DELIVERIES_TO,
            (Some(_), Some(_)) => DELIVERIES_TO_IN_STATE,
        };
        let rows: Vec<DeliveryRow> = read!(self, tx => {
            sqlx::query_as(statement)
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

    /// What became of the attempts of a delivery, the first one first.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn delivery_history(&self, id: DeliveryId) -> Result<Vec<DeliveryAttempt>, StoreError> {
        let rows: Vec<AttemptRow> = read!(self, tx => {
            sqlx::query_as(
                "select number, status, failure, started_at, duration_ms from delivery_attempt
                 where delivery_id = $1 order by number",
            )
            .bind(id)
            .fetch_all(tx)
            .await?
        });
        Ok(rows.into_iter().map(AttemptRow::attempt).collect())
    }

    /// Makes a delivery due once more, with all its attempts before it again, and gives it as it stands then. Whoever is
    /// trying it at this moment has no say in what follows, unless the receiver takes it.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn replay_delivery(&self, id: DeliveryId, now: Timestamp) -> Result<Option<Delivery>, StoreError> {
        write!(self, tx => {
            sqlx::query(
                "update delivery set state = 'due', attempts = 0, due_at = $2, ended_at = null, fence = fence + 1
                 where id = $1",
            )
            .bind(id)
            .bind(now)
            .execute(tx)
            .await?;
        });
        crash::point("replay.answer");
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

impl AttemptRow {
    fn attempt(self) -> DeliveryAttempt {
        DeliveryAttempt {
            number: self.number.unsigned_abs(),
            status: self.status.and_then(|status| u16::try_from(status).ok()),
            failure: self.failure,
            started_at: self.started_at,
            duration_ms: self.duration_ms.unsigned_abs(),
        }
    }
}

impl DeliveryRow {
    fn delivery(self) -> Option<Delivery> {
        let (status, failure, duration_ms) = (self.status, self.failure, self.duration_ms.unwrap_or_default());
        let last_attempt = self
            .number
            .zip(self.started_at)
            .map(|(number, started_at)| AttemptRow { number, status, failure, started_at, duration_ms }.attempt());
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
            history: None,
        })
    }
}

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

/// $1 older than which, $2 the state, $3 the receiver, $4 how many; what a text does not filter by is null in it.
const DELIVERIES: &str =
    select_delivery!("where delivery.id < $1 and $2 is null and $3 is null order by delivery.id desc limit $4");
const DELIVERIES_IN_STATE: &str = select_delivery!(
    "where delivery.state = $2 and delivery.id < $1 and $3 is null order by delivery.id desc limit $4"
);
const DELIVERIES_TO: &str = select_delivery!(
    "where delivery.receiver = $3 and delivery.id < $1 and $2 is null order by delivery.id desc limit $4"
);
const DELIVERIES_TO_IN_STATE: &str = select_delivery!(
    "where delivery.receiver = $3 and delivery.state = $2 and delivery.id < $1 order by delivery.id desc limit $4"
);
