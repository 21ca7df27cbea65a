//! Partitions: on PostgreSQL what a day brings is a table of its own, so that forgetting the day is dropping a table.
//!
//! Calls are recorded by the day on which they came, and bodies and answers belong to the day on which their deferral was
//! accepted, which its id tells. A body or an answer without its deferral counts as gone: it is only ever looked for by way
//! of its deferral.

mod part;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use crate::clock::{Day, Timestamp};
use crate::domain::id::DeferralId;
use crate::store::engine::{Engine, begin_postgres};
use crate::store::{Store, StoreError};
use part::Part;

/// How long dropping a partition waits for others to be done with its table. All who come later wait behind it, calls that
/// are accepted among them, so it gives up soon, and is tried again at the worker's next turn. A reader who takes hours, as
/// a backup does, so delays retention and not one call.
///
/// Detaching it first, concurrently, would wait without holding up anybody. But that cannot be part of a transaction, and so
/// could not be undone where a call of that day turns up just then; and if it breaks off, others must clear up behind it.
const WAIT_FOR_TABLE: &str = "set local lock_timeout = '100ms'";

/// The lock was not to be had by then.
const NOT_NOW: &str = "55P03";

/// Somebody else made the same table at the same moment.
const MADE_MEANWHILE: [&str; 3] = ["23505", "42P07", "42710"];

/// A row has no partition to go into.
const NO_PARTITION: &str = "23514";

/// Tables whose partitions are made and dropped for the same days.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// In the order in which their partitions are made.
    tables: &'static [&'static str],
    /// Where a day begins, as the tables are partitioned.
    edge: fn(Day) -> String,
    /// Whether a partition stays for as long as there is a deferral of its days.
    is_of_deferrals: bool,
}

pub(super) const RECORDS: Family =
    Family { tables: &["call_record"], edge: |day| day.start().to_string(), is_of_deferrals: false };

/// A body that has found its place has one for its answer too, since that is made first.
pub(super) const BODIES: Family = Family {
    tables: &["outcome", "payload"],
    edge: |day| DeferralId::first_at(day.start()).0.to_string(),
    is_of_deferrals: true,
};

/// The ids that a statement is about, from the first to the last: told to PostgreSQL, which opens the partitions of those
/// days and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdSpan {
    pub(super) first: DeferralId,
    pub(super) last: DeferralId,
}

impl IdSpan {
    pub(super) const ALL: Self = Self { first: DeferralId(uuid::Uuid::nil()), last: DeferralId(uuid::Uuid::max()) };

    /// From the lowest to the highest of some ids.
    pub(super) fn of(ids: impl Iterator<Item = DeferralId> + Clone) -> Self {
        let none = DeferralId(uuid::Uuid::nil());
        Self { first: ids.clone().min().unwrap_or(none), last: ids.max().unwrap_or(none) }
    }
}

/// The days on which deferrals were accepted.
pub(super) fn days_of(ids: impl Iterator<Item = DeferralId>) -> BTreeSet<Day> {
    ids.map(|id| Day::of(id.made_at())).collect()
}

impl Store {
    /// Writes what belongs to these days, once they have their partitions.
    ///
    /// They are made before, and never within the transaction that writes: what it locks meanwhile others may wait for.
    pub(super) async fn in_room<T, F>(
        &self,
        family: Family,
        days: BTreeSet<Day>,
        write: impl Fn() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        self.make_room(family, &days).await?;
        match write().await {
            // Another replica has dropped one that was there: all are looked for again.
            Err(StoreError::Unavailable(error)) if has_code(&error, &[NO_PARTITION]) => {
                self.partitions.forget(family);
                self.make_room(family, &days).await?;
                write().await
            }
            written => written,
        }
    }

    /// Makes the partitions for what is accepted today and tomorrow, so that no call has to wait for one.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn make_room_ahead(&self, now: Timestamp) -> Result<(), StoreError> {
        let today = Day::of(now);
        self.make_room(BODIES, &BTreeSet::from([today, today.plus(1)])).await
    }

    async fn make_room(&self, family: Family, days: &BTreeSet<Day>) -> Result<(), StoreError> {
        let Engine::Postgres(pool) = &self.engine else { return Ok(()) };
        if self.partitions.have(family, days) {
            return Ok(());
        }
        for table in family.tables {
            let mut there = Parts::read(pool, table).await?;
            for day in days.iter().copied().filter(|day| !there.have(*day)).collect::<Vec<_>>() {
                match make_partition(pool, family, table, day).await {
                    Err(StoreError::Unavailable(error)) if has_code(&error, &MADE_MEANWHILE) => {}
                    made => made?,
                }
                there.0.insert(Part::Day(day));
            }
            self.partitions.remember(table, there);
        }
        Ok(())
    }

    /// Drops the partitions whose days were all over before `before`, and that nothing needs; says how many.
    pub(super) async fn drop_partitions(
        &self,
        pool: &PgPool,
        family: Family,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut parts = BTreeSet::new();
        for table in family.tables {
            parts.extend(Parts::read(pool, table).await?.0);
        }
        let mut dropped = 0;
        for part in parts.into_iter().filter(|part| part.end().start() <= before) {
            match drop_partition(pool, family, part).await {
                Ok(true) => dropped += 1,
                Ok(false) => {}
                // Whoever reads there would keep the next one waiting as well.
                Err(StoreError::Unavailable(error)) if has_code(&error, &[NOT_NOW]) => break,
                Err(error) => return Err(error),
            }
        }
        if dropped > 0 {
            self.partitions.forget(family);
        }
        Ok(dropped)
    }
}

/// The partitions of one table.
#[derive(Debug, Default)]
struct Parts(BTreeSet<Part>);

impl Parts {
    /// Those that there are.
    async fn read(pool: &PgPool, table: &str) -> Result<Self, StoreError> {
        let mut transaction = begin_postgres(pool).await?;
        let names: Vec<String> = sqlx::query_scalar(
            "select relname::text from pg_inherits join pg_class on pg_class.oid = inhrelid
             where inhparent = $1::regclass",
        )
        .bind(table)
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Self(names.iter().filter_map(|name| Part::of_name(table, name)).collect()))
    }

    fn have(&self, day: Day) -> bool {
        // The earliest come first, and there is one such part at most.
        let is_earlier = self.0.first().is_some_and(|part| matches!(part, Part::Until(end) if day < *end));
        is_earlier || self.0.contains(&Part::Day(day))
    }
}

/// The partitions that are known to be there, by their tables.
#[derive(Debug, Default)]
pub(super) struct Partitions(Mutex<BTreeMap<&'static str, Parts>>);

impl Partitions {
    fn have(&self, family: Family, days: &BTreeSet<Day>) -> bool {
        let known = self.known();
        let has_all = |table| known.get(table).is_some_and(|parts| days.iter().all(|day| parts.have(*day)));
        family.tables.iter().all(has_all)
    }

    fn remember(&self, table: &'static str, parts: Parts) {
        self.known().insert(table, parts);
    }

    fn forget(&self, family: Family) {
        self.known().retain(|table, _| !family.tables.contains(table));
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<&'static str, Parts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Made on its own and then attached: that way neither readers nor writers of the table have to wait.
async fn make_partition(pool: &PgPool, family: Family, table: &str, day: Day) -> Result<(), StoreError> {
    let (name, from, to) = (Part::Day(day).name(table), (family.edge)(day), (family.edge)(day.plus(1)));
    let mut transaction = begin_postgres(pool).await?;
    for statement in [
        format!("create table {name} (like {table} including all)"),
        format!("alter table {table} attach partition {name} for values from ('{from}') to ('{to}')"),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
    }
    Ok(transaction.commit().await?)
}

/// Drops one part of all tables of a family, unless a deferral needs it.
async fn drop_partition(pool: &PgPool, family: Family, part: Part) -> Result<bool, StoreError> {
    let mut transaction = begin_postgres(pool).await?;
    // First without a lock: this may have to go over many deferrals that were just deleted, which the second look need not.
    let is_needed = family.is_of_deferrals && has_deferrals(&mut transaction, part).await?;
    transaction.commit().await?;
    if is_needed {
        return Ok(false);
    }
    let mut transaction = begin_postgres(pool).await?;
    sqlx::query(WAIT_FOR_TABLE).execute(&mut *transaction).await?;
    let tables = family.tables.iter().map(|table| format!("only {table}")).collect::<Vec<_>>().join(", ");
    let lock = format!("lock table {tables} in access exclusive mode");
    sqlx::query(AssertSqlSafe(lock)).execute(&mut *transaction).await?;
    // Now whoever has accepted a call is seen, and whoever is about to finds no place for its body and makes one anew.
    if family.is_of_deferrals && has_deferrals(&mut transaction, part).await? {
        transaction.rollback().await?;
        return Ok(false);
    }
    let names = family.tables.iter().map(|table| part.name(table)).collect::<Vec<_>>().join(", ");
    sqlx::query(AssertSqlSafe(format!("drop table if exists {names}"))).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Whether there is a deferral whose body belongs to this part.
async fn has_deferrals(connection: &mut PgConnection, part: Part) -> Result<bool, sqlx::Error> {
    let (first, end) = part.ids();
    // In their order, so that PostgreSQL goes by the index whatever it believes of how many there are.
    let found: Option<i32> =
        sqlx::query_scalar("select 1 from deferral where id >= $1 and id < $2 order by id limit 1")
            .bind(first)
            .bind(end)
            .fetch_optional(connection)
            .await?;
    Ok(found.is_some())
}

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| codes.contains(&code.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_a_part_of_its_own_or_one_with_all_before() {
        let parts = Parts(BTreeSet::from([Part::Day(Day(9)), Part::Until(Day(5)), Part::Day(Day(3))]));
        let had: Vec<i64> = (0..12).filter(|day| parts.have(Day(*day))).collect();
        assert_eq!(had, [0, 1, 2, 3, 4, 9]);
    }
}
