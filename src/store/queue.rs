//! The queue: what waits to be put into a batch, by lane and by tenant.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::store::engine::{read, write};
use crate::store::lanes::LaneId;
use crate::store::{Store, StoreError};

/// What waits in one lane, seen as far as one batch can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The lane.
    pub lane: LaneId,
    /// Calls at its head, at most as many as were asked for.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Since when the first of them waits.
    pub oldest: Timestamp,
}

/// How many calls wait, by tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueDepth(pub HashMap<String, u64>);

impl Store {
    /// The lanes in which calls wait that may be sent now, each seen to `depth` calls.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn backlog(&self, now: Timestamp, depth: usize) -> Result<Vec<Backlog>, StoreError> {
        let mut backlogs = Vec::new();
        read!(self, tx => {
            let lanes: Vec<LaneId> = sqlx::query_scalar(
                "select id from lane
                 where (paused_until is null or paused_until <= $1) and exists (
                     select 1 from deferral where lane_id = lane.id and state = 'queued' and queued_at <= $1)
                 order by id",
            )
            .bind(now)
            .fetch_all(&mut *tx)
            .await?;
            for lane in lanes {
                let (count, bytes, oldest): (i64, i64, Option<Timestamp>) = sqlx::query_as(
                    "select count(*), coalesce(sum(bytes), 0), min(queued_at) from (
                         select body_bytes + mark_bytes as bytes, queued_at from deferral
                         where lane_id = $1 and state = 'queued' and queued_at <= $2
                         order by queued_at, id limit $3) as head",
                )
                .bind(lane)
                .bind(now)
                .bind(i64::try_from(depth).unwrap_or(i64::MAX))
                .fetch_one(&mut *tx)
                .await?;
                if let Some(oldest) = oldest {
                    backlogs.push(Backlog { lane, count: count.unsigned_abs(), bytes: bytes.unsigned_abs(), oldest });
                }
            }
        });
        Ok(backlogs)
    }

    /// How many calls wait, by tenant.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn queue_depth(&self) -> Result<QueueDepth, StoreError> {
        let counts: Vec<(String, i64)> = read!(self, tx => {
            sqlx::query_as(
                "select lane.tenant, waiting.calls
                 from (select lane_id, count(*) as calls from deferral where state = 'queued' group by lane_id) as waiting
                 join lane on lane.id = waiting.lane_id",
            )
            .fetch_all(tx)
            .await?
        });
        let mut depth = HashMap::new();
        for (tenant, calls) in counts {
            *depth.entry(tenant).or_insert(0) += calls.unsigned_abs();
        }
        Ok(QueueDepth(depth))
    }

    /// Since when the oldest call waits that is queued.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn oldest_queued(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_scalar(
                "select min(head.at) from (
                     select (select min(queued_at) from deferral where lane_id = lane.id and state = 'queued') as at
                     from lane) as head",
            )
            .fetch_one(tx)
            .await?
        }))
    }

    /// Makes due whatever is queued now, however short it has waited; on every replica.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn mark_flush(&self, now: Timestamp) -> Result<(), StoreError> {
        write!(self, tx => {
            sqlx::query(
                "insert into mark (name, at) values ('flush', $1) on conflict (name) do update set at = excluded.at",
            )
            .bind(now)
            .execute(&mut *tx)
            .await?;
            // Who waits for the prompt cache is to go now as well.
            sqlx::query(
                "update deferral set queued_at = accepted_at, primed_by = null
                 where state = 'queued' and primed_by is not null",
            )
            .execute(tx)
            .await?;
        });
        Ok(())
    }

    /// When a flush was last asked for.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn flush_mark(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_scalar("select at from mark where name = 'flush'").fetch_optional(tx).await?
        }))
    }
}
