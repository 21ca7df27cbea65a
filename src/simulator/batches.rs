//! All batches: found by workspace and id, listed, ended when their time has come.

use std::time::Duration;

use super::auth::Caller;
use super::batch::{Batch, Due, Outcome};
use super::books::{BatchRecord, Item};
use super::digest::hex_of;
use super::error::ApiError;
use crate::clock::Timestamp;

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
        self.0.push(Batch::new(id, caller, items, (now, now.plus(time), now.plus(hidden))));
        &self.0[self.0.len() - 1]
    }

    /// A batch of a workspace.
    pub(super) fn get(&mut self, workspace: &str, id: &str) -> Result<&mut Batch, ApiError> {
        let seen = |batch: &&mut Batch| batch.id() == id && batch.is_seen_by(workspace);
        self.0.iter_mut().find(seen).ok_or_else(|| ApiError::not_found(format!("Message Batch {id} not found.")))
    }

    /// The batches that a workspace's list shows, newest first.
    pub(super) fn listed(&self, workspace: &str, now: Timestamp) -> Vec<&Batch> {
        let shown = |batch: &&Batch| batch.is_seen_by(workspace) && batch.is_listed(now);
        self.0.iter().rev().filter(shown).collect()
    }

    /// All batches that have come to their end, the earliest end first.
    pub(super) fn due(&self, now: Timestamp) -> Vec<Due> {
        let mut due: Vec<_> = self.0.iter().enumerate().filter_map(|(place, batch)| batch.due(place, now)).collect();
        due.sort_by_key(|due| due.ended_at);
        due
    }

    /// Gives a batch that was due its outcomes; the first ones stay.
    pub(super) fn end(&mut self, due: &Due, outcomes: Vec<Outcome>) {
        if let Some(batch) = self.0.get_mut(due.place) {
            batch.end(due.ended_at, outcomes);
        }
    }

    /// Lets every batch that is in progress be done now.
    pub(super) fn hurry(&mut self, now: Timestamp) {
        self.0.iter_mut().for_each(|batch| batch.hurry(now));
    }

    /// What the books say of the batches.
    pub(super) fn records(&self) -> Vec<BatchRecord> {
        self.0.iter().map(Batch::record).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::auth::Version;
    use super::super::cache::CacheUsage;
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
