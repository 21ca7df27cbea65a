//! Announcing: closed groups whose members are all there and final are announced, once.
//!
//! A group can become complete in two ways. Its closing looks by itself; and a member that becomes final stands in the
//! feed, which is read from where it was last searched. So it costs nothing that many groups wait, and nobody is missed:
//! whoever finds a group still open in its row, which he locks, leaves it to the closing, which waits for that lock and
//! then sees the same members.

use crate::clock::Timestamp;
use crate::crash;
use crate::store::engine::{Dialect, read, write};
use crate::store::feed::Position;
use crate::store::{Store, StoreError};

/// Lines of the feed that are searched in one bite; as many groups are locked at most.
const LINES_AT_ONCE: i64 = 1_000;

/// A group that was announced just now, and to whom.
#[derive(sqlx::FromRow)]
pub(super) struct Announced {
    pub(super) tenant: String,
    pub(super) name: String,
    pub(super) receiver: Option<String>,
    pub(super) callback_url: Option<String>,
}

/// Announces those of some groups that are complete: $1 is now. Members are looked for in a question of their own for
/// each group: as a join, all that are open anywhere might be read.
macro_rules! announce_if_complete {
    ($which:literal) => {
        concat!(
            "update deferral_group set state = 'announced', announced_at = $1
             where state = 'closed' and (expect is null or expect <= members)
               and (select 1 from deferral
                    where tenant = deferral_group.tenant and group_name = deferral_group.name
                      and group_name is not null and completed_at is null limit 1) is null
               and ",
            $which,
            " returning tenant, name, receiver, callback_url"
        )
    };
}

/// Makes the deliveries of what was announced.
macro_rules! tell_of_groups {
    ($tx:ident, $announced:expr, $now:expr) => {
        let told = $crate::store::announce::told(&$announced);
        if !told.is_empty() {
            let mut insert = sqlx::QueryBuilder::new(
                "insert into delivery (id, tenant, event, receiver, callback_url, group_name, state, due_at, created_at) ",
            );
            insert.push_values(told, |mut row, group| {
                row.push_bind($crate::domain::id::DeliveryId::new($now)).push_bind(&group.tenant);
                row.push("'group.completed'").push_bind(&group.receiver).push_bind(&group.callback_url);
                row.push_bind(&group.name).push("'due'").push_bind($now).push_bind($now);
            });
            insert.build().execute(&mut *$tx).await?;
        }
    };
}

pub(super) use {announce_if_complete, tell_of_groups};

/// Those of which somebody wants to hear.
pub(super) fn told(announced: &[Announced]) -> Vec<&Announced> {
    announced.iter().filter(|group| group.receiver.is_some()).collect()
}

impl Store {
    /// Announces the groups that have become complete by what the feed tells since the last search; says how many, and
    /// whether there is more to search.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn announce_groups(&self, now: Timestamp) -> Result<(u32, bool), StoreError> {
        let (searched, lines): (Position, Vec<Position>) = read!(self, tx => {
            let searched = sqlx::query_scalar("select value from counter where name = 'announced'")
                .fetch_one(&mut *tx)
                .await?;
            let lines = sqlx::query_scalar(
                "select position from feed where group_name is not null and position > $1 order by position limit $2",
            )
            .bind(searched)
            .bind(LINES_AT_ONCE)
            .fetch_all(tx)
            .await?;
            (searched, lines)
        });
        let Some(last) = lines.last() else { return Ok((0, false)) };
        let announced = write!(self, tx => {
            // Locked in a statement of its own: whoever is closing one of them is waited for, and what is so then counts.
            sqlx::query(tx.text(LOCK_SQLITE, LOCK_POSTGRES)).bind(searched).bind(last).execute(&mut *tx).await?;
            let announced: Vec<Announced> =
                sqlx::query_as(ANNOUNCE).bind(now).bind(searched).bind(last).fetch_all(&mut *tx).await?;
            tell_of_groups!(tx, announced, now);
            sqlx::query("update counter set value = $1 where name = 'announced' and value < $1")
                .bind(last)
                .execute(tx)
                .await?;
            announced.len() as u32
        });
        if announced > 0 {
            crash::point("group.announced");
        }
        Ok((announced, lines.len() as i64 == LINES_AT_ONCE))
    }
}

const ANNOUNCE: &str = announce_if_complete!(
    "(name, tenant) in (
         select group_name, tenant from feed where group_name is not null and position > $2 and position <= $3)"
);

/// The groups of lines behind $1 up to $2.
macro_rules! groups_of_lines {
    ($lock:literal) => {
        concat!(
            "select 1 from deferral_group
             where state <> 'announced' and (name, tenant) in (
                 select group_name, tenant from feed where group_name is not null and position > $1 and position <= $2)",
            $lock
        )
    };
}

/// Where there is one writer at a time, it has all of them.
const LOCK_SQLITE: &str = groups_of_lines!("");

/// In the order in which everybody locks groups.
const LOCK_POSTGRES: &str =
    groups_of_lines!(" order by tenant collate \"C\", name collate \"C\" for update of deferral_group");
