//! Retention: what is final for long enough goes, and credentials go as soon as nothing needs them. Entries stay.

use crate::clock::Timestamp;
use crate::store::engine::{Dialect, Engine, write};
use crate::store::lanes::FORGET_AFTER;
use crate::store::partitions::{BODIES, RECORDS};
use crate::store::{Store, StoreError};

impl Store {
    /// Deletes at most `limit` deferrals that became final before `before`, with all that belongs to them; says how many.
    /// On PostgreSQL bodies and answers stay behind, for [`Store::forget_bodies`].
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn forget_deferrals(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let parts: &[&str] = if self.engine.has_partitions() {
            &[FORGET_ATTEMPTS]
        } else {
            &[FORGET_PAYLOADS, FORGET_OUTCOMES, FORGET_ATTEMPTS]
        };
        Ok(write!(self, tx => {
            // One at a time: between two statements another replica would change the choice, and leave parts behind.
            sqlx::query(MARK_FORGETTING).bind(before).execute(&mut *tx).await?;
            // The parts go first, each by the same choice; the deferrals themselves last.
            for statement in parts {
                sqlx::query(*statement).bind(before).bind(i64::from(limit)).execute(&mut *tx).await?;
            }
            sqlx::query(FORGET_DEFERRALS).bind(before).bind(i64::from(limit)).execute(tx).await?.rows_affected()
        }))
    }

    /// Drops, on PostgreSQL, the bodies and answers of the days that were over before `before` and of which no deferral is
    /// left; says how many days.
    ///
    /// They are the bulk of all bytes, and deleted row by row they would leave as much to be vacuumed.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn forget_bodies(&self, before: Timestamp) -> Result<u64, StoreError> {
        match &self.engine {
            Engine::Postgres(pool) => self.drop_partitions(pool, BODIES, before).await,
            Engine::Sqlite { .. } => Ok(0),
        }
    }

    /// Deletes at most `limit` lines of the feed and deliveries, and the groups, that were done before `before`; says how many.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn forget_handed_over(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        Ok(write!(self, tx => {
            sqlx::query(MARK_FORGETTING).bind(before).execute(&mut *tx).await?;
            let mut forgotten = 0;
            for statement in [FORGET_FEED, FORGET_DELIVERY_ATTEMPTS, FORGET_DELIVERIES] {
                let done = sqlx::query(statement).bind(before).bind(i64::from(limit)).execute(&mut *tx).await?;
                forgotten += done.rows_affected();
            }
            let groups: Vec<(String, String)> = sqlx::query_as(tx.text(OLD_GROUPS_SQLITE, OLD_GROUPS_POSTGRES))
                .bind(before)
                .bind(i64::from(limit))
                .fetch_all(&mut *tx)
                .await?;
            for (tenant, name) in groups {
                let done = sqlx::query(FORGET_GROUP).bind(tenant).bind(name).execute(&mut *tx).await?;
                forgotten += done.rows_affected();
            }
            forgotten
        }))
    }

    /// Deletes records of calls that came before `before`: on SQLite at most `limit`, on PostgreSQL day by day. Says how
    /// many rows, or days, that were.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn forget_records(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        if let Engine::Postgres(pool) = &self.engine {
            return self.drop_partitions(pool, RECORDS, before).await;
        }
        Ok(write!(self, tx => {
            sqlx::query(FORGET_RECORDS).bind(before).bind(i64::from(limit)).execute(tx).await?.rows_affected()
        }))
    }

    /// Deletes batches that were done before `before`.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn forget_batches(&self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(write!(self, tx => {
            sqlx::query(
                "delete from batch where (state = 'ingested' and ingested_at < $1) or (state = 'void' and built_at < $1)",
            )
            .bind(before)
            .execute(tx)
            .await?
            .rows_affected()
        }))
    }

    /// Deletes the credentials that no deferral and no batch needs any more.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn forget_lanes(&self, now: Timestamp) -> Result<u64, StoreError> {
        Ok(write!(self, tx => {
            let gone = sqlx::query(
                "delete from lane where used_at < $1
                   and not exists (select 1 from deferral where lane_id = lane.id and completed_at is null)
                   and not exists (select 1 from batch where lane_id = lane.id
                                   and state in ('building', 'uncertain', 'submitted', 'ended'))",
            )
            .bind(now.minus(FORGET_AFTER))
            .execute(&mut *tx)
            .await?
            .rows_affected();
            // Beginnings of prompts that were cached go with the credential that they were cached for.
            sqlx::query("delete from prime where not exists (select 1 from lane where lane.id = prime.lane_id)")
                .execute(tx)
                .await?;
            gone
        }))
    }
}

/// Whoever writes this row holds off the others until the end of its transaction: $1 before when is forgotten.
const MARK_FORGETTING: &str =
    "insert into mark (name, at) values ('forget', $1) on conflict (name) do update set at = excluded.at";

/// The ids to forget: $1 before when, $2 how many.
macro_rules! forget {
    ($before:literal) => {
        concat!(
            $before,
            " in (select id from deferral where completed_at < $1 and completed_at is not null
                  order by completed_at, id limit $2)"
        )
    };
}

const FORGET_PAYLOADS: &str = forget!("delete from payload where deferral_id");
const FORGET_OUTCOMES: &str = forget!("delete from outcome where deferral_id");
const FORGET_ATTEMPTS: &str = forget!("delete from attempt where deferral_id");
const FORGET_DEFERRALS: &str = forget!("delete from deferral where id");

/// The oldest lines stand first, so those behind one that is not old enough need not be looked at. One that was not
/// searched yet for a group to announce stays.
const FORGET_FEED: &str = "
    delete from feed where position in (
        select position from (
            select position, group_name, settled_at from feed where position > 0 order by position limit $2) as oldest
        where settled_at < $1
          and (group_name is null or position <= (select value from counter where name = 'announced')))";

const FORGET_DELIVERY_ATTEMPTS: &str = "
    delete from delivery_attempt where delivery_id in (
        select id from delivery where ended_at < $1 and ended_at is not null order by ended_at, id limit $2)";

const FORGET_DELIVERIES: &str = "
    delete from delivery where id in (
        select id from delivery where ended_at < $1 and ended_at is not null order by ended_at, id limit $2)";

const FORGET_RECORDS: &str = "
    delete from call_record where (at, id) in (
        select at, id from call_record where at < $1 order by at, id limit $2)";

/// Groups of which nothing is new since $1, and no member is left. They are locked, so that nobody joins one meanwhile;
/// who does just now is let be.
macro_rules! old_groups {
    ($lock:literal) => {
        concat!(
            "select tenant, name from deferral_group
             where opened_at < $1 and coalesce(announced_at, closed_at, opened_at) < $1
               and (select 1 from deferral
                    where tenant = deferral_group.tenant and group_name = deferral_group.name
                      and group_name is not null limit 1) is null
             order by opened_at limit $2",
            $lock
        )
    };
}

const OLD_GROUPS_SQLITE: &str = old_groups!("");
const OLD_GROUPS_POSTGRES: &str = old_groups!(" for update skip locked");

/// A statement of its own: a member may have come before the group was locked.
const FORGET_GROUP: &str = "
    delete from deferral_group where tenant = $1 and name = $2
      and not exists (select 1 from deferral where tenant = $1 and group_name = $2 and group_name is not null)";
