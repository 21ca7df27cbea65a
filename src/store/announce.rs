//! Announcing: closed groups whose members are all there and final are announced, once.
//!
//! A group can become complete in two ways. Its closing looks by itself; and a member that becomes final stands in the
//! feed, which is read from where it was last searched. So it costs nothing that many groups wait, and nobody is missed:
//! whoever finds a group still open in its row, which he locks, leaves it to the closing, which waits for that lock and
//! then sees the same members.

use crate::clock::Timestamp;
use crate::crash;
use crate::domain::group::GroupState;
use crate::store::engine::{Dialect, read, write};
use crate::store::feed::Position;
use crate::store::{Store, StoreError};

/// Lines of the feed that are searched in one bite; as many groups are locked at most.
const LINES_AT_ONCE: i64 = 1_000;

/// Announces a group that is locked, if it is complete; says whether it was.
macro_rules! announce_group {
    ($tx:ident, $tenant:expr, $name:expr, $now:expr) => {{
        let announced = sqlx::query($crate::store::announce::ANNOUNCE)
            .bind($tenant)
            .bind($name)
            .bind($now)
            .execute(&mut *$tx)
            .await?
            .rows_affected()
            == 1;
        if announced {
            sqlx::query(
                "insert into delivery (id, tenant, event, receiver, callback_url, group_name, state, due_at, created_at)
                 select $3, tenant, 'group.completed', receiver, callback_url, name, 'due', $4, $4
                 from deferral_group where tenant = $1 and name = $2 and receiver is not null",
            )
            .bind($tenant)
            .bind($name)
            .bind($crate::domain::id::DeliveryId::new($now))
            .bind($now)
            .execute(&mut *$tx)
            .await?;
        }
        announced
    }};
}
pub(super) use announce_group;

/// Members are looked for in a question of their own for each group: as a join, all that are open anywhere might be read.
pub(super) const ANNOUNCE: &str = "
    update deferral_group set state = 'announced', announced_at = $3
    where tenant = $1 and name = $2 and state = 'closed' and (expect is null or expect <= members)
      and (select 1 from deferral
           where tenant = $1 and group_name = $2 and group_name is not null and completed_at is null limit 1) is null";

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
        let mut announced = 0;
        write!(self, tx => {
            let groups: Vec<(String, String, GroupState)> =
                sqlx::query_as(tx.text(GROUPS_SQLITE, GROUPS_POSTGRES)).bind(searched).bind(last).fetch_all(&mut *tx).await?;
            for (tenant, name, _) in groups.iter().filter(|(.., state)| *state == GroupState::Closed) {
                announced += u32::from(announce_group!(tx, tenant, name, now));
            }
            sqlx::query("update counter set value = $1 where name = 'announced' and value < $1")
                .bind(last)
                .execute(tx)
                .await?;
        });
        if announced > 0 {
            crash::point("group.announced");
        }
        Ok((announced, lines.len() as i64 == LINES_AT_ONCE))
    }
}

/// The groups of lines behind $1 up to $2, locked in the order in which everybody locks groups.
macro_rules! groups_of_lines {
    ($lock:literal) => {
        concat!(
            "select tenant, name, state from deferral_group
             where state <> 'announced' and (name, tenant) in (
                 select group_name, tenant from feed where group_name is not null and position > $1 and position <= $2)",
            $lock
        )
    };
}

const GROUPS_SQLITE: &str = groups_of_lines!("");
const GROUPS_POSTGRES: &str =
    groups_of_lines!(" order by tenant collate \"C\", name collate \"C\" for update of deferral_group");
