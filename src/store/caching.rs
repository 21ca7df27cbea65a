//! Caching: what it came to, batch by batch, and the workloads for which it is off because it lost.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::money::NanoUsd;
use crate::store::engine::{read, write};
use crate::store::{Store, StoreError};

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
pub(super) use count_caching;

/// A workload for which caching is off.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CachingOff {
    /// Whose.
    pub tenant: String,
    /// Which; none for calls without one.
    pub workload: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Over how many marked calls it lost.
    pub calls: u64,
    /// How much it lost.
    pub lost: NanoUsd,
}

impl CachingOff {
    /// How a workload is called that has no name.
    pub const WITHOUT_NAME: &str = "(none)";

    /// What it is called where people read of it.
    pub fn name(&self) -> &str {
        self.workload.as_deref().unwrap_or(Self::WITHOUT_NAME)
    }

    /// Whether it is off for calls of this tenant and workload.
    pub fn is_for(&self, tenant: &str, workload: Option<&str>) -> bool {
        self.tenant == tenant && self.workload.as_deref() == workload
    }
}

#[derive(sqlx::FromRow)]
struct CachingOffRow {
    tenant: String,
    workload: String,
    since_at: Timestamp,
    until_at: Timestamp,
    calls: i64,
    gain_nanousd: NanoUsd,
}

impl From<CachingOffRow> for CachingOff {
    fn from(row: CachingOffRow) -> Self {
        Self {
            tenant: row.tenant,
            workload: Some(row.workload).filter(|name| !name.is_empty()),
            since: row.since_at,
            until: row.until_at,
            calls: row.calls.unsigned_abs(),
            lost: NanoUsd::ZERO - row.gain_nanousd,
        }
    }
}

impl Store {
    /// Switches caching off for a workload in which it has lost, over all marked calls since `since` and over those that
    /// were settled before `settled_before` alike, of which there must be `least` calls. Gives what it switched off now.
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
    ) -> Result<Option<CachingOff>, StoreError> {
        let off: Option<CachingOffRow> = write!(self, tx => {
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
                None => None,
                Some((calls, gain, paid, live)) => sqlx::query_as(
                    "insert into cache_off (tenant, workload, since_at, until_at, calls, gain_nanousd)
                     values ($1, $2, $3, $4, $5, $6)
                     on conflict (tenant, workload) do update set since_at = excluded.since_at,
                         until_at = excluded.until_at, calls = excluded.calls, gain_nanousd = excluded.gain_nanousd
                     where cache_off.until_at <= $3
                     returning tenant, workload, since_at, until_at, calls, gain_nanousd",
                )
                .bind(tenant)
                .bind(workload)
                .bind(now)
                .bind(now.plus(off_for))
                .bind(calls)
                .bind(NanoUsd(gain).times(paid, live))
                .fetch_optional(tx)
                .await?,
            }
        });
        Ok(off.map(CachingOff::from))
    }

    /// The workloads for which caching is off.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn caching_off(&self, now: Timestamp) -> Result<Vec<CachingOff>, StoreError> {
        let rows: Vec<CachingOffRow> = read!(self, tx => {
            sqlx::query_as(
                "select tenant, workload, since_at, until_at, calls, gain_nanousd from cache_off
                 where until_at > $1 order by tenant, workload",
            )
            .bind(now)
            .fetch_all(tx)
            .await?
        });
        Ok(rows.into_iter().map(CachingOff::from).collect())
    }

    /// The workloads for which caching is on again; each is given once, to one who asks.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn caching_on_again(&self, now: Timestamp) -> Result<Vec<CachingOff>, StoreError> {
        let rows: Vec<CachingOffRow> = write!(self, tx => {
            sqlx::query_as(
                "delete from cache_off where until_at <= $1
                 returning tenant, workload, since_at, until_at, calls, gain_nanousd",
            )
            .bind(now)
            .fetch_all(tx)
            .await?
        });
        Ok(rows.into_iter().map(CachingOff::from).collect())
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
