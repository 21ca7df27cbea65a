//! The feed: deferrals in the order in which they became final, each once, and the webhooks that follow from it.
//!
//! A consumer that has read up to a position must never miss one that appears below it later. So positions are not taken
//! from a sequence, whose numbers commit in any order, but from a counter whose row stays locked until the commit.

use futures_util::TryStreamExt as _;
use sqlx::{PgConnection, QueryBuilder, SqliteConnection};

use crate::clock::Timestamp;
use crate::domain::deferral::Deferral;
use crate::domain::id::DeferralId;
use crate::store::deferrals::{DeferralRow, deferral_columns, deferral_joins};
use crate::store::engine::read;
use crate::store::partitions::IdSpan;
use crate::store::{Scope, Store, StoreError};

/// Rows in one statement on SQLite, far below the 32,766 parameters that it allows.
const SQLITE_ROWS: usize = 500;

/// Deferrals on a page of the feed, and bytes of their answers after which it ends: a reader holds one page at a time.
const PAGE_LINES: usize = 100;
const PAGE_BYTES: usize = 256_000;

/// A place in the feed: everything at or before it has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct Position(pub i64);

impl Position {
    /// Before the first.
    pub const START: Self = Self(0);
}

/// One line of the feed.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct FeedLine {
    /// Its place.
    pub position: Position,
    /// The deferral that became final.
    pub deferral_id: DeferralId,
    /// Whose it is.
    pub tenant: String,
}

/// Deferrals in the order of the feed.
#[derive(Clone, Debug)]
pub struct FeedPage {
    /// Each with its place; those that are forgotten by now are left out.
    pub lines: Vec<(Position, Deferral)>,
    /// Where to go on.
    pub end: Position,
}

#[derive(sqlx::FromRow)]
struct PlacedRow {
    position: Position,
    #[sqlx(flatten)]
    deferral: DeferralRow,
}

/// Writes down that deferrals have become final: their deliveries, and their places in the feed.
///
/// The last thing in a transaction that settles, since from here on it holds a lock for which all others wait.
pub(super) trait Complete {
    async fn complete(&mut self, ids: &[DeferralId], now: Timestamp) -> Result<(), sqlx::Error>;
}

impl Complete for SqliteConnection {
    async fn complete(&mut self, ids: &[DeferralId], now: Timestamp) -> Result<(), sqlx::Error> {
        for some in ids.chunks(SQLITE_ROWS) {
            let mut deliveries = QueryBuilder::new(
                "insert into delivery (id, tenant, event, receiver, callback_url, deferral_id, state, due_at, created_at)
                 select id, tenant, 'deferral.' || state, receiver, callback_url, id, 'due', ",
            );
            deliveries.push_bind(now).push(", ").push_bind(now);
            deliveries.push(" from deferral where receiver is not null and id in (");
            push_ids(&mut deliveries, some);
            deliveries.push(") on conflict (id) do nothing").build().execute(&mut *self).await?;

            let count = some.len() as i64;
            let take = "update counter set value = value + $1 where name = 'feed' returning value";
            let last: i64 = sqlx::query_scalar(take).bind(count).fetch_one(&mut *self).await?;
            let mut feed =
                QueryBuilder::new("insert into feed (position, deferral_id, tenant, group_name, settled_at) select ");
            feed.push_bind(last - count)
                .push(" + row_number() over (order by id), id, tenant, group_name, ")
                .push_bind(now);
            feed.push(" from deferral where id in (");
            push_ids(&mut feed, some);
            feed.push(")").build().execute(&mut *self).await?;
        }
        Ok(())
    }
}

fn push_ids(query: &mut QueryBuilder<sqlx::Sqlite>, ids: &[DeferralId]) {
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(*id);
    }
}

impl Complete for PgConnection {
    async fn complete(&mut self, ids: &[DeferralId], now: Timestamp) -> Result<(), sqlx::Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
        sqlx::query(
            "with gone as (
                 select id, tenant, group_name, state, receiver, callback_url from deferral where id = any($1)),
             due as (
                 insert into delivery
                     (id, tenant, event, receiver, callback_url, deferral_id, state, due_at, created_at)
                 select id, tenant, 'deferral.' || state, receiver, callback_url, id, 'due', $2, $2
                 from gone where receiver is not null
                 on conflict (id) do nothing),
             taken as (update counter set value = value + $3 where name = 'feed' returning value)
             insert into feed (position, deferral_id, tenant, group_name, settled_at)
             select taken.value - $3 + row_number() over (order by gone.id), gone.id, tenant, group_name, $2
             from gone cross join taken",
        )
        .bind(&ids)
        .bind(now)
        .bind(ids.len() as i64)
        .execute(self)
        .await
        .map(drop)
    }
}

impl Store {
    /// Lines of the feed behind a place, in order, that the asker may see.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn feed(&self, scope: &Scope, after: Position, limit: u32) -> Result<Vec<FeedLine>, StoreError> {
        // Two texts: with "all or this tenant" in one, SQLite would look for a tenant's lines among everybody's.
        let statement = match scope {
            Scope::Tenant(_) => {
                "select position, deferral_id, tenant from feed
                 where tenant = $3 and position > $1 order by position limit $2"
            }
            Scope::All => {
                "select position, deferral_id, tenant from feed
                 where $3 is null and position > $1 order by position limit $2"
            }
        };
        Ok(read!(self, tx => {
            sqlx::query_as(statement)
                .bind(after)
                .bind(i64::from(limit))
                .bind(scope.tenant())
                .fetch_all(tx)
                .await?
        }))
    }

    /// How far at most `limit` lines behind a place reach, of those that the asker may see; `None` if there is none.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn feed_reach(&self, scope: &Scope, after: Position, limit: u32) -> Result<Option<Position>, StoreError> {
        let statement = match scope {
            Scope::Tenant(_) => {
                "select max(position) from (
                     select position from feed where tenant = $3 and position > $1 order by position limit $2) as line"
            }
            Scope::All => {
                "select max(position) from (
                     select position from feed where $3 is null and position > $1 order by position limit $2) as line"
            }
        };
        Ok(read!(self, tx => {
            sqlx::query_scalar(statement)
                .bind(after)
                .bind(i64::from(limit))
                .bind(scope.tenant())
                .fetch_one(tx)
                .await?
        }))
    }

    /// The deferrals of the lines behind `after` up to `last`, as they stand; so many as a page holds.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn feed_page(&self, scope: &Scope, after: Position, last: Position) -> Result<FeedPage, StoreError> {
        let (ids, statement) = match scope {
            Scope::Tenant(_) => PAGE_OF_TENANT,
            Scope::All => PAGE_OF_ALL,
        };
        let mut page = FeedPage { lines: Vec::new(), end: last };
        let mut bytes = 0;
        read!(self, tx => {
            let mut span = IdSpan::ALL;
            if self.engine.has_partitions() {
                let lines: Vec<(Position, DeferralId)> = sqlx::query_as(ids)
                    .bind(after)
                    .bind(last)
                    .bind(scope.tenant())
                    .bind(PAGE_LINES as i64)
                    .fetch_all(&mut *tx)
                    .await?;
                // The page ends with these: should one be gone in an instant, no line may be taken in its stead.
                if let Some((position, _)) = lines.get(PAGE_LINES - 1) {
                    page.end = *position;
                }
                span = IdSpan::of(lines.iter().map(|(_, id)| *id));
            }
            let mut rows = sqlx::query_as::<_, PlacedRow>(statement)
                .bind(after)
                .bind(page.end)
                .bind(scope.tenant())
                .bind(PAGE_LINES as i64)
                .bind(span.first)
                .bind(span.last)
                .fetch(&mut *tx);
            while let Some(row) = rows.try_next().await? {
                let deferral = self.deferral_of(row.deferral)?;
                bytes += deferral.answer.as_ref().map_or(0, |answer| answer.body.len());
                page.lines.push((row.position, deferral));
                if page.lines.len() == PAGE_LINES || bytes >= PAGE_BYTES {
                    page.end = row.position;
                    break;
                }
            }
        });
        Ok(page)
    }

    /// The place of the last line that there is.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn feed_end(&self) -> Result<Position, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_scalar("select value from counter where name = 'feed'").fetch_one(tx).await?
        }))
    }
}

/// The ids on a page of one scope, and what stands on it: with "all or this tenant" in one text, SQLite would look for a
/// tenant's lines among everybody's.
macro_rules! page {
    ($scope:literal) => {
        (page!("deferral.id", "", $scope), page!(deferral_columns!(), deferral_joins!("$5", "$6"), $scope))
    };
    ($columns:expr, $joins:expr, $scope:literal) => {
        concat!(
            "select feed.position, ",
            $columns,
            " from feed join deferral on deferral.id = feed.deferral_id ",
            $joins,
            " where ",
            $scope,
            " and feed.position > $1 and feed.position <= $2 order by feed.position limit $4"
        )
    };
}

const PAGE_OF_TENANT: (&str, &str) = page!("feed.tenant = $3");
const PAGE_OF_ALL: (&str, &str) = page!("$3 is null");
