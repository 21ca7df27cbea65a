//! Workloads: which there are, and what the inventory thinks of them.

use sqlx::QueryBuilder;

use crate::clock::Timestamp;
use crate::domain::workload::{NewWorkload, WorkloadId, WorkloadKind};
use crate::store::engine::{read, write};
use crate::store::{Store, StoreError};

/// Workloads in one statement, far below the 32,766 parameters that SQLite allows.
const AT_ONCE: usize = 500;

/// A workload that other calls may belong to.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct KnownWorkload {
    /// Its id.
    pub id: WorkloadId,
    /// The models that it asks for, without their version.
    pub family: String,
    /// The kind of its client.
    pub client: String,
    /// What prompts are compared with.
    pub sketch: Option<Vec<u8>>,
}

/// A workload as it is shown.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct StoredWorkload {
    /// Its id.
    pub id: WorkloadId,
    /// Whose it is.
    pub tenant: String,
    /// Its name, or its id as a text.
    pub name: String,
    /// How it came to be one.
    pub kind: WorkloadKind,
    /// The beginning of its system prompt.
    pub preview: Option<String>,
    /// When its first call came.
    #[sqlx(rename = "first_seen_at")]
    pub first_seen: Timestamp,
    /// When its last call came.
    #[sqlx(rename = "last_seen_at")]
    pub last_seen: Timestamp,
    /// What the inventory thinks of it, as JSON; none before it was thought about.
    pub assessment: Option<String>,
    /// The assessment's score.
    pub score: Option<i32>,
}

/// Which workloads are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadFilter {
    /// Those of this tenant.
    pub tenant: Option<String>,
    /// Those that had a call since then.
    pub since: Timestamp,
    /// Those behind this one.
    pub after: Option<WorkloadId>,
}

/// Writes workloads that are not there yet.
macro_rules! insert_workloads {
    ($tx:ident, $new:expr) => {
        for some in $new.chunks(AT_ONCE) {
            let mut insert = QueryBuilder::new(
                "insert into workload (id, tenant, name, kind, family, client, sketch, preview, first_seen_at,
                     last_seen_at, changed_at) ",
            );
            insert.push_values(some, |mut row, new| {
                row.push_bind(new.id).push_bind(&new.tenant).push_bind(&new.name).push_bind(new.kind);
                row.push_bind(&new.family).push_bind(&new.client).push_bind(&new.sketch).push_bind(&new.preview);
                row.push_bind(new.seen_at).push_bind(new.seen_at).push_bind(new.seen_at);
            });
            insert.push(" on conflict do nothing").build().execute(&mut *$tx).await?;
        }
    };
}

impl Store {
    /// The workloads of a tenant that nobody has named, the oldest first.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn known_workloads(&self, tenant: &str) -> Result<Vec<KnownWorkload>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_as(
                "select id, family, client, sketch from workload
                 where tenant = $1 and kind = 'alike' order by first_seen_at, id",
            )
            .bind(tenant)
            .fetch_all(tx)
            .await?
        }))
    }

    /// The workloads of a tenant that were named.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn named_workloads(&self, tenant: &str) -> Result<Vec<WorkloadId>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_scalar("select id from workload where tenant = $1 and kind = 'named'")
                .bind(tenant)
                .fetch_all(tx)
                .await?
        }))
    }

    /// Adds workloads of a tenant that nobody has named, if there are still as many as `known`. Where another replica has
    /// added some meanwhile, nothing is, since these may be like them.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn add_workloads(&self, tenant: &str, known: usize, new: &[NewWorkload]) -> Result<bool, StoreError> {
        let Some(first) = new.first() else { return Ok(true) };
        Ok(write!(self, tx => {
            // Whoever writes this row holds off the others until the end of its transaction.
            sqlx::query("insert into mark (name, at) values ('workload', $1)
                         on conflict (name) do update set at = excluded.at")
                .bind(first.seen_at)
                .execute(&mut *tx)
                .await?;
            let there: i64 = sqlx::query_scalar("select count(*) from workload where tenant = $1 and kind = 'alike'")
                .bind(tenant)
                .fetch_one(&mut *tx)
                .await?;
            let unchanged = usize::try_from(there).is_ok_and(|there| there == known);
            if unchanged {
                insert_workloads!(tx, new);
            }
            unchanged
        }))
    }

    /// Adds workloads whose ids nothing can change: those with names, and those for what is left over.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn name_workloads(&self, new: &[NewWorkload]) -> Result<(), StoreError> {
        if !new.is_empty() {
            write!(self, tx => insert_workloads!(tx, new));
        }
        Ok(())
    }

    /// Workloads, those with the best score first.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn workloads(&self, filter: &WorkloadFilter, limit: u32) -> Result<Vec<StoredWorkload>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_as(
                "select id, tenant, name, kind, preview, first_seen_at, last_seen_at, assessment, score from workload
                 where last_seen_at >= $1 and ($2 is null or tenant = $2)
                   and ($3 is null or (coalesce(score, -1), id) < (
                       select coalesce(score, -1), id from workload where id = $3))
                 order by coalesce(score, -1) desc, id desc limit $4",
            )
            .bind(filter.since)
            .bind(&filter.tenant)
            .bind(filter.after)
            .bind(i64::from(limit))
            .fetch_all(tx)
            .await?
        }))
    }

    /// Workloads with calls that are newer than what was thought of them before `before`, those that were thought about longest ago first.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn workloads_to_assess(&self, before: Timestamp, limit: u32) -> Result<Vec<StoredWorkload>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_as(
                "select id, tenant, name, kind, preview, first_seen_at, last_seen_at, assessment, score from workload
                 where kind in ('named', 'alike')
                   and (assessed_at is null or (assessed_at < $1 and assessed_at <= changed_at))
                 order by coalesce(assessed_at, first_seen_at), id limit $2",
            )
            .bind(before)
            .bind(i64::from(limit))
            .fetch_all(tx)
            .await?
        }))
    }

    /// Notes what the inventory thinks of a workload.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn workload_assessed(
        &self,
        id: WorkloadId,
        score: u8,
        assessment: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        write!(self, tx => {
            sqlx::query("update workload set score = $2, assessment = $3, assessed_at = $4 where id = $1")
                .bind(id)
                .bind(i32::from(score))
                .bind(assessment)
                .bind(now)
                .execute(tx)
                .await?;
        });
        Ok(())
    }
}
