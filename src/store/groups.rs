//! Groups: joined as their members are accepted, closed once, and announced once when the last member is final.
//!
//! Whoever accepts a member, closes a group or announces it holds the lock on the group's row until the commit: so no
//! member slips into a group that has been announced.

use std::collections::{BTreeSet, HashMap};

use crate::clock::Timestamp;
use crate::crash;
use crate::domain::callback::Callback;
use crate::domain::deferral::{Cost, State};
use crate::domain::group::{Counts, Group, GroupState};
use crate::domain::id::DeliveryId;
use crate::domain::money::NanoUsd;
use crate::store::accept::Row;
use crate::store::engine::{Dialect, read, write};
use crate::store::{Scope, Store, StoreError};

/// Groups announced in one bite.
const ANNOUNCE_AT_ONCE: i64 = 100;

/// How many more members the groups of some rows take, where that is limited.
pub(super) type Rooms<'a> = HashMap<Option<(&'a str, &'a str)>, u64>;

/// The distinct groups of some rows, always in the same order, since each is locked.
pub(super) fn groups_of(rows: &[Row]) -> BTreeSet<(&str, &str)> {
    rows.iter().filter_map(Row::group).collect()
}

/// Opens the groups of some rows that are not there yet, locks them all, and says how many more members those take that
/// are closed.
macro_rules! rooms_of {
    ($tx:ident, $rows:ident) => {{
        let mut rooms = $crate::store::groups::Rooms::new();
        for (tenant, name) in $crate::store::groups::groups_of($rows) {
            let at = $rows.first().map(|row| row.new.accepted_at);
            $crate::store::groups::open_group!($tx, tenant, name, at);
            let (state, expect) = $crate::store::groups::locked_group!($tx, tenant, name);
            if state != $crate::domain::group::GroupState::Open {
                let members = $crate::store::groups::count_members!($tx, tenant, name);
                let room = expect.map_or(0, |expect| expect.saturating_sub(members).max(0));
                rooms.insert(Some((tenant, name)), room.unsigned_abs());
            }
        }
        rooms
    }};
}

/// Makes sure that a group is there.
macro_rules! open_group {
    ($tx:ident, $tenant:expr, $name:expr, $at:expr) => {
        sqlx::query(
            "insert into deferral_group (tenant, name, state, opened_at) values ($1, $2, 'open', $3)
             on conflict (tenant, name) do nothing",
        )
        .bind($tenant)
        .bind($name)
        .bind($at)
        .execute(&mut *$tx)
        .await?
    };
}

/// The state of a group and how many members it expects, locked until the commit.
macro_rules! locked_group {
    ($tx:ident, $tenant:expr, $name:expr) => {{
        use $crate::store::engine::Dialect as _;
        let statement = $tx.text(
            "select state, expect from deferral_group where tenant = $1 and name = $2",
            "select state, expect from deferral_group where tenant = $1 and name = $2 for update",
        );
        let found: ($crate::domain::group::GroupState, Option<i64>) =
            sqlx::query_as(statement).bind($tenant).bind($name).fetch_one(&mut *$tx).await?;
        found
    }};
}

/// How many members a group has.
macro_rules! count_members {
    ($tx:ident, $tenant:expr, $name:expr) => {{
        let members: i64 = sqlx::query_scalar(
            "select count(*) from deferral where tenant = $1 and group_name = $2 and group_name is not null",
        )
        .bind($tenant)
        .bind($name)
        .fetch_one(&mut *$tx)
        .await?;
        members
    }};
}

pub(super) use {count_members, locked_group, open_group, rooms_of};

/// What came of the wish to close a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It is closed, as it stands now.
    Yes(Group),
    /// There is no such group.
    Unknown,
    /// It has more members already than are expected: so many.
    TooMany(u64),
}

#[derive(sqlx::FromRow)]
struct GroupRow {
    tenant: String,
    name: String,
    state: GroupState,
    expect: Option<i64>,
}

impl Store {
    /// The groups of this name that the asker may see; a tenant has one at most.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn groups(&self, name: &str, scope: &Scope) -> Result<Vec<Group>, StoreError> {
        let mut groups = Vec::new();
        read!(self, tx => {
            let rows: Vec<GroupRow> = sqlx::query_as(
                "select tenant, name, state, expect from deferral_group
                 where name = $1 and ($2 is null or tenant = $2) order by tenant limit 100",
            )
            .bind(name)
            .bind(scope.tenant())
            .fetch_all(&mut *tx)
            .await?;
            for row in rows {
                let members: Vec<MembersRow> = sqlx::query_as(MEMBERS_BY_STATE)
                    .bind(&row.tenant)
                    .bind(&row.name)
                    .fetch_all(&mut *tx)
                    .await?;
                groups.push(group_of(row, &members));
            }
        });
        Ok(groups)
    }

    /// Closes a tenant's group. With `expect`, one that has no member yet is made, and takes that many; closing again
    /// changes what is expected and where it is announced, until it has been announced.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn close_group(
        &self,
        tenant: &str,
        name: &str,
        expect: Option<u64>,
        callback: Option<&Callback>,
        now: Timestamp,
    ) -> Result<Closed, StoreError> {
        let expected = expect.map(|expect| i64::try_from(expect).unwrap_or(i64::MAX));
        let too_many: Option<i64> = write!(self, tx => {
            if expect.is_some() {
                open_group!(tx, tenant, name, now);
            }
            let statement = tx.text(
                "select state from deferral_group where tenant = $1 and name = $2",
                "select state from deferral_group where tenant = $1 and name = $2 for update",
            );
            let state: Option<GroupState> =
                sqlx::query_scalar(statement).bind(tenant).bind(name).fetch_optional(&mut *tx).await?;
            let members = count_members!(tx, tenant, name);
            let too_many = expected.is_some_and(|expected| members > expected).then_some(members);
            if matches!(state, Some(GroupState::Open | GroupState::Closed)) && too_many.is_none() {
                sqlx::query(
                    "update deferral_group set state = 'closed', closed_at = coalesce(closed_at, $3),
                         expect = coalesce($4, expect), receiver = coalesce($5, receiver),
                         callback_url = case when $5 is null then callback_url else $6 end
                     where tenant = $1 and name = $2",
                )
                .bind(tenant)
                .bind(name)
                .bind(now)
                .bind(expected)
                .bind(callback.map(|callback| &callback.receiver))
                .bind(callback.and_then(|callback| callback.url.as_deref()))
                .execute(tx)
                .await?;
            }
            too_many
        });
        crash::point("group.closed");
        if let Some(members) = too_many {
            return Ok(Closed::TooMany(members.unsigned_abs()));
        }
        let group = self.groups(name, &Scope::Tenant(tenant.to_owned())).await?.pop();
        Ok(group.map_or(Closed::Unknown, Closed::Yes))
    }

    /// Announces closed groups whose members are all there and final; says how many, and whether there may be more.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn announce_groups(&self, now: Timestamp) -> Result<(u32, bool), StoreError> {
        let complete: Vec<(String, String)> = read!(self, tx => {
            sqlx::query_as(COMPLETE_GROUPS).bind(ANNOUNCE_AT_ONCE).fetch_all(tx).await?
        });
        let mut announced = 0;
        for (tenant, name) in &complete {
            announced += u32::from(self.announce_group(tenant, name, now).await?);
            crash::point("group.announced");
        }
        Ok((announced, complete.len() as i64 == ANNOUNCE_AT_ONCE))
    }

    /// Announces one, if it still is to be: every replica may have seen its last member become final.
    async fn announce_group(&self, tenant: &str, name: &str, now: Timestamp) -> Result<bool, StoreError> {
        Ok(write!(self, tx => {
            let (state, expect) = locked_group!(tx, tenant, name);
            // Statements of their own: members may have come while this one waited for the lock.
            let members = count_members!(tx, tenant, name);
            let open: Option<i32> = sqlx::query_scalar(
                "select 1 from deferral
                 where tenant = $1 and group_name = $2 and group_name is not null and completed_at is null limit 1",
            )
            .bind(tenant)
            .bind(name)
            .fetch_optional(&mut *tx)
            .await?;
            let is_complete =
                state == GroupState::Closed && open.is_none() && expect.is_none_or(|expect| members >= expect);
            if is_complete {
                sqlx::query(
                    "update deferral_group set state = 'announced', announced_at = $3 where tenant = $1 and name = $2",
                )
                .bind(tenant)
                .bind(name)
                .bind(now)
                .execute(&mut *tx)
                .await?;
                sqlx::query(
                    "insert into delivery (id, tenant, event, receiver, callback_url, group_name, state, due_at, created_at)
                     select $3, tenant, 'group.completed', receiver, callback_url, name, 'due', $4, $4
                     from deferral_group where tenant = $1 and name = $2 and receiver is not null",
                )
                .bind(tenant)
                .bind(name)
                .bind(DeliveryId::new(now))
                .bind(now)
                .execute(tx)
                .await?;
            }
            is_complete
        }))
    }
}

/// Closed groups with as many members as they expect, none of which is open.
const COMPLETE_GROUPS: &str = "
    select tenant, name from deferral_group
    where state = 'closed'
      and not exists (
          select 1 from deferral
          where tenant = deferral_group.tenant and group_name = deferral_group.name
            and group_name is not null and completed_at is null)
      and (expect is null or expect <= (
          select count(*) from deferral
          where tenant = deferral_group.tenant and group_name = deferral_group.name and group_name is not null))
    limit $1";

const MEMBERS_BY_STATE: &str = "
    select deferral.state, count(*) as members, min(deferral.completed_at) as first_completed_at,
        max(deferral.completed_at) as last_completed_at,
        cast(coalesce(sum(answer.paid_nanousd), 0) as bigint) as paid_nanousd,
        cast(coalesce(sum(answer.live_nanousd), 0) as bigint) as live_nanousd,
        cast(coalesce(sum(late.paid_nanousd), 0) as bigint) as late_nanousd
    from deferral
    left join entry as answer on answer.deferral_id = deferral.id and answer.kind = 'answer'
    left join entry as late on late.deferral_id = deferral.id and late.kind = 'late'
    where deferral.tenant = $1 and deferral.group_name = $2 and deferral.group_name is not null
    group by deferral.state";

#[derive(sqlx::FromRow)]
struct MembersRow {
    state: State,
    members: i64,
    first_completed_at: Option<Timestamp>,
    last_completed_at: Option<Timestamp>,
    paid_nanousd: NanoUsd,
    live_nanousd: NanoUsd,
    late_nanousd: NanoUsd,
}

fn group_of(row: GroupRow, members: &[MembersRow]) -> Group {
    let mut counts = Counts::default();
    for (state, count) in State::ALL.iter().zip(&mut counts.0) {
        *count = members.iter().filter(|of| of.state == *state).map(|of| of.members.unsigned_abs()).sum();
    }
    let sum = |amount: fn(&MembersRow) -> NanoUsd| members.iter().map(amount).sum::<NanoUsd>();
    let paid_twice = sum(|of| of.late_nanousd);
    Group {
        tenant: row.tenant,
        name: row.name,
        state: row.state,
        expect: row.expect.map(i64::unsigned_abs),
        counts,
        first_completed_at: members.iter().filter_map(|of| of.first_completed_at).min(),
        last_completed_at: members.iter().filter_map(|of| of.last_completed_at).max(),
        cost: Cost { paid: sum(|of| of.paid_nanousd) + paid_twice, live_price: sum(|of| of.live_nanousd), paid_twice },
    }
}
