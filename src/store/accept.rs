//! Accepting: calls become durable together. Whoever comes first commits for all who wait, without lingering.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::{PgConnection, SqliteConnection};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::clock::Timestamp;
use crate::crash;
use crate::domain::body::Item;
use crate::domain::caching::Prefixes;
use crate::domain::callback::Callback;
use crate::domain::id::DeferralId;
use crate::domain::lane::Lane;
use crate::store::attach::existing;
use crate::store::engine::write;
use crate::store::joining::{count_joined, groups_of, join_groups, joined, rooms};
use crate::store::lanes::{LaneId, TOUCH_AFTER, touch_lanes};
use crate::store::packing::Packed;
use crate::store::partitions::{BODIES, days_of};
use crate::store::{Store, StoreError};

/// Rows in one commit: beyond this a commit takes longer without becoming cheaper by the row.
const COMMIT_ROWS_MAX: usize = 1_000;

/// Packed bytes in one commit, so that a few large bodies do not hold up many small ones.
const COMMIT_BYTES_MAX: usize = 16_000_000;

/// Packing a body larger than this would hold up other calls on the same thread.
const PACK_ASIDE_BYTES: usize = 256_000;

/// Lanes that this process remembers to have touched.
const LANES_REMEMBERED: usize = 10_000;

/// A call to be made durable.
#[derive(Clone, Debug)]
pub struct NewDeferral {
    /// Its id.
    pub id: DeferralId,
    /// What its batch will be sent with.
    pub lane: Lane,
    /// What goes into the batch.
    pub item: Item,
    /// The workload that the caller named.
    pub workload: Option<String>,
    /// The caller's own reference.
    pub reference: Option<String>,
    /// The group that it belongs to.
    pub group: Option<String>,
    /// Where its webhook goes.
    pub callback: Option<Callback>,
    /// What called: its `user-agent`.
    pub client: Option<String>,
    /// The rule that decided, if one did.
    pub rule: Option<String>,
    /// The same key from the same tenant gives the same deferral.
    pub idempotency_key: Option<String>,
    /// How often the client says that it has sent this call before.
    pub retries: u32,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When the result is wanted.
    pub deadline: Timestamp,
    /// The beginnings of its prompt, if its rule lets it be marked for caching.
    pub caching: Option<Prefixes>,
}

/// What became of a call that was to be made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is durable under its own id.
    Fresh,
    /// It was durable already, under this id.
    Existing(DeferralId),
    /// Its key belongs to a call with another body; nothing was queued.
    KeyTaken,
    /// Its group takes no more members; nothing was queued.
    GroupClosed,
}

impl NewDeferral {
    /// Whether it may repeat a call that has no key to tell which.
    pub(super) fn is_keyless_retry(&self) -> bool {
        self.retries > 0 && self.idempotency_key.is_none()
    }
}

impl Store {
    /// Makes a call durable. When this returns, no crash loses it.
    ///
    /// # Errors
    /// If it could not be made durable; then nothing was queued.
    pub async fn accept(&self, new: NewDeferral) -> Result<Accepted, StoreError> {
        let lane = LaneId::of(&new.lane, &self.vault);
        let payload = self.pack_item(&new).await?;
        let (done, result) = oneshot::channel();
        if let Some(mut turn) = Accepting::push(&self.accepting, Waiting { row: Row { new, lane, payload }, done }) {
            // In a task of its own: it commits for others too, who must not lose it when this caller leaves.
            let store = self.clone();
            self.accepting.commits.spawn(async move {
                while let Some(bite) = turn.take_bite() {
                    store.commit(bite).await;
                }
            });
        }
        result.await.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into()))
    }

    /// Waits for commits under way.
    pub(super) async fn end_commits(&self) {
        self.accepting.commits.close();
        self.accepting.commits.wait().await;
    }

    async fn pack_item(&self, new: &NewDeferral) -> Result<Packed, StoreError> {
        if new.item.text.len() <= PACK_ASIDE_BYTES {
            return self.pack(new.id, &new.item.text);
        }
        let (store, id, text) = (self.clone(), new.id, new.item.text.clone());
        let packing = tokio::task::spawn_blocking(move || store.pack(id, &text));
        packing.await.map_err(|join| StoreError::Damaged(std::sync::Arc::new(std::io::Error::other(join))))?
    }

    async fn commit(&self, bite: Vec<Waiting>) {
        let (rows, waiting): (Vec<Row>, Vec<_>) = bite.into_iter().map(|each| (each.row, each.done)).unzip();
        match self.commit_rows(&rows).await {
            Ok(outcomes) => {
                for (done, outcome) in waiting.into_iter().zip(outcomes) {
                    let _ = done.send(Ok(outcome));
                }
            }
            // One row that the database refuses must not cost the others their place: each is tried alone.
            Err(StoreError::Unavailable(error)) if rows.len() > 1 && error.as_database_error().is_some() => {
                for (row, done) in rows.iter().zip(waiting) {
                    let alone = self.commit_rows(std::slice::from_ref(row)).await;
                    let _ = done.send(alone.map(|outcomes| outcomes.first().copied().unwrap_or(Accepted::Fresh)));
                }
            }
            Err(error) => {
                for done in waiting {
                    let _ = done.send(Err(error.clone()));
                }
            }
        }
    }

    /// One transaction for all rows; an outcome for each, in order.
    async fn commit_rows(&self, rows: &[Row]) -> Result<Vec<Accepted>, StoreError> {
        let days = days_of(rows.iter().map(|row| row.new.id));
        self.in_room(BODIES, days, || self.commit_in_room(rows)).await
    }

    async fn commit_in_room(&self, rows: &[Row]) -> Result<Vec<Accepted>, StoreError> {
        let mut outcomes = Vec::with_capacity(rows.len());
        let lanes = self.accepting.stale_lanes(rows);
        write!(self, tx => {
            let now = rows.first().map(|row| row.new.accepted_at);
            touch_lanes!(tx, self.vault, &lanes);
            let groups = groups_of(rows);
            let standing = join_groups!(tx, groups, now);
            let mut rooms = rooms(&groups, &standing);
            let is_plain = |row: &&Row| !row.new.is_keyless_retry() && !rooms.contains_key(&row.group());
            let plain: Vec<&Row> = rows.iter().filter(is_plain).collect();
            let inserted = tx.insert(&plain).await?;
            for row in rows {
                outcomes.push(loop {
                    if inserted.contains(&row.new.id) {
                        break Accepted::Fresh;
                    } else if let Some(existing) = existing!(tx, &row.new) {
                        break existing;
                    } else if rooms.get(&row.group()) == Some(&0) {
                        break Accepted::GroupClosed;
                    } else if tx.insert(&[row]).await?.contains(&row.new.id) {
                        // The holder of the key is gone since, or there was none.
                        rooms.entry(row.group()).and_modify(|room| *room -= 1);
                        break Accepted::Fresh;
                    }
                    // Another replica's call has taken the key in this instant, and is found at the next turn.
                });
            }
            count_joined!(tx, joined(rows, &outcomes), standing, now);
            crash::point("admit.commit");
        });
        crash::point("admit.ticket");
        self.accepting.remember_lanes(&lanes);
        Ok(outcomes)
    }
}

/// Inserts rows whose key is free; says which they were.
trait Insert {
    async fn insert(&mut self, rows: &[&Row]) -> Result<HashSet<DeferralId>, sqlx::Error>;
}

impl Insert for SqliteConnection {
    async fn insert(&mut self, rows: &[&Row]) -> Result<HashSet<DeferralId>, sqlx::Error> {
        let mut inserted = HashSet::with_capacity(rows.len());
        for row in rows {
            let new = &row.new;
            let done = sqlx::query(
                "insert into deferral (id, tenant, lane_id, state, model, workload, reference, group_name,
                     idempotency_key, body_hash, body_bytes, accepted_at, deadline_at, queued_at, receiver, callback_url,
                     client, rule, cache, prefixes, stream, retries)
                 values ($1, $2, $3, 'queued', $4, $5, $6, $7, $8, $9, $10, $11, $12, $11, $13, $14, $15, $16, $17, $18,
                     $19, $20)
                 on conflict (tenant, idempotency_key) where idempotency_key is not null do nothing",
            )
            .bind(new.id)
            .bind(&new.lane.tenant)
            .bind(row.lane)
            .bind(&new.item.model)
            .bind(&new.workload)
            .bind(&new.reference)
            .bind(&new.group)
            .bind(&new.idempotency_key)
            .bind(new.item.hash.as_slice())
            .bind(row.body_bytes())
            .bind(new.accepted_at)
            .bind(new.deadline)
            .bind(new.callback.as_ref().map(|callback| &callback.receiver))
            .bind(row.callback_url())
            .bind(&new.client)
            .bind(&new.rule)
            .bind(new.caching.is_some())
            .bind(row.prefixes())
            .bind(new.item.stream)
            .bind(row.retries())
            .execute(&mut *self)
            .await?;
            if done.rows_affected() == 1 {
                sqlx::query("insert into payload (deferral_id, codec, body) values ($1, $2, $3)")
                    .bind(new.id)
                    .bind(row.payload.codec)
                    .bind(&row.payload.body)
                    .execute(&mut *self)
                    .await?;
                inserted.insert(new.id);
            }
        }
        Ok(inserted)
    }
}

/// Both tables in one statement: each has to be prepared, behind a pooler, and so costs two ways to the server and back.
macro_rules! insert_text {
    ($conflict:literal) => {
        concat!(
            "with fresh as (
                 insert into deferral (id, tenant, lane_id, state, model, workload, reference, group_name,
                     idempotency_key, body_hash, body_bytes, accepted_at, deadline_at, queued_at, receiver, callback_url,
                     client, rule, cache, prefixes, stream, retries)
                 select id, tenant, lane_id, 'queued', model, workload, reference, group_name,
                     idempotency_key, body_hash, body_bytes, accepted_at, deadline_at, accepted_at, receiver, callback_url,
                     client, rule, cache, prefixes, stream, retries
                 from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[],
                     $8::text[], $9::bytea[], $10::integer[], $11::timestamptz[], $12::timestamptz[],
                     $13::text[], $14::text[], $15::text[], $16::text[], $17::boolean[], $18::bytea[],
                     $19::boolean[], $20::smallint[])
                     as new (id, tenant, lane_id, model, workload, reference, group_name, idempotency_key, body_hash,
                         body_bytes, accepted_at, deadline_at, receiver, callback_url, client, rule, cache, prefixes, stream,
                         retries) ",
            $conflict,
            " returning id)
             insert into payload (deferral_id, codec, body)
             select fresh.id, codec, body
             from unnest($1::uuid[], $21::smallint[], $22::bytea[]) as came (id, codec, body)
             join fresh on fresh.id = came.id
             returning deferral_id"
        )
    };
}

const INSERT: &str = insert_text!("");
const INSERT_WHERE_FREE: &str =
    insert_text!("on conflict (tenant, idempotency_key) where idempotency_key is not null do nothing");

impl Insert for PgConnection {
    async fn insert(&mut self, rows: &[&Row]) -> Result<HashSet<DeferralId>, sqlx::Error> {
        fn column<'a, T>(rows: &[&'a Row], value: impl Fn(&'a Row) -> T) -> Vec<T> {
            rows.iter().map(|row| value(row)).collect()
        }
        // A row that may meet another is written twice, in effect: so only where there are keys.
        let has_keys = rows.iter().any(|row| row.new.idempotency_key.is_some());
        let statement = if has_keys { INSERT_WHERE_FREE } else { INSERT };
        let ids: Vec<DeferralId> = sqlx::query_scalar(statement)
            .bind(column(rows, |row| row.new.id))
            .bind(column(rows, |row| row.new.lane.tenant.as_str()))
            .bind(column(rows, |row| row.lane.0))
            .bind(column(rows, |row| row.new.item.model.as_str()))
            .bind(column(rows, |row| row.new.workload.as_deref()))
            .bind(column(rows, |row| row.new.reference.as_deref()))
            .bind(column(rows, |row| row.new.group.as_deref()))
            .bind(column(rows, |row| row.new.idempotency_key.as_deref()))
            .bind(column(rows, |row| row.new.item.hash.as_slice()))
            .bind(column(rows, Row::body_bytes))
            .bind(column(rows, |row| row.new.accepted_at))
            .bind(column(rows, |row| row.new.deadline))
            .bind(column(rows, |row| row.new.callback.as_ref().map(|callback| callback.receiver.as_str())))
            .bind(column(rows, Row::callback_url))
            .bind(column(rows, |row| row.new.client.as_deref()))
            .bind(column(rows, |row| row.new.rule.as_deref()))
            .bind(column(rows, |row| row.new.caching.is_some()))
            .bind(column(rows, Row::prefixes))
            .bind(column(rows, |row| row.new.item.stream))
            .bind(column(rows, Row::retries))
            .bind(column(rows, |row| row.payload.codec))
            .bind(column(rows, |row| row.payload.body.as_slice()))
            .fetch_all(&mut *self)
            .await?;
        Ok(ids.into_iter().collect())
    }
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) new: NewDeferral,
    lane: LaneId,
    payload: Packed,
}

impl Row {
    /// Its tenant and the group's name, if it belongs to one.
    pub(super) fn group(&self) -> Option<(&str, &str)> {
        self.new.group.as_deref().map(|name| (self.new.lane.tenant.as_str(), name))
    }

    fn callback_url(&self) -> Option<&str> {
        self.new.callback.as_ref().and_then(|callback| callback.url.as_deref())
    }

    fn prefixes(&self) -> Option<Vec<u8>> {
        self.new.caching.as_ref().and_then(Prefixes::to_bytes)
    }

    fn retries(&self) -> i16 {
        i16::try_from(self.new.retries).unwrap_or(i16::MAX)
    }

    fn body_bytes(&self) -> i32 {
        i32::try_from(self.new.item.text.len()).unwrap_or(i32::MAX)
    }
}

#[derive(Debug)]
struct Waiting {
    row: Row,
    done: oneshot::Sender<Result<Accepted, StoreError>>,
}

/// What accepting keeps in memory: who waits, the commits under way, and which lanes need no touch.
#[derive(Debug, Default)]
pub(super) struct Accepting {
    queue: Mutex<Queue>,
    commits: TaskTracker,
    lanes: Mutex<HashMap<LaneId, Timestamp>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Whether somebody has the turn, who takes everybody along that comes meanwhile.
    is_taken: bool,
}

/// The turn to commit, for all that wait until nobody does. One at a time has it.
struct Turn {
    accepting: Arc<Accepting>,
    is_over: bool,
}

impl Turn {
    /// Those who are next; with the last of them the turn ends.
    fn take_bite(&mut self) -> Option<Vec<Waiting>> {
        let mut queue = self.accepting.queue();
        let mut bytes = 0;
        let fits = |each: &&Waiting| {
            bytes += each.row.payload.body.len();
            bytes <= COMMIT_BYTES_MAX
        };
        let rows = queue.waiting.iter().take(COMMIT_ROWS_MAX).take_while(fits).count().max(1).min(queue.waiting.len());
        queue.is_taken = rows > 0;
        self.is_over = rows == 0;
        (rows > 0).then(|| queue.waiting.drain(..rows).collect())
    }
}

impl Drop for Turn {
    /// A turn that broke off leaves nobody waiting for it: they learn that their calls are not durable.
    fn drop(&mut self) {
        if !self.is_over {
            *self.accepting.queue() = Queue::default();
        }
    }
}

impl Accepting {
    /// Joins those who wait; the turn goes to whoever finds that nobody has it.
    fn push(this: &Arc<Self>, waiting: Waiting) -> Option<Turn> {
        let mut queue = this.queue();
        queue.waiting.push_back(waiting);
        let was_taken = std::mem::replace(&mut queue.is_taken, true);
        (!was_taken).then(|| Turn { accepting: Arc::clone(this), is_over: false })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lanes of some rows that are to be written anew, each with a call that needs it, in the order of their ids.
    fn stale_lanes<'a>(&self, rows: &'a [Row]) -> BTreeMap<LaneId, &'a NewDeferral> {
        let touched = self.lanes();
        let is_stale = |row: &&Row| {
            touched.get(&row.lane).is_none_or(|touched| row.new.accepted_at.since(*touched) >= TOUCH_AFTER)
        };
        rows.iter().filter(is_stale).map(|row| (row.lane, &row.new)).collect()
    }

    fn remember_lanes(&self, lanes: &BTreeMap<LaneId, &NewDeferral>) {
        let mut touched = self.lanes();
        if touched.len() >= LANES_REMEMBERED {
            touched.clear();
        }
        touched.extend(lanes.iter().map(|(lane, call)| (*lane, call.accepted_at)));
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<LaneId, Timestamp>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
