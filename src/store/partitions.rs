//! Partitions: on PostgreSQL the records of a day are a table of their own, so that forgetting a day is dropping one.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use sqlx::{AssertSqlSafe, PgPool};

use crate::clock::Timestamp;
use crate::store::engine::{BEGIN_POSTGRES, Engine};
use crate::store::{Store, StoreError};

const DAY_MILLIS: i64 = 24 * 3_600_000;

/// Days that are remembered to have a partition: more than records are usually kept for.
const DAYS_REMEMBERED: usize = 1_000;

/// Somebody else made the same table at the same moment.
const MADE_MEANWHILE: [&str; 3] = ["23505", "42P07", "42710"];

/// A record has no partition to go into.
const NO_PARTITION: &str = "23514";

/// What is known of the partitions.
#[derive(Debug, Default)]
pub(super) struct Partitions(Mutex<BTreeSet<i64>>);

impl Store {
    /// Makes the partitions that records of these instants go into, where there are none.
    pub(super) async fn make_room(&self, times: impl Iterator<Item = Timestamp>) -> Result<(), StoreError> {
        let Engine::Postgres(pool) = &self.engine else { return Ok(()) };
        let days = self.partitions.missing(times);
        for day in days {
            match make_partition(pool, day).await {
                Err(StoreError::Unavailable(error)) if has_code(&error, &MADE_MEANWHILE) => {}
                made => made?,
            }
            self.partitions.remember(day);
        }
        Ok(())
    }

    /// Passes on what became of a write; where another replica has dropped a partition, all are looked for again.
    pub(super) fn noticing<T>(&self, written: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Unavailable(error)) = &written
            && has_code(error, &[NO_PARTITION])
        {
            self.partitions.forget_all();
        }
        written
    }

    /// Drops the partitions whose last record came before `before`; says how many.
    pub(super) async fn drop_partitions(&self, pool: &PgPool, before: Timestamp) -> Result<u64, StoreError> {
        let mut transaction = pool.begin_with(BEGIN_POSTGRES).await?;
        let names: Vec<String> = sqlx::query_scalar(
            "select relname::text from pg_inherits join pg_class on pg_class.oid = inhrelid
             where inhparent = 'call_record'::regclass order by relname",
        )
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let mut dropped = 0;
        for name in names {
            let Some(day) = day_of(&name).filter(|day| (day + 1) * DAY_MILLIS <= before.as_millis()) else { continue };
            // One at a time: dropping one keeps writers of the others waiting until the end of the transaction.
            let mut transaction = pool.begin_with(BEGIN_POSTGRES).await?;
            let statement = format!("drop table if exists {name}");
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
            transaction.commit().await?;
            self.partitions.forget(day);
            dropped += 1;
        }
        Ok(dropped)
    }
}

impl Partitions {
    fn missing(&self, times: impl Iterator<Item = Timestamp>) -> BTreeSet<i64> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.map(|at| at.as_millis().div_euclid(DAY_MILLIS)).filter(|day| !known.contains(day)).collect()
    }

    fn remember(&self, day: i64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= DAYS_REMEMBERED {
            known.clear();
        }
        known.insert(day);
    }

    /// Somebody else may have dropped any.
    fn forget_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn forget(&self, day: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&day);
    }
}

async fn make_partition(pool: &PgPool, day: i64) -> Result<(), StoreError> {
    let (name, from, to) = (name_of(day), Timestamp::from_millis(day * DAY_MILLIS), day + 1);
    let to = Timestamp::from_millis(to * DAY_MILLIS);
    let mut transaction = pool.begin_with(BEGIN_POSTGRES).await?;
    let statement =
        format!("create table if not exists {name} partition of call_record for values from ('{from}') to ('{to}')");
    sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

/// The name of a day's partition: the date, which is what an operator looks for.
fn name_of(day: i64) -> String {
    let date: String = Timestamp::from_millis(day * DAY_MILLIS).to_string();
    format!("call_record_{}", date.get(..10).unwrap_or_default().replace('-', ""))
}

fn day_of(name: &str) -> Option<i64> {
    let date = name.strip_prefix("call_record_").filter(|date| date.len() == 8 && date.is_ascii())?;
    let at = Timestamp::parse_rfc3339(&format!("{}-{}-{}T00:00:00Z", &date[..4], &date[4..6], &date[6..]))?;
    Some(at.as_millis().div_euclid(DAY_MILLIS))
}

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| codes.contains(&code.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_reads_back_from_its_name() {
        assert_eq!(name_of(20_782), "call_record_20261125");
        for day in [0, 1, 20_782, 40_000] {
            assert_eq!(day_of(&name_of(day)), Some(day));
        }
        for other in ["call_record", "call_record_pkey", "call_record_2026112", "call_record_20261332", "deferral"] {
            assert_eq!(day_of(other), None, "{other}");
        }
    }
}
