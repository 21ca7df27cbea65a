//! Joining: the groups of calls that are being accepted are opened and locked, and their members counted.
//!
//! Whoever accepts a member, closes a group or announces it holds the lock on the group's row until the commit: so no
//! member slips into a group that has been announced. Several are always locked in the order of their names.

use std::collections::{BTreeMap, HashMap};

use crate::domain::group::GroupState;
use crate::store::Accepted;
use crate::store::accept::Row;

/// Tenants and names of groups, in the order in which these are locked, with how many members join each.
pub(super) type Joining<'a> = BTreeMap<(&'a str, &'a str), i64>;

/// How many more members the groups of some rows take, where that is limited.
pub(super) type Rooms<'a> = HashMap<Option<(&'a str, &'a str)>, u64>;

/// A group as it stands, locked.
#[derive(sqlx::FromRow)]
pub(super) struct Standing {
    pub(super) tenant: String,
    pub(super) name: String,
    pub(super) state: GroupState,
    pub(super) members: i64,
    pub(super) expect: Option<i64>,
}

impl Standing {
    /// How many more members it takes, if that is limited.
    pub(super) fn room(&self) -> Option<u64> {
        match self.state {
            GroupState::Open => None,
            GroupState::Closed => {
                let missing = self.expect.map_or(0, |expect| expect.saturating_sub(self.members));
                Some(u64::try_from(missing).unwrap_or(0))
            }
            GroupState::Announced => Some(0),
        }
    }

    /// How many members it has, if that is more than are expected.
    pub(super) fn too_many_for(&self, expected: i64) -> Option<i64> {
        Some(self.members).filter(|members| *members > expected)
    }

    pub(super) fn key(&self) -> (&str, &str) {
        (&self.tenant, &self.name)
    }

    /// Whether it is there for nothing: opened just now, or the member that it was opened for was not accepted.
    pub(super) fn is_empty(&self) -> bool {
        self.state == GroupState::Open && self.members == 0
    }
}

/// Opens groups that are not there yet, adds to the members of each, locks them all, and says how they stand then, in
/// their order.
macro_rules! join_groups {
    ($tx:ident, $joining:expr, $at:expr) => {{
        let mut standing: Vec<$crate::store::joining::Standing> = Vec::new();
        if !$joining.is_empty() {
            let mut insert =
                sqlx::QueryBuilder::new("insert into deferral_group (tenant, name, state, opened_at, members) ");
            insert.push_values($joining.iter(), |mut row, ((tenant, name), members)| {
                row.push_bind(*tenant).push_bind(*name).push("'open'").push_bind($at).push_bind(*members);
            });
            // In place of "do nothing": what is there already is locked by this, and given back.
            insert.push(
                " on conflict (name, tenant) do update set members = deferral_group.members + excluded.members
                 returning tenant, name, state, members, expect",
            );
            standing = insert.build_query_as().fetch_all(&mut *$tx).await?;
            standing.sort_unstable_by(|one, other| one.key().cmp(&other.key()));
        }
        standing
    }};
}

/// Counts the members that have joined; what was opened for nobody is gone again.
macro_rules! count_joined {
    ($tx:ident, $joined:expr, $standing:expr, $at:expr) => {
        let joined = $joined;
        for group in $standing.iter().filter(|group| group.is_empty() && !joined.contains_key(&group.key())) {
            sqlx::query("delete from deferral_group where tenant = $1 and name = $2")
                .bind(&group.tenant)
                .bind(&group.name)
                .execute(&mut *$tx)
                .await?;
        }
        $crate::store::joining::join_groups!($tx, joined, $at);
    };
}

pub(super) use {count_joined, join_groups};

/// The groups of some rows, which nobody has joined yet.
pub(super) fn groups_of(rows: &[Row]) -> Joining<'_> {
    rows.iter().filter_map(Row::group).map(|group| (group, 0)).collect()
}

/// How many of the rows have joined each group.
pub(super) fn joined<'a>(rows: &'a [Row], outcomes: &[Accepted]) -> Joining<'a> {
    let mut joined = Joining::new();
    let fresh = rows.iter().zip(outcomes).filter(|(_, outcome)| **outcome == Accepted::Fresh);
    for group in fresh.filter_map(|(row, _)| row.group()) {
        *joined.entry(group).or_default() += 1;
    }
    joined
}

/// The room in those of the groups where it is limited; `standing` is in their order.
pub(super) fn rooms<'a>(groups: &Joining<'a>, standing: &[Standing]) -> Rooms<'a> {
    let limited = groups.keys().zip(standing).filter_map(|(group, standing)| Some((Some(*group), standing.room()?)));
    limited.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_is_expected_less_what_there_is() {
        let room = |state, members, expect| {
            Standing { tenant: String::new(), name: String::new(), state, members, expect }.room()
        };
        assert_eq!(room(GroupState::Open, 5, None), None);
        assert_eq!(room(GroupState::Closed, 5, None), Some(0));
        assert_eq!(room(GroupState::Closed, 5, Some(7)), Some(2));
        assert_eq!(room(GroupState::Closed, 7, Some(7)), Some(0));
        assert_eq!(room(GroupState::Announced, 5, Some(7)), Some(0));
    }
}
