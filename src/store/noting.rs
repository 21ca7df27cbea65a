//! Noting: what became of attempts to deliver, and what follows. Whoever comes first commits for all who wait: a commit
//! of its own for each would be what a fast receiver waits for.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::{PgConnection, SqliteConnection};
use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::domain::delivery::DeliveryState;
use crate::domain::id::DeliveryId;
use crate::store::engine::write;
use crate::store::{ClaimedDelivery, Store, StoreError};

/// Attempts noted in one commit: beyond this a commit takes longer without becoming cheaper by the row.
const NOTES_AT_ONCE: usize = 200;

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

impl Store {
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
        if notes.is_empty() {
            return Ok(Vec::new());
        }
        Ok(write!(self, tx => tx.write_all(notes).await?))
    }
}

/// A statement for each note costs little within a process, and a way there and back over a network.
trait WriteNotes {
    /// Whether each of these was the holder's to say.
    async fn write_all(&mut self, notes: &[Note]) -> Result<Vec<bool>, sqlx::Error>;
}

impl WriteNotes for SqliteConnection {
    async fn write_all(&mut self, notes: &[Note]) -> Result<Vec<bool>, sqlx::Error> {
        let mut is_ours = Vec::with_capacity(notes.len());
        for note in notes {
            sqlx::query(NOTE_ATTEMPT_SQLITE)
                .bind(note.id)
                .bind(note.status())
                .bind(note.tried.failure)
                .bind(note.tried.started_at)
                .bind(note.duration_ms())
                .execute(&mut *self)
                .await?;
            let done = sqlx::query(NOTE_STATE_SQLITE)
                .bind(note.id)
                .bind(note.state())
                .bind(note.due_at())
                .bind(note.ended_at())
                .bind(note.fence)
                .execute(&mut *self)
                .await?;
            is_ours.push(done.rows_affected() == 1);
        }
        Ok(is_ours)
    }
}

impl WriteNotes for PgConnection {
    async fn write_all(&mut self, notes: &[Note]) -> Result<Vec<bool>, sqlx::Error> {
        fn column<'a, T>(notes: &'a [Note], value: impl Fn(&'a Note) -> T) -> Vec<T> {
            notes.iter().map(value).collect()
        }
        let ids = column(notes, |note| note.id.0);
        sqlx::query(NOTE_ATTEMPTS_POSTGRES)
            .bind(&ids)
            .bind(column(notes, Note::status))
            .bind(column(notes, |note| note.tried.failure))
            .bind(column(notes, |note| note.tried.started_at))
            .bind(column(notes, Note::duration_ms))
            .execute(&mut *self)
            .await?;
        let changed: Vec<i64> = sqlx::query_scalar(NOTE_STATES_POSTGRES)
            .bind(&ids)
            .bind(column(notes, |note| note.state().as_str()))
            .bind(column(notes, Note::due_at))
            .bind(column(notes, Note::ended_at))
            .bind(column(notes, |note| note.fence))
            .fetch_all(self)
            .await?;
        Ok((1..).zip(notes).map(|(number, _)| changed.contains(&number)).collect())
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
    /// The state that the delivery is in from now on.
    fn state(&self) -> DeliveryState {
        match self.next {
            Next::Delivered => DeliveryState::Delivered,
            Next::Again(_) => DeliveryState::Due,
            Next::Dead => DeliveryState::Dead,
        }
    }

    fn due_at(&self) -> Timestamp {
        if let Next::Again(at) = self.next { at } else { self.now }
    }

    fn ended_at(&self) -> Option<Timestamp> {
        (self.state() != DeliveryState::Due).then_some(self.now)
    }

    fn status(&self) -> Option<i32> {
        self.tried.status.map(i32::from)
    }

    fn duration_ms(&self) -> i64 {
        i64::try_from(self.tried.duration.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Attempts that have ended and are not noted yet, and whose turn it is to note them.
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

/// Attempts are numbered as they are noted: one that died with its process has no number. Of a delivery that has been
/// deleted nothing is noted, and of two that two processes note at the same moment only one.
const NOTE_ATTEMPT_SQLITE: &str = "
    insert into delivery_attempt (delivery_id, number, status, failure, started_at, duration_ms)
    select id, (select coalesce(max(number), 0) + 1 from delivery_attempt where delivery_id = $1), $2, $3, $4, $5
    from delivery where id = $1
    on conflict (delivery_id, number) do nothing";

const NOTE_ATTEMPTS_POSTGRES: &str = "
    insert into delivery_attempt (delivery_id, number, status, failure, started_at, duration_ms)
    select delivery.id,
        (select coalesce(max(number), 0) + 1 from delivery_attempt where delivery_id = delivery.id),
        note.status, note.failure, note.started_at, note.duration_ms
    from unnest($1::uuid[], $2::integer[], $3::text[], $4::timestamptz[], $5::bigint[])
        as note (id, status, failure, started_at, duration_ms)
    join delivery on delivery.id = note.id
    on conflict (delivery_id, number) do nothing";

/// A receiver that has it has it, whoever else is trying by now.
const NOTE_STATE_SQLITE: &str = "
    update delivery set state = $2, due_at = $3, ended_at = $4
    where id = $1 and state = 'due' and (fence = $5 or $2 = 'delivered')";

const NOTE_STATES_POSTGRES: &str = "
    update delivery set state = note.state, due_at = note.due_at, ended_at = note.ended_at
    from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::bigint[]) with ordinality
        as note (id, state, due_at, ended_at, fence, number)
    where delivery.id = note.id and delivery.state = 'due'
      and (delivery.fence = note.fence or note.state = 'delivered')
    returning note.number";
