//! The batches and their states: in progress, canceling, ended, archived, deleted. No work is done here.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::auth::Caller;
use super::books::{BatchRecord, Item};
use super::cache::CacheUsage;
use super::digest::hex_of;
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
    pub(super) caller: Arc<Caller>,
    pub(super) items: Arc<[Item]>,
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
    at: usize,
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

/// All batches in the order of their creation.
#[derive(Default)]
pub(super) struct Batches(Vec<Batch>);

impl Batches {
    /// Creates a batch that takes `time` and is listed `hidden` from now.
    pub(super) fn create(
        &mut self,
        caller: Caller,
        items: Vec<Item>,
        now: Timestamp,
        (time, hidden): (Duration, Duration),
    ) -> &Batch {
        let id = format!("msgbatch_{}", &hex_of(&format!("{now} {}", self.0.len()))[..24]);
        self.0.push(Batch {
            id,
            caller: Arc::new(caller),
            items: items.into(),
            created_at: now,
            done_at: now.plus(time),
            listed_at: now.plus(hidden),
            cancel_at: None,
            ended: None,
            archived_at: None,
            deleted: false,
        });
        &self.0[self.0.len() - 1]
    }

    /// A batch of a workspace.
    pub(super) fn get(&mut self, workspace: &str, id: &str) -> Result<&mut Batch, ApiError> {
        let seen = |batch: &&mut Batch| batch.id == id && batch.caller.workspace == workspace && !batch.deleted;
        self.0.iter_mut().find(seen).ok_or_else(|| ApiError::not_found(format!("Message Batch {id} not found.")))
    }

    /// The batches that a workspace's list shows, newest first.
    pub(super) fn listed(&self, workspace: &str, now: Timestamp) -> Vec<&Batch> {
        let shown = |batch: &&Batch| batch.caller.workspace == workspace && !batch.deleted && batch.listed_at <= now;
        self.0.iter().rev().filter(shown).collect()
    }

    /// All batches that have come to their end, the earliest end first.
    pub(super) fn due(&self, now: Timestamp) -> Vec<Due> {
        let mut due: Vec<_> = self.0.iter().enumerate().filter_map(|(at, batch)| batch.due(at, now)).collect();
        due.sort_by_key(|due| due.ended_at);
        due
    }

    /// Gives a batch that was due its outcomes; the first ones stay.
    pub(super) fn end(&mut self, due: &Due, outcomes: Vec<Outcome>) {
        if let Some(batch) = self.0.get_mut(due.at) {
            let ended = || Ended { at: due.ended_at, counts: Counts::of(&outcomes), outcomes: outcomes.into() };
            batch.ended.get_or_insert_with(ended);
        }
    }

    /// Lets every batch that is in progress be done now.
    pub(super) fn hurry(&mut self, now: Timestamp) {
        for batch in self.0.iter_mut().filter(|batch| batch.ended.is_none()) {
            batch.done_at = batch.done_at.min(now);
        }
    }

    /// What the books say of the batches.
    pub(super) fn records(&self) -> Vec<BatchRecord> {
        let record = |batch: &Batch| BatchRecord {
            id: batch.id.clone(),
            workspace: batch.caller.workspace.clone(),
            created_at: batch.created_at,
            ended_at: batch.ended.as_ref().map(|ended| ended.at),
            deleted: batch.deleted,
            items: Arc::clone(&batch.items),
        };
        self.0.iter().map(record).collect()
    }
}

impl Batch {
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

    fn due(&self, at: usize, now: Timestamp) -> Option<Due> {
        let natural_end = self.done_at.min(self.expires_at());
        let (ended_at, rest) = match (&self.ended, self.cancel_at) {
            (Some(_), _) => return None,
            (None, Some(canceled)) => (canceled, Outcome::Canceled),
            (None, None) => (natural_end, Outcome::Expired),
        };
        (now >= ended_at).then(|| Due {
            at,
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::auth::Version;
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_795_350_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn caller(workspace: &str) -> Caller {
        Caller { workspace: workspace.into(), version: Version::V2023, betas: Default::default(), user_profile: None }
    }

    /// A batch of ten items that takes `time`.
    fn ten(batches: &mut Batches, time: Duration) -> String {
        let item = |n: usize| Item { custom_id: n.to_string().into(), params: Bytes::from_static(b"{}") };
        let items = (0..10).map(item).collect();
        batches.create(caller("red"), items, START, (time, Duration::ZERO)).id().to_owned()
    }

    /// Ends what is due: done items succeed.
    fn settle(batches: &mut Batches, now: Timestamp) {
        for due in batches.due(now) {
            let outcome = |n| if n < due.done { Outcome::Succeeded(CacheUsage::default()) } else { due.rest.clone() };
            batches.end(&due, (0..due.items.len()).map(outcome).collect());
        }
    }

    fn shown(batches: &mut Batches, id: &str, now: Timestamp) -> serde_json::Value {
        settle(batches, now);
        serde_json::from_str(&batches.get("red", id).unwrap().object("http://sim", now)).unwrap()
    }

    #[test]
    fn counts_and_results_come_only_with_the_end() {
        let mut batches = Batches::default();
        let id = ten(&mut batches, HOUR);
        let during = shown(&mut batches, &id, START.plus(HOUR / 2));
        assert_eq!(during["processing_status"], "in_progress");
        assert_eq!(during["request_counts"]["processing"], 10);
        assert_eq!(during["results_url"], serde_json::Value::Null);
        assert!(batches.get("red", &id).unwrap().results(START).is_err());
        let after = shown(&mut batches, &id, START.plus(2 * HOUR));
        assert_eq!(after["processing_status"], "ended");
        assert_eq!(
            (&after["request_counts"]["succeeded"], &after["request_counts"]["processing"]),
            (&10.into(), &0.into())
        );
        assert_eq!(after["ended_at"], START.plus(HOUR).to_string());
        assert_eq!(after["results_url"], format!("http://sim/v1/messages/batches/{id}/results"));
    }

    #[test]
    fn what_is_unfinished_after_a_day_expires() {
        let mut batches = Batches::default();
        let (slow, endless) = (ten(&mut batches, 48 * HOUR), ten(&mut batches, Duration::MAX));
        let day = START.plus(24 * HOUR);
        let shown_slow = shown(&mut batches, &slow, day);
        assert_eq!(shown_slow["ended_at"], shown_slow["expires_at"]);
        assert_eq!(shown_slow["request_counts"]["succeeded"], 5);
        assert_eq!(shown_slow["request_counts"]["expired"], 5);
        assert_eq!(shown(&mut batches, &endless, day)["request_counts"]["expired"], 10);
    }

    #[test]
    fn a_canceled_batch_keeps_what_was_done() {
        let mut batches = Batches::default();
        let id = ten(&mut batches, HOUR);
        let now = START.plus(HOUR / 5);
        batches.get("red", &id).unwrap().cancel(now).unwrap();
        let object: serde_json::Value =
            serde_json::from_str(&batches.get("red", &id).unwrap().object("", now)).unwrap();
        assert_eq!(object["processing_status"], "canceling");
        let object = shown(&mut batches, &id, now);
        assert_eq!(object["processing_status"], "ended");
        assert_eq!(object["request_counts"]["succeeded"], 2);
        assert_eq!(object["request_counts"]["canceled"], 8);
        assert!(batches.get("red", &id).unwrap().cancel(now).is_err());
    }

    #[test]
    fn only_an_ended_batch_is_deleted() {
        let mut batches = Batches::default();
        let id = ten(&mut batches, Duration::ZERO);
        assert!(batches.get("red", &id).unwrap().delete().is_err());
        settle(&mut batches, START);
        batches.get("red", &id).unwrap().delete().unwrap();
        assert!(batches.get("red", &id).is_err());
        assert_eq!(batches.records().len(), 1);
    }

    #[test]
    fn results_are_archived_29_days_after_creation() {
        let mut batches = Batches::default();
        let id = ten(&mut batches, HOUR);
        let last = START.plus(29 * 24 * HOUR).minus(Duration::from_millis(1));
        assert_eq!(shown(&mut batches, &id, last)["archived_at"], serde_json::Value::Null);
        assert!(batches.get("red", &id).unwrap().results(last).is_ok());
        let archived = shown(&mut batches, &id, START.plus(30 * 24 * HOUR));
        assert_eq!(archived["archived_at"], START.plus(29 * 24 * HOUR).to_string());
        assert_eq!(archived["results_url"], serde_json::Value::Null);
        assert!(batches.get("red", &id).unwrap().results(START.plus(30 * 24 * HOUR)).is_err());
    }

    #[test]
    fn a_workspace_sees_its_own_batches_newest_first() {
        let mut batches = Batches::default();
        let (first, second) = (ten(&mut batches, HOUR), ten(&mut batches, HOUR));
        batches.create(caller("blue"), Vec::new(), START, (HOUR, Duration::ZERO));
        batches.create(caller("red"), Vec::new(), START, (HOUR, HOUR));
        let listed: Vec<_> = batches.listed("red", START).iter().map(|batch| batch.id().to_owned()).collect();
        assert_eq!(listed, [second, first.clone()]);
        assert_eq!(batches.listed("red", START.plus(HOUR)).len(), 3);
        assert!(batches.get("blue", &first).is_err());
    }
}
