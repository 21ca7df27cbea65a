//! Primes: the beginnings that a first call goes ahead with, and the calls that wait for it or count on it.

use sqlx::QueryBuilder;

use crate::clock::Timestamp;
use crate::domain::caching::{Place, PrefixHash};
use crate::domain::id::{BatchId, DeferralId};
use crate::store::engine::{read, write};
use crate::store::lanes::LaneId;
use crate::store::marking::{CALLS_AT_ONCE, mark_bytes};
use crate::store::{Store, StoreError};

/// Takes queued calls off the queue until a first call is over.
macro_rules! wait {
    ($tx:ident, $prefix:expr, $until:expr, $ids:expr) => {
        for some in $ids.chunks(CALLS_AT_ONCE) {
            let mut update = QueryBuilder::new("update deferral set primed_by = ");
            update.push_bind($prefix).push(", queued_at = ").push_bind($until);
            update.push(" where state = 'queued' and id in (");
            let mut list = update.separated(", ");
            for id in some {
                list.push_bind(*id);
            }
            update.push(")").build().execute(&mut *$tx).await?;
        }
    };
}

/// How a beginning stands that a call went ahead with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum PrimeState {
    /// Its first call is out.
    Sent,
    /// It is in the cache.
    Warm,
    /// It was tried in vain.
    Cold,
}

/// A beginning that a call went ahead with, until its state lapses.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct KnownPrime {
    /// The beginning.
    pub prefix: PrefixHash,
    /// How it stands.
    pub state: PrimeState,
    /// Until when.
    #[sqlx(rename = "until_at")]
    pub until: Timestamp,
}

/// A first call to be sent, and who waits for it.
#[derive(Clone, Copy, Debug)]
pub struct NewPrime<'a> {
    /// In which lane.
    pub lane: LaneId,
    /// With which beginning.
    pub prefix: PrefixHash,
    /// Where that ends.
    pub place: Place,
    /// The first call.
    pub first: DeferralId,
    /// Those who wait.
    pub followers: &'a [DeferralId],
    /// Until when they do.
    pub until: Timestamp,
}

impl Store {
    /// The beginnings of a lane whose state has not lapsed.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn primes(&self, lane: LaneId, now: Timestamp) -> Result<Vec<KnownPrime>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_as("select prefix, state, until_at from prime where lane_id = $1 and until_at > $2")
                .bind(lane)
                .bind(now)
                .fetch_all(tx)
                .await?
        }))
    }

    /// Puts a first call into a batch of its own and lets others wait for it, all at once; false, and nothing is
    /// changed, if another is out with the same beginning or the call is not queued any more.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn begin_prime(&self, batch: BatchId, new: NewPrime<'_>, now: Timestamp) -> Result<bool, StoreError> {
        Ok(write!(self, tx => {
            let begun = sqlx::query(
                "insert into prime (lane_id, prefix, tenant, workload, model, state, batch_id, begun_at, until_at)
                 select lane_id, $2, tenant, workload, model, 'sent', $3, $4, $5
                 from deferral where id = $6 and lane_id = $1 and state = 'queued' and not cancel_requested
                 on conflict (lane_id, prefix) do update set tenant = excluded.tenant, workload = excluded.workload,
                     state = excluded.state, batch_id = excluded.batch_id, begun_at = excluded.begun_at,
                     until_at = excluded.until_at
                 where prime.until_at <= $4",
            )
            .bind(new.lane)
            .bind(new.prefix)
            .bind(batch)
            .bind(now)
            .bind(new.until)
            .bind(new.first)
            .execute(&mut *tx)
            .await?
            .rows_affected() == 1;
            let taken = begun && sqlx::query(
                "update deferral set state = 'batched', batch_id = $2, attempts = attempts + 1, cache_place = $3,
                     mark_bytes = $4
                 where id = $1 and state = 'queued'",
            )
            .bind(new.first)
            .bind(batch)
            .bind(new.place.number())
            .bind(mark_bytes(Some(new.place)))
            .execute(&mut *tx)
            .await?
            .rows_affected() == 1;
            if taken {
                // Due at once, like any other that was built.
                sqlx::query(
                    "insert into batch (id, lane_id, tenant, state, item_count, item_bytes, built_at, due_at, fence)
                     select $1, $2, tenant, 'building', 1, body_bytes + mark_bytes, $3, $3, 1
                     from deferral where id = $4",
                )
                .bind(batch)
                .bind(new.lane)
                .bind(now)
                .bind(new.first)
                .execute(&mut *tx)
                .await?;
                wait!(tx, new.prefix, new.until, new.followers);
            } else if begun {
                // It has gone elsewhere in this very moment.
                sqlx::query("delete from prime where lane_id = $1 and prefix = $2 and batch_id = $3")
                    .bind(new.lane)
                    .bind(new.prefix)
                    .bind(batch)
                    .execute(&mut *tx)
                    .await?;
            }
            taken
        }))
    }

    /// Lets calls wait for a first one that is out.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn wait_for_prime(
        &self,
        prefix: PrefixHash,
        until: Timestamp,
        ids: &[DeferralId],
    ) -> Result<(), StoreError> {
        write!(self, tx => wait!(tx, prefix, until, ids));
        Ok(())
    }

    /// A batch was built whose calls count on these beginnings: by reading them it keeps them longer.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn ride(&self, lane: LaneId, prefixes: &[PrefixHash], batch: BatchId) -> Result<(), StoreError> {
        write!(self, tx => {
            for prefix in prefixes {
                sqlx::query(
                    "update prime set batch_id = $3
                     where lane_id = $1 and prefix = $2 and state = 'warm' and batch_id is null",
                )
                .bind(lane)
                .bind(prefix)
                .bind(batch)
                .execute(&mut *tx)
                .await?;
            }
        });
        Ok(())
    }
}
