//! Groups as their owners see them, and their closing.

use crate::clock::Timestamp;
use crate::crash;
use crate::domain::callback::Callback;
use crate::domain::deferral::{Cost, State};
use crate::domain::group::{Counts, Group};
use crate::domain::money::NanoUsd;
use crate::store::announce::{Announced, announce_if_complete, tell_of_groups};
use crate::store::engine::{read, write};
use crate::store::joining::{Joining, Standing, join_groups};
use crate::store::{Scope, Store, StoreError};

/// An operator asks by the name alone: a second group of that name says that this is not enough.
const NAMESAKES_MAX: i64 = 2;

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

impl Store {
    /// The groups of this name that the asker may see: one at most for a tenant, and two for an operator.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn groups(&self, name: &str, scope: &Scope) -> Result<Vec<Group>, StoreError> {
        let mut groups = Vec::new();
        read!(self, tx => {
            let rows: Vec<Standing> = sqlx::query_as(
                "select tenant, name, state, members, expect from deferral_group
                 where name = $1 and ($2 is null or tenant = $2) order by tenant limit $3",
            )
            .bind(name)
            .bind(scope.tenant())
            .bind(NAMESAKES_MAX)
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

    /// Closes a tenant's group, and announces it if its members are all there and final. With `expect`, one that has no
    /// member yet is made, and takes that many; closing again changes what is expected and where it is announced, until
    /// it has been announced.
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
            // Locked either way: whoever is accepting a member is waited for, and that one is counted.
            let found = if expect.is_some() {
                join_groups!(tx, Joining::from([((tenant, name), 0)]), now).pop()
            } else {
                sqlx::query_as(LOCK).bind(tenant).bind(name).fetch_optional(&mut *tx).await?
            };
            let too_many = found.and_then(|group| group.too_many_for(expected?));
            if too_many.is_none() {
                sqlx::query(CLOSE)
                    .bind(tenant)
                    .bind(name)
                    .bind(now)
                    .bind(expected)
                    .bind(callback.map(|callback| &callback.receiver))
                    .bind(callback.and_then(|callback| callback.url.as_deref()))
                    .execute(&mut *tx)
                    .await?;
                let announced: Vec<Announced> =
                    sqlx::query_as(ANNOUNCE).bind(now).bind(tenant).bind(name).fetch_all(&mut *tx).await?;
                tell_of_groups!(tx, announced, now);
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
}

const LOCK: &str = "
    update deferral_group set members = members where tenant = $1 and name = $2
    returning tenant, name, state, members, expect";

const CLOSE: &str = "
    update deferral_group set state = 'closed', closed_at = coalesce(closed_at, $3),
        expect = coalesce($4, expect), receiver = coalesce($5, receiver),
        callback_url = case when $5 is null then callback_url else $6 end
    where tenant = $1 and name = $2 and state <> 'announced'";

const ANNOUNCE: &str = announce_if_complete!("tenant = $2 and name = $3");

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

fn group_of(row: Standing, members: &[MembersRow]) -> Group {
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
