//! Delivering: events that are due are claimed receiver by receiver, and what became of each attempt is noted.
//!
//! They come about in the transactions that make their cause final ([`super::feed`], [`super::groups`]).

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::domain::callback::Callback;
use crate::domain::delivery::{DeliveryState, Subject};
use crate::domain::id::{DeferralId, DeliveryId};
use crate::store::engine::{Dialect, read, write};
use crate::store::{Store, StoreError};

/// Attempts noted in one commit: beyond this a commit takes longer without becoming cheaper by the row.
const NOTES_AT_ONCE: usize = 200;

/// A receiver for whom something waits.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct WaitingReceiver {
    /// Its name, or the origin of its URL.
    pub receiver: String,
    /// Whether something is due now, and not only later.
    pub is_due: bool,
}

/// A delivery with the right to try it, until its lease lapses.
#[derive(Clone, Debug)]
pub struct ClaimedDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// Whose event it is.
    pub tenant: String,
    /// The event's type.
    pub event: String,
    /// What it is about.
    pub subject: Subject,
    /// Where it goes.
    pub callback: Callback,
    /// When the event came about.
    pub created_at: Timestamp,
    /// Which attempt this is since it was made or replayed, from 1.
    pub attempt: u32,
    fence: i64,
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The receiver has it.
    Delivered,
    /// It is tried again then.
    Again(Timestamp),
    /// It is given up.
    Dead,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The receiver's HTTP status, if it answered.
    pub status: Option<u16>,
    /// Why it did not, in a word.
    pub failure: Option<&'static str>,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
}

#[derive(sqlx::FromRow)]
struct ClaimRow {
    id: DeliveryId,
    tenant: String,
    event: String,
    receiver: String,
    callback_url: Option<String>,
    deferral_id: Option<DeferralId>,
    group_name: Option<String>,
    created_at: Timestamp,
    attempts: i32,
    fence: i64,
}

impl Store {
    /// The next receivers behind this one for whom anything waits, and whether it is due.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn waiting_receivers(
        &self,
        after: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<WaitingReceiver>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_as(WAITING_RECEIVERS).bind(after).bind(now).bind(i64::from(limit)).fetch_all(tx).await?
        }))
    }

    /// Claims deliveries that are due: for each of these receivers so many at most, the longest due first. A claim counts
    /// as an attempt.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn claim_deliveries(
        &self,
        wanted: &[(String, u32)],
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let mut claimed = Vec::new();
        write!(self, tx => {
            for (receiver, limit) in wanted {
                let rows: Vec<ClaimRow> = sqlx::query_as(tx.text(CLAIM_SQLITE, CLAIM_POSTGRES))
                    .bind(receiver)
                    .bind(now)
                    .bind(now.plus(lease))
                    .bind(i64::from(*limit))
                    .fetch_all(&mut *tx)
                    .await?;
                claimed.extend(rows.into_iter().filter_map(ClaimRow::claimed));
            }
        });
        Ok(claimed)
    }

    /// Notes how an attempt ended, and what follows from it, together with others that end at the same time. False if
    /// somebody else has the delivery by now.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn delivery_tried(
        &self,
        claimed: &ClaimedDelivery,
        tried: Tried,
        next: Next,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut noted = self.noting.push(Note { id: claimed.id, fence: claimed.fence, tried, next, now });
        loop {
            tokio::select! {
                biased;
                noted = &mut noted => return noted.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into())),
                _turn = self.noting.turn.lock() => self.write_notes(self.noting.take_bite()).await,
            }
        }
    }

    async fn write_notes(&self, bite: Vec<(Note, oneshot::Sender<Noted>)>) {
        let (notes, waiting): (Vec<Note>, Vec<_>) = bite.into_iter().unzip();
        let outcomes = self.note_all(&notes).await;
        for (index, done) in waiting.into_iter().enumerate() {
            let outcome = outcomes.as_ref().map(|is_ours| is_ours.get(index).copied().unwrap_or_default());
            let _ = done.send(outcome.map_err(Clone::clone));
        }
    }

    async fn note_all(&self, notes: &[Note]) -> Result<Vec<bool>, StoreError> {
        let mut is_ours = Vec::with_capacity(notes.len());
        if notes.is_empty() {
            return Ok(is_ours);
        }
        write!(self, tx => {
            for note in notes {
                let tried = &note.tried;
                sqlx::query(NOTE_ATTEMPT)
                    .bind(note.id)
                    .bind(tried.status.map(i32::from))
                    .bind(tried.failure)
                    .bind(tried.started_at)
                    .bind(i64::try_from(tried.duration.as_millis()).unwrap_or(i64::MAX))
                    .execute(&mut *tx)
                    .await?;
                let (state, due_at) = note.follows();
                let done = sqlx::query(NOTE_STATE)
                    .bind(note.id)
                    .bind(state)
                    .bind(due_at)
                    .bind((state != DeliveryState::Due).then_some(note.now))
                    .bind(note.fence)
                    .execute(&mut *tx)
                    .await?;
                is_ours.push(done.rows_affected() == 1);
            }
        });
        Ok(is_ours)
    }
}

pub(super) fn subject(deferral: Option<DeferralId>, group: Option<String>) -> Option<Subject> {
    deferral.map(Subject::Deferral).or(group.map(Subject::Group))
}

impl ClaimRow {
    fn claimed(self) -> Option<ClaimedDelivery> {
        Some(ClaimedDelivery {
            id: self.id,
            tenant: self.tenant,
            event: self.event,
            subject: subject(self.deferral_id, self.group_name)?,
            callback: Callback { receiver: self.receiver, url: self.callback_url },
            created_at: self.created_at,
            attempt: self.attempts.unsigned_abs(),
            fence: self.fence,
        })
    }
}

type Noted = Result<bool, StoreError>;

#[derive(Debug)]
struct Note {
    id: DeliveryId,
    fence: i64,
    tried: Tried,
    next: Next,
    now: Timestamp,
}

impl Note {
    /// The state that the delivery is in from now on, and when it is due.
    fn follows(&self) -> (DeliveryState, Timestamp) {
        match self.next {
            Next::Delivered => (DeliveryState::Delivered, self.now),
            Next::Again(at) => (DeliveryState::Due, at),
            Next::Dead => (DeliveryState::Dead, self.now),
        }
    }
}

/// Attempts that have ended and are not noted yet, and whose turn it is to note them: a commit of its own for each would
/// be what a fast receiver waits for.
#[derive(Debug, Default)]
pub(super) struct Noting {
    waiting: Mutex<VecDeque<(Note, oneshot::Sender<Noted>)>>,
    turn: tokio::sync::Mutex<()>,
}

impl Noting {
    fn push(&self, note: Note) -> oneshot::Receiver<Noted> {
        let (done, noted) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back((note, done));
        noted
    }

    /// Always in the same order, since each row is locked: another replica may note the same ones.
    fn take_bite(&self) -> Vec<(Note, oneshot::Sender<Noted>)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(NOTES_AT_ONCE);
        let mut bite: Vec<_> = waiting.drain(..count).collect();
        bite.sort_by_key(|(note, _)| note.id);
        bite
    }
}

/// Every receiver for whom anything waits is met once, however much waits: each step looks for the next name.
/// $1 behind which, $2 now, $3 how many.
const WAITING_RECEIVERS: &str = "
    with recursive waiting (receiver) as (
        select min(receiver) from delivery where state = 'due' and receiver > $1
        union all
        select (select min(receiver) from delivery where state = 'due' and receiver > waiting.receiver)
        from waiting where waiting.receiver is not null)
    select receiver, exists (
        select 1 from delivery where delivery.receiver = waiting.receiver and state = 'due' and due_at <= $2) as is_due
    from waiting where receiver is not null limit $3";

/// Claims what is due at a receiver: $1 which, $2 now, $3 until when, $4 how many.
const CLAIM_SQLITE: &str = "
    update delivery set due_at = $3, fence = fence + 1, attempts = attempts + 1
    where id in (
        select id from delivery where receiver = $1 and state = 'due' and due_at <= $2 order by due_at limit $4)
    returning id, tenant, event, receiver, callback_url, deferral_id, group_name, created_at, attempts, fence";

const CLAIM_POSTGRES: &str = "
    update delivery set due_at = $3, fence = fence + 1, attempts = attempts + 1
    where id in (
        select id from delivery where receiver = $1 and state = 'due' and due_at <= $2 order by due_at limit $4
        for update skip locked)
    returning id, tenant, event, receiver, callback_url, deferral_id, group_name, created_at, attempts, fence";

/// Attempts are numbered as they are noted: one that died with its process has no number. Of a delivery that has been
/// deleted nothing is noted, and of two that two processes note at the same moment only one.
const NOTE_ATTEMPT: &str = "
    insert into delivery_attempt (delivery_id, number, status, failure, started_at, duration_ms)
    select id, (select coalesce(max(number), 0) + 1 from delivery_attempt where delivery_id = $1), $2, $3, $4, $5
    from delivery where id = $1
    on conflict (delivery_id, number) do nothing";

/// A receiver that has it has it, whoever else is trying by now.
const NOTE_STATE: &str = "
    update delivery set state = $2, due_at = $3, ended_at = $4
    where id = $1 and state = 'due' and (fence = $5 or $2 = 'delivered')";
