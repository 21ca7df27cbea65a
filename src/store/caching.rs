//! Caching: queued calls that may be marked, the beginnings that a call went ahead with, and what came of it.

use std::time::Duration;

use sqlx::QueryBuilder;

use crate::clock::Timestamp;
use crate::domain::batch::BatchState;
use crate::domain::caching::{MARK_BYTES, Place, PrefixHash, Prefixes};
use crate::domain::id::{BatchId, DeferralId};
use crate::domain::money::NanoUsd;
use crate::store::engine::{read, write};
use crate::store::lanes::LaneId;
use crate::store::{Store, StoreError};

/// Calls that are changed by one statement; far below the 32,766 parameters that SQLite allows.
const ROWS: usize = 500;

/// Adds what the cache did for some calls to their batch.
macro_rules! count_caching {
    ($tx:ident, $batch:expr, $effect:expr) => {
        sqlx::query(
            "update batch set cache_read_tokens = cache_read_tokens + $2, cache_write_tokens = cache_write_tokens + $3,
                 cache_gain_nanousd = cache_gain_nanousd + $4
             where id = $1",
        )
        .bind($batch)
        .bind(count($effect.read_tokens))
        .bind(count($effect.write_tokens))
        .bind($effect.gain)
        .execute(&mut *$tx)
        .await?
    };
}

/// Takes queued calls off the queue until a first call is over.
macro_rules! wait {
    ($tx:ident, $prefix:expr, $until:expr, $ids:expr) => {
        for some in $ids.chunks(ROWS) {
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
pub(super) use count_caching;

/// A queued call that may be marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cacheable {
    /// The call.
    pub id: DeferralId,
    /// Whose it is.
    pub tenant: String,
    /// Its workload, if it was given one.
    pub workload: Option<String>,
    /// Its model.
    pub model: String,
    /// The beginnings of its prompt.
    pub prefixes: Prefixes,
    /// Where it is to be marked, by what was last decided.
    pub mark: Option<Place>,
    /// When its result is wanted.
    pub deadline: Timestamp,
    /// From when on it may be put into a batch.
    pub queued_at: Timestamp,
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

/// A beginning with the batch that is out with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutPrime {
    /// In which lane.
    pub lane: LaneId,
    /// The beginning.
    pub prefix: PrefixHash,
    /// How it stands.
    pub state: PrimeState,
    /// Until when.
    pub until: Timestamp,
    /// The batch.
    pub batch: BatchId,
    /// Whose first call it was.
    pub tenant: String,
    /// Of which workload; empty for none.
    pub workload: String,
    /// How the batch stands; `None` where there is none.
    pub batch_state: Option<BatchState>,
    /// When it was, or may have been, sent.
    pub sent_at: Option<Timestamp>,
    /// When the provider was seen to be done with it.
    pub ended_at: Option<Timestamp>,
    /// Whether its calls wrote to the cache or read from it.
    pub is_cached: bool,
}

/// A workload for which caching is off.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct CachingOff {
    /// Whose.
    pub tenant: String,
    /// Which; empty for calls without one.
    pub workload: String,
    /// Since when.
    #[sqlx(rename = "since_at")]
    pub since: Timestamp,
    /// Until when.
    #[sqlx(rename = "until_at")]
    pub until: Timestamp,
    /// Over how many marked calls it lost.
    pub calls: i64,
    /// What it gained, which is below nothing.
    #[sqlx(rename = "gain_nanousd")]
    pub gained: NanoUsd,
}

#[derive(sqlx::FromRow)]
struct CacheableRow {
    id: DeferralId,
    tenant: String,
    workload: Option<String>,
    model: String,
    prefixes: Vec<u8>,
    cache_place: Option<i16>,
    deadline_at: Timestamp,
    queued_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct OutRow {
    lane_id: LaneId,
    prefix: PrefixHash,
    state: PrimeState,
    until_at: Timestamp,
    batch_id: BatchId,
    tenant: String,
    workload: String,
    batch_state: Option<BatchState>,
    sent_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    cached_tokens: i64,
}

impl Store {
    /// The calls at the head of a lane that may be marked.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn cacheable(&self, lane: LaneId, now: Timestamp, limit: usize) -> Result<Vec<Cacheable>, StoreError> {
        let rows: Vec<CacheableRow> = read!(self, tx => {
            sqlx::query_as(
                "select id, tenant, workload, model, prefixes, cache_place, deadline_at, queued_at from deferral
                 where lane_id = $1 and state = 'queued' and prefixes is not null and queued_at <= $2
                   and not cancel_requested
                 order by queued_at, id limit $3",
            )
            .bind(lane)
            .bind(now)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(tx)
            .await?
        });
        Ok(rows.into_iter().map(Cacheable::from).collect())
    }

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

    /// Decides where queued calls are marked, for when they are put into a batch.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn mark_calls(&self, marks: &[(DeferralId, Option<Place>)]) -> Result<(), StoreError> {
        let mut places: Vec<Option<Place>> = marks.iter().map(|(_, place)| *place).collect();
        places.sort_unstable();
        places.dedup();
        for place in places {
            let ids: Vec<DeferralId> = marks.iter().filter(|mark| mark.1 == place).map(|mark| mark.0).collect();
            for some in ids.chunks(ROWS) {
                write!(self, tx => {
                    let mut update = QueryBuilder::new("update deferral set cache_place = ");
                    update.push_bind(place.map(Place::number)).push(", mark_bytes = ").push_bind(mark_bytes(place));
                    update.push(" where state = 'queued' and id in (");
                    let mut list = update.separated(", ");
                    for id in some {
                        list.push_bind(*id);
                    }
                    update.push(")").build().execute(tx).await?;
                });
            }
        }
        Ok(())
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

    /// The beginnings with which a batch is out.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn primes_out(&self) -> Result<Vec<OutPrime>, StoreError> {
        let rows: Vec<OutRow> = read!(self, tx => {
            sqlx::query_as(
                "select prime.lane_id, prime.prefix, prime.state, prime.until_at, prime.batch_id, prime.tenant,
                     coalesce(prime.workload, '') as workload, batch.state as batch_state, batch.sent_at, batch.ended_at,
                     coalesce(batch.cache_read_tokens + batch.cache_write_tokens, 0) as cached_tokens
                 from prime left join batch on batch.id = prime.batch_id
                 where prime.batch_id is not null
                 order by prime.until_at",
            )
            .fetch_all(tx)
            .await?
        });
        Ok(rows.into_iter().map(OutPrime::from).collect())
    }

    /// A batch is not waited for any more that was out with a beginning: what is known of that now. Those who wait for it
    /// take their old places in the queue. False if others were faster.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn prime_over(&self, out: &OutPrime, state: PrimeState, until: Timestamp) -> Result<bool, StoreError> {
        Ok(write!(self, tx => {
            let over = sqlx::query(
                "update prime set state = $4, until_at = $5, batch_id = null
                 where lane_id = $1 and prefix = $2 and batch_id = $3",
            )
            .bind(out.lane)
            .bind(out.prefix)
            .bind(out.batch)
            .bind(state)
            .bind(until)
            .execute(&mut *tx)
            .await?
            .rows_affected() == 1;
            if over {
                sqlx::query(
                    "update deferral set queued_at = accepted_at, primed_by = null
                     where lane_id = $1 and primed_by = $2 and state = 'queued' and primed_by is not null",
                )
                .bind(out.lane)
                .bind(out.prefix)
                .execute(tx)
                .await?;
            }
            over
        }))
    }

    /// Switches caching off for a workload in which it has lost, over all marked calls since `since` and over those that
    /// were settled before `settled_before` alike, of which there must be `least` calls. Says whether it did now.
    ///
    /// The two, because those who read what a first call has written are settled after it.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn judge_caching(
        &self,
        (tenant, workload): (&str, &str),
        (since, settled_before, now): (Timestamp, Timestamp, Timestamp),
        least: i64,
        off_for: Duration,
    ) -> Result<bool, StoreError> {
        Ok(write!(self, tx => {
            let mut results = Vec::with_capacity(2);
            for until in [settled_before, now] {
                let text = if workload.is_empty() { RESULT_WITHOUT_NAME } else { RESULT };
                let result: (i64, i64, i64, i64) = sqlx::query_as(text)
                .bind(tenant)
                .bind(workload)
                .bind(since)
                .bind(until)
                .fetch_one(&mut *tx)
                .await?;
                results.push(result);
            }
            let lost = results.iter().all(|(calls, gain, ..)| *calls >= least && *gain < 0);
            match results.pop().filter(|_| lost) {
                None => false,
                Some((calls, gain, paid, live)) => sqlx::query(
                    "insert into cache_off (tenant, workload, since_at, until_at, calls, gain_nanousd)
                     values ($1, $2, $3, $4, $5, $6)
                     on conflict (tenant, workload) do update set since_at = excluded.since_at,
                         until_at = excluded.until_at, calls = excluded.calls, gain_nanousd = excluded.gain_nanousd
                     where cache_off.until_at <= $3",
                )
                .bind(tenant)
                .bind(workload)
                .bind(now)
                .bind(now.plus(off_for))
                .bind(calls)
                .bind(NanoUsd(gain).times(paid, live))
                .execute(tx)
                .await?
                .rows_affected() == 1,
            }
        }))
    }

    /// The workloads for which caching is off.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn caching_off(&self, now: Timestamp) -> Result<Vec<CachingOff>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_as(
                "select tenant, workload, since_at, until_at, calls, gain_nanousd from cache_off
                 where until_at > $1 order by tenant, workload",
            )
            .bind(now)
            .fetch_all(tx)
            .await?
        }))
    }
}

/// What marked calls of a workload came to: $1 tenant, $2 workload, $3 since, $4 until when they were settled.
macro_rules! result {
    ($workload:literal) => {
        concat!(
            "select count(*), cast(coalesce(sum(uncached_nanousd - live_nanousd), 0) as bigint),
                 cast(coalesce(sum(paid_nanousd), 0) as bigint), cast(coalesce(sum(live_nanousd), 0) as bigint)
             from entry
             where marked and tenant = $1 and ",
            $workload,
            " and settled_at >= $3 and settled_at <= $4 and served_by = 'batch' and uncached_nanousd is not null"
        )
    };
}

const RESULT: &str = result!("workload = $2");
const RESULT_WITHOUT_NAME: &str = result!("workload is null and $2 = ''");

fn mark_bytes(place: Option<Place>) -> i16 {
    place.map_or(0, |_| i16::try_from(MARK_BYTES).unwrap_or(i16::MAX))
}

impl From<CacheableRow> for Cacheable {
    fn from(row: CacheableRow) -> Self {
        Self {
            id: row.id,
            tenant: row.tenant,
            workload: row.workload,
            model: row.model,
            prefixes: Prefixes::from_bytes(&row.prefixes),
            mark: row.cache_place.and_then(Place::of),
            deadline: row.deadline_at,
            queued_at: row.queued_at,
        }
    }
}

impl From<OutRow> for OutPrime {
    fn from(row: OutRow) -> Self {
        Self {
            lane: row.lane_id,
            prefix: row.prefix,
            state: row.state,
            until: row.until_at,
            batch: row.batch_id,
            tenant: row.tenant,
            workload: row.workload,
            batch_state: row.batch_state,
            sent_at: row.sent_at,
            ended_at: row.ended_at,
            is_cached: row.cached_tokens > 0,
        }
    }
}
