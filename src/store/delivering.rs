//! Delivering: events that are due are claimed receiver by receiver.
//!
//! They come about in the transactions that make their cause final ([`super::feed`], [`super::groups`]).

use std::time::Duration;

use sqlx::{PgConnection, SqliteConnection};

use crate::clock::Timestamp;
use crate::domain::callback::Callback;
use crate::domain::delivery::Subject;
use crate::domain::id::{DeferralId, DeliveryId};
use crate::store::engine::{read, write};
use crate::store::{Store, StoreError};

/// A receiver for whom something waits.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct WaitingReceiver {
    /// Its name, or the origin of its URL.
    pub receiver: String,
    /// Whether something is due now, and not only later.
    pub is_due: bool,
}

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
    /// Tells its holder from those before and after.
    pub(super) fence: i64,
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

impl Store {
    /// The next receivers behind this one for whom anything waits, and whether it is due.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn waiting_receivers(
        &self,
        after: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<WaitingReceiver>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_as(WAITING_RECEIVERS).bind(after).bind(now).bind(i64::from(limit)).fetch_all(tx).await?
        }))
    }

    /// Claims deliveries that are due: for each of these receivers so many at most, the longest due first. A claim counts
    /// as an attempt.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn claim_deliveries(
        &self,
        wanted: &[(String, u32)],
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let rows = write!(self, tx => tx.claim_due(wanted, now, now.plus(lease)).await?);
        Ok(rows.into_iter().filter_map(ClaimRow::claimed).collect())
    }
}

/// A statement for each receiver costs little within a process, and a way there and back over a network.
trait ClaimDue {
    async fn claim_due(
        &mut self,
        wanted: &[(String, u32)],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<ClaimRow>, sqlx::Error>;
}

impl ClaimDue for SqliteConnection {
    async fn claim_due(
        &mut self,
        wanted: &[(String, u32)],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<ClaimRow>, sqlx::Error> {
        let mut claimed = Vec::new();
        for (receiver, limit) in wanted {
            let rows: Vec<ClaimRow> = sqlx::query_as(CLAIM_SQLITE)
                .bind(receiver)
                .bind(now)
                .bind(until)
                .bind(i64::from(*limit))
                .fetch_all(&mut *self)
                .await?;
            claimed.extend(rows);
        }
        Ok(claimed)
    }
}

impl ClaimDue for PgConnection {
    async fn claim_due(
        &mut self,
        wanted: &[(String, u32)],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<ClaimRow>, sqlx::Error> {
        let (receivers, limits): (Vec<&str>, Vec<i64>) =
            wanted.iter().map(|(receiver, limit)| (receiver.as_str(), i64::from(*limit))).unzip();
        sqlx::query_as(CLAIM_POSTGRES).bind(receivers).bind(now).bind(until).bind(limits).fetch_all(self).await
    }
}

pub(super) fn subject(deferral: Option<DeferralId>, group: Option<String>) -> Option<Subject> {
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

/// Every receiver for whom anything waits is met once, however much waits: each step looks for the next name.
/// $1 behind which, $2 now, $3 how many.
const WAITING_RECEIVERS: &str = "
    with recursive waiting (receiver) as (
        select min(receiver) from delivery where state = 'due' and receiver > $1
        union all
        select (select min(receiver) from delivery where state = 'due' and receiver > waiting.receiver)
        from waiting where waiting.receiver is not null)
    select receiver, exists (
        select 1 from delivery where delivery.receiver = waiting.receiver and state = 'due' and due_at <= $2) as is_due
    from waiting where receiver is not null limit $3";

/// Claims what is due at a receiver: $1 which, $2 now, $3 until when, $4 how many.
const CLAIM_SQLITE: &str = "
    update delivery set due_at = $3, fence = fence + 1, attempts = attempts + 1
    where id in (
        select id from delivery where receiver = $1 and state = 'due' and due_at <= $2 order by due_at limit $4)
    returning id, tenant, event, receiver, callback_url, deferral_id, group_name, created_at, attempts, fence";

/// The same for many at once; materialized, so that what is chosen is chosen once whatever the plan.
const CLAIM_POSTGRES: &str = "
    with due as materialized (
        select one.id from unnest($1::text[], $4::bigint[]) as wanted (receiver, count)
        cross join lateral (
            select id from delivery
            where receiver = wanted.receiver and state = 'due' and due_at <= $2 order by due_at limit wanted.count
            for update skip locked) as one)
    update delivery set due_at = $3, fence = fence + 1, attempts = attempts + 1
    from due where delivery.id = due.id
    returning delivery.id, tenant, event, receiver, callback_url, deferral_id, group_name, created_at, attempts, fence";
