//! Gathering: deferrals that many ask for at once are read together. Whoever comes first reads for all who wait.
//!
//! A chunk of results may wake thousands of callers; each with a read of its own would keep the last one waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use sqlx::QueryBuilder;
use tokio::sync::oneshot;

use crate::domain::deferral::Deferral;
use crate::domain::id::DeferralId;
use crate::store::deferrals::{DeferralRow, SELECT};
use crate::store::engine::read;
use crate::store::partitions::IdSpan;
use crate::store::{Store, StoreError};

/// Deferrals read at a time; more would hold as many answers in memory at once.
const BITE: usize = 100;

/// Ids in one question that reads no answers; far below the 32,766 parameters that SQLite allows.
const IDS_AT_ONCE: usize = 1_000;

type Found = Result<Option<Deferral>, StoreError>;

/// Who waits to be read for, and whose turn it is to read.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    waiting: Mutex<VecDeque<(DeferralId, oneshot::Sender<Found>)>>,
    turn: tokio::sync::Mutex<()>,
}

impl Gathering {
    fn push(&self, id: DeferralId) -> oneshot::Receiver<Found> {
        let (done, result) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back((id, done));
        result
    }

    fn take_bite(&self) -> Vec<(DeferralId, oneshot::Sender<Found>)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let bite = waiting.len().min(BITE);
        waiting.drain(..bite).filter(|(_, done)| !done.is_closed()).collect()
    }
}

impl Store {
    /// The deferral with this id, whoever asks, read together with those that others ask for at the same time.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn gathered(&self, id: DeferralId) -> Found {
        let mut result = self.gathering.push(id);
        loop {
            tokio::select! {
                biased;
                found = &mut result => return found.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into())),
                _turn = self.gathering.turn.lock() => self.read_bite().await,
            }
        }
    }

    /// Reads for some who wait; if this is dropped halfway, they hear that it failed.
    async fn read_bite(&self) {
        let bite = self.gathering.take_bite();
        if bite.is_empty() {
            return;
        }
        let ids: Vec<DeferralId> = bite.iter().map(|(id, _)| *id).collect();
        match self.deferrals(&ids).await {
            Ok(found) => {
                for (id, done) in bite {
                    let _ = done.send(Ok(found.get(&id).cloned()));
                }
            }
            Err(error) => {
                for (_, done) in bite {
                    let _ = done.send(Err(error.clone()));
                }
            }
        }
    }

    /// Which of these deferrals are final.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn finals_among(&self, ids: &[DeferralId]) -> Result<Vec<DeferralId>, StoreError> {
        let mut finals = Vec::new();
        for some in ids.chunks(IDS_AT_ONCE) {
            let found: Vec<DeferralId> = read!(self, tx => {
                let mut select = QueryBuilder::new("select id from deferral where completed_at is not null and id in (");
                let mut list = select.separated(", ");
                for id in some {
                    list.push_bind(*id);
                }
                select.push(")").build_query_scalar().fetch_all(tx).await?
            });
            finals.extend(found);
        }
        Ok(finals)
    }

    /// The deferrals with these ids, as far as they are there.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn deferrals(&self, ids: &[DeferralId]) -> Result<HashMap<DeferralId, Deferral>, StoreError> {
        let mut found = HashMap::with_capacity(ids.len());
        for some in ids.chunks(BITE) {
            let rows: Vec<DeferralRow> = read!(self, tx => {
                let span = IdSpan::of(some.iter().copied());
                let mut select = QueryBuilder::new(SELECT);
                select.push(" and outcome.deferral_id >= ").push_bind(span.first);
                select.push(" and outcome.deferral_id <= ").push_bind(span.last);
                select.push(" where deferral.id in (");
                let mut list = select.separated(", ");
                for id in some {
                    list.push_bind(*id);
                }
                select.push(")").build_query_as().fetch_all(tx).await?
            });
            for row in rows {
                let deferral = self.deferral_of(row)?;
                found.insert(deferral.id, deferral);
            }
        }
        Ok(found)
    }
}
