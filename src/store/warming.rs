//! Warming: the beginnings with which a batch is out, and what is known of them when it is over.

use crate::clock::Timestamp;
use crate::domain::batch::BatchState;
use crate::domain::caching::PrefixHash;
use crate::domain::id::BatchId;
use crate::store::engine::{read, write};
use crate::store::lanes::LaneId;
use crate::store::primes::PrimeState;
use crate::store::{Store, StoreError};

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
