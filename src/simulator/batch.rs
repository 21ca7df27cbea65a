//! One batch and its states: in progress, canceling, ended, archived, deleted. No work is done here.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::auth::Caller;
use super::books::{BatchRecord, Item};
use super::cache::CacheUsage;
use super::error::{ApiError, json};
use crate::clock::Timestamp;

/// What is unfinished after this long expires.
const LIFETIME: Duration = Duration::from_secs(24 * 3_600);
/// How long after its creation a batch's results can be had.
const RESULTS_KEPT: Duration = Duration::from_secs(29 * 24 * 3_600);

/// How an item ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Succeeded(CacheUsage),
    Errored(Box<ApiError>),
    Canceled,
    Expired,
}

/// A batch.
pub(super) struct Batch {
    id: String,
    caller: Arc<Caller>,
    items: Arc<[Item]>,
    created_at: Timestamp,
    /// When its last item is done, if nothing comes between.
    done_at: Timestamp,
    listed_at: Timestamp,
    cancel_at: Option<Timestamp>,
    ended: Option<Ended>,
    archived_at: Option<Timestamp>,
    deleted: bool,
}

struct Ended {
    at: Timestamp,
    counts: Counts,
    outcomes: Arc<[Outcome]>,
}

/// A batch whose end has come, but whose items have no outcomes yet.
pub(super) struct Due {
    /// Its place among all batches.
    pub(super) place: usize,
    pub(super) ended_at: Timestamp,
    pub(super) caller: Arc<Caller>,
    pub(super) items: Arc<[Item]>,
    /// How many items, from the first, were run.
    pub(super) done: usize,
    /// What became of the others.
    pub(super) rest: Outcome,
}

/// What is needed to write the results of a batch.
pub(super) struct Results {
    pub(super) caller: Arc<Caller>,
    pub(super) items: Arc<[Item]>,
    pub(super) outcomes: Arc<[Outcome]>,
}

impl Batch {
    /// A batch that is created, done and listed at these times.
    pub(super) fn new(
        id: String,
        caller: Caller,
        items: Vec<Item>,
        (created_at, done_at, listed_at): (Timestamp, Timestamp, Timestamp),
    ) -> Self {
        Self {
            id,
            caller: Arc::new(caller),
            items: items.into(),
            created_at,
            done_at,
            listed_at,
            cancel_at: None,
            ended: None,
            archived_at: None,
            deleted: false,
        }
    }

    pub(super) fn is_seen_by(&self, workspace: &str) -> bool {
        self.caller.workspace == workspace && !self.deleted
    }

    pub(super) fn is_listed(&self, now: Timestamp) -> bool {
        self.listed_at <= now
    }

    /// Gives it its outcomes; the first ones stay.
    pub(super) fn end(&mut self, at: Timestamp, outcomes: Vec<Outcome>) {
        let ended = || Ended { at, counts: Counts::of(&outcomes), outcomes: outcomes.into() };
        self.ended.get_or_insert_with(ended);
    }

    /// Lets it be done by now; once it has ended, that changes nothing.
    pub(super) fn hurry(&mut self, now: Timestamp) {
        self.done_at = self.done_at.min(now);
    }

    /// What the books say of it.
    pub(super) fn record(&self) -> BatchRecord {
        BatchRecord {
            id: self.id.clone(),
            workspace: self.caller.workspace.clone(),
            created_at: self.created_at,
            ended_at: self.ended.as_ref().map(|ended| ended.at),
            deleted: self.deleted,
            items: Arc::clone(&self.items),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Starts to cancel it; once more changes nothing.
    pub(super) fn cancel(&mut self, now: Timestamp) -> Result<(), ApiError> {
        if self.ended.is_some() {
            return Err(ApiError::invalid(format!("Message Batch {} cannot be canceled: it has ended.", self.id)));
        }
        self.cancel_at.get_or_insert(now);
        Ok(())
    }

    /// Deletes it, if it has ended.
    pub(super) fn delete(&mut self) -> Result<(), ApiError> {
        if self.ended.is_none() {
            return Err(ApiError::invalid(format!("Message Batch {} cannot be deleted before it has ended.", self.id)));
        }
        self.deleted = true;
        Ok(())
    }

    /// Makes it go away, whatever its state.
    pub(super) fn lose(&mut self) {
        self.deleted = true;
    }

    /// Archives it before its time.
    pub(super) fn archive(&mut self, now: Timestamp) {
        self.archived_at.get_or_insert(now);
    }

    /// Its results, while there are any.
    pub(super) fn results(&self, now: Timestamp) -> Result<Results, ApiError> {
        let ended = self.ended.as_ref().filter(|_| self.archived(now).is_none());
        let ended =
            ended.ok_or_else(|| ApiError::not_found(format!("Message Batch {} has no available results.", self.id)))?;
        Ok(Results {
            caller: Arc::clone(&self.caller),
            items: Arc::clone(&self.items),
            outcomes: Arc::clone(&ended.outcomes),
        })
    }

    /// The batch as the provider shows it; its results are under `origin`.
    pub(super) fn object(&self, origin: &str, now: Timestamp) -> String {
        let archived_at = self.archived(now);
        let has_results = self.ended.is_some() && archived_at.is_none();
        json(&Object {
            id: &self.id,
            kind: "message_batch",
            processing_status: match (&self.ended, self.cancel_at) {
                (Some(_), _) => "ended",
                (None, Some(_)) => "canceling",
                (None, None) => "in_progress",
            },
            request_counts: match &self.ended {
                Some(ended) => ended.counts,
                None => Counts { processing: self.items.len(), ..Counts::default() },
            },
            ended_at: self.ended.as_ref().map(|ended| ended.at),
            created_at: self.created_at,
            expires_at: self.expires_at(),
            archived_at,
            cancel_initiated_at: self.cancel_at,
            results_url: has_results.then(|| format!("{origin}/v1/messages/batches/{}/results", self.id)),
        })
    }

    fn expires_at(&self) -> Timestamp {
        self.created_at.plus(LIFETIME)
    }

    fn archived(&self, now: Timestamp) -> Option<Timestamp> {
        let regular = self.created_at.plus(RESULTS_KEPT);
        self.archived_at.or_else(|| (now >= regular).then_some(regular))
    }

    /// What is to be run, if it has come to its end.
    pub(super) fn due(&self, place: usize, now: Timestamp) -> Option<Due> {
        let natural_end = self.done_at.min(self.expires_at());
        let (ended_at, rest) = match (&self.ended, self.cancel_at) {
            (Some(_), _) => return None,
            (None, Some(canceled)) => (canceled, Outcome::Canceled),
            (None, None) => (natural_end, Outcome::Expired),
        };
        (now >= ended_at).then(|| Due {
            place,
            ended_at,
            caller: Arc::clone(&self.caller),
            items: Arc::clone(&self.items),
            done: self.done_by(ended_at),
            rest,
        })
    }

    /// How many items are done by then: they are run in order, evenly over the batch's time.
    fn done_by(&self, then: Timestamp) -> usize {
        let whole = self.done_at.since(self.created_at).as_millis();
        let spent = then.since(self.created_at).as_millis();
        if then >= self.done_at {
            return self.items.len();
        }
        usize::try_from(self.items.len() as u128 * spent / whole).unwrap_or(usize::MAX)
    }
}

/// How many items are in which state.
#[derive(Clone, Copy, Default, Serialize)]
struct Counts {
    processing: usize,
    succeeded: usize,
    errored: usize,
    canceled: usize,
    expired: usize,
}

impl Counts {
    fn of(outcomes: &[Outcome]) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            *match outcome {
                Outcome::Succeeded(_) => &mut counts.succeeded,
                Outcome::Errored(_) => &mut counts.errored,
                Outcome::Canceled => &mut counts.canceled,
                Outcome::Expired => &mut counts.expired,
            } += 1;
        }
        counts
    }
}

#[derive(Serialize)]
struct Object<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    processing_status: &'static str,
    request_counts: Counts,
    ended_at: Option<Timestamp>,
    created_at: Timestamp,
    expires_at: Timestamp,
    archived_at: Option<Timestamp>,
    cancel_initiated_at: Option<Timestamp>,
    results_url: Option<String>,
}
