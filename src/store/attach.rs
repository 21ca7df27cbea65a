//! Attaching: a call that repeats another one takes the place of its caller, and is not queued again.

use std::time::Duration;

use sqlx::QueryBuilder;

use crate::clock::Timestamp;
use crate::domain::id::DeferralId;
use crate::store::engine::write;
use crate::store::{Accepted, NewDeferral, Store, StoreError};

/// A retry without a key attaches to a deferral for this long after it became final.
pub(super) const ATTACH_FOR: Duration = Duration::from_hours(1);

/// Callers noted as gone by one statement: three parameters each, far below the 32,766 that SQLite allows.
const LEFT_ROWS: usize = 500;

/// What a retry without a key repeats: the same body of the same tenant, open or final since $3 at the earliest. First
/// comes one whose caller has gone, then one to which nobody has attached, then whoever was attached to longest ago: so
/// no two retries share one while there is another. A canceled one counts only if its caller never heard of it.
pub(super) const TWIN: &str = "
    select id, attached_at from deferral
    where body_hash = $1 and tenant = $2 and (state <> 'canceled' or caller_left_at >= completed_at)
      and (completed_at is null or completed_at > $3)
    order by caller_left_at is null, attached_at is not null, attached_at, id desc limit 1";

/// Takes a caller's place in one deferral, unless another retry came first: then it changes nothing.
pub(super) const TAKE_PLACE: &str = "
    update deferral set caller_left_at = null, attached_at = $3
    where id = $1 and attached_at is not distinct from $2";

pub(super) const HOLDER_OF_KEY: &str =
    "select id, attached_at, body_hash from deferral where tenant = $1 and idempotency_key = $2";

/// The deferral that a call without a key repeats.
macro_rules! twin {
    ($tx:ident, $new:expr) => {
        loop {
            let twin: Option<(DeferralId, Option<Timestamp>)> = sqlx::query_as($crate::store::attach::TWIN)
                .bind($new.item.hash.as_slice())
                .bind(&$new.lane.tenant)
                .bind($new.accepted_at.minus($crate::store::attach::ATTACH_FOR))
                .fetch_optional(&mut *$tx)
                .await?;
            let Some((id, attached_at)) = twin else { break None };
            if $crate::store::attach::take_place!($tx, $new, id, attached_at) {
                break Some(Accepted::Existing(id));
            }
        }
    };
}

/// The deferral that holds the call's idempotency key.
macro_rules! holder_of_key {
    ($tx:ident, $new:expr) => {{
        let held: Option<(DeferralId, Option<Timestamp>, Vec<u8>)> =
            sqlx::query_as($crate::store::attach::HOLDER_OF_KEY)
                .bind(&$new.lane.tenant)
                .bind(&$new.idempotency_key)
                .fetch_optional(&mut *$tx)
                .await?;
        match held {
            Some((id, attached_at, hash)) if hash == $new.item.hash => {
                // There is no other to choose, whoever came first.
                let _ = $crate::store::attach::take_place!($tx, $new, id, attached_at);
                Some(Accepted::Existing(id))
            }
            Some(_) => Some(Accepted::KeyTaken),
            None => None,
        }
    }};
}

macro_rules! take_place {
    ($tx:ident, $new:expr, $id:ident, $attached_at:ident) => {
        sqlx::query($crate::store::attach::TAKE_PLACE)
            .bind($id)
            .bind($attached_at)
            .bind($new.accepted_at)
            .execute(&mut *$tx)
            .await?
            .rows_affected()
            == 1
    };
}

/// What stands in the place of a call already, if it repeats one.
macro_rules! existing {
    ($tx:ident, $new:expr) => {
        if $new.is_keyless_retry() {
            $crate::store::attach::twin!($tx, $new)
        } else if $new.idempotency_key.is_some() {
            $crate::store::attach::holder_of_key!($tx, $new)
        } else {
            None
        }
    };
}

pub(super) use {existing, holder_of_key, take_place, twin};

/// A caller who has gone without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// What it waited for.
    pub id: DeferralId,
    /// Since when: if another has taken its place after that, the deferral has a caller.
    pub since: Timestamp,
    /// When it was gone.
    pub at: Timestamp,
}

impl Store {
    /// What a call repeats, without making anything durable; `None` if it is a new one.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn repeated(&self, new: &NewDeferral) -> Result<Option<Accepted>, StoreError> {
        if new.retries == 0 && new.idempotency_key.is_none() {
            return Ok(None);
        }
        Ok(write!(self, tx => existing!(tx, new)))
    }

    /// Notes callers who are gone, so that a retry takes the place of one of them.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn callers_left(&self, departures: &[Departure]) -> Result<(), StoreError> {
        for some in departures.chunks(LEFT_ROWS) {
            write!(self, tx => {
                let mut update = QueryBuilder::new("update deferral set caller_left_at = gone.column3 from (");
                update.push_values(some, |mut row, gone| {
                    row.push_bind(gone.id).push_bind(gone.since).push_bind(gone.at);
                });
                update.push(") as gone where deferral.id = gone.column1
                    and (deferral.attached_at is null or deferral.attached_at <= gone.column2)");
                update.build().execute(tx).await?;
            });
        }
        Ok(())
    }
}
