//! Marking: queued calls whose prompt may be marked for the cache, and where they are marked.

use sqlx::QueryBuilder;

use crate::clock::Timestamp;
use crate::domain::caching::{MARK_BYTES, Place, Prefixes};
use crate::domain::id::DeferralId;
use crate::store::engine::{read, write};
use crate::store::lanes::LaneId;
use crate::store::{Store, StoreError};

/// Calls that are changed by one statement; far below the 32,766 parameters that SQLite allows.
pub(super) const CALLS_AT_ONCE: usize = 500;

/// A queued call that may be marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cacheable {
    /// The call.
    pub id: DeferralId,
    /// Whose it is.
    pub tenant: String,
    /// Its workload, if it was given one.
    pub workload: Option<String>,
    /// Its model.
    pub model: String,
    /// The beginnings of its prompt.
    pub prefixes: Prefixes,
    /// Where it is to be marked, by what was last decided.
    pub mark: Option<Place>,
    /// When its result is wanted.
    pub deadline: Timestamp,
    /// From when on it may be put into a batch.
    pub queued_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct CacheableRow {
    id: DeferralId,
    tenant: String,
    workload: Option<String>,
    model: String,
    prefixes: Vec<u8>,
    cache_place: Option<i16>,
    deadline_at: Timestamp,
    queued_at: Timestamp,
}

impl Store {
    /// The calls at the head of a lane that may be marked.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn cacheable(&self, lane: LaneId, now: Timestamp, limit: usize) -> Result<Vec<Cacheable>, StoreError> {
        let rows: Vec<CacheableRow> = read!(self, tx => {
            sqlx::query_as(
                "select id, tenant, workload, model, prefixes, cache_place, deadline_at, queued_at from deferral
                 where lane_id = $1 and state = 'queued' and prefixes is not null and queued_at <= $2
                   and not cancel_requested
                 order by queued_at, id limit $3",
            )
            .bind(lane)
            .bind(now)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(tx)
            .await?
        });
        Ok(rows.into_iter().map(Cacheable::from).collect())
    }

    /// Decides where queued calls are marked, for when they are put into a batch.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn mark_calls(&self, marks: &[(DeferralId, Option<Place>)]) -> Result<(), StoreError> {
        let mut places: Vec<Option<Place>> = marks.iter().map(|(_, place)| *place).collect();
        places.sort_unstable();
        places.dedup();
        for place in places {
            let ids: Vec<DeferralId> = marks.iter().filter(|mark| mark.1 == place).map(|mark| mark.0).collect();
            for some in ids.chunks(CALLS_AT_ONCE) {
                write!(self, tx => {
                    let mut update = QueryBuilder::new("update deferral set cache_place = ");
                    update.push_bind(place.map(Place::number)).push(", mark_bytes = ").push_bind(mark_bytes(place));
                    update.push(" where state = 'queued' and id in (");
                    let mut list = update.separated(", ");
                    for id in some {
                        list.push_bind(*id);
                    }
                    update.push(")").build().execute(tx).await?;
                });
            }
        }
        Ok(())
    }
}

/// By how much a mark lengthens an item.
pub(super) fn mark_bytes(place: Option<Place>) -> i16 {
    place.map_or(0, |_| i16::try_from(MARK_BYTES).unwrap_or(i16::MAX))
}

impl From<CacheableRow> for Cacheable {
    fn from(row: CacheableRow) -> Self {
        Self {
            id: row.id,
            tenant: row.tenant,
            workload: row.workload,
            model: row.model,
            prefixes: Prefixes::from_bytes(&row.prefixes),
            mark: row.cache_place.and_then(Place::of),
            deadline: row.deadline_at,
            queued_at: row.queued_at,
        }
    }
}
