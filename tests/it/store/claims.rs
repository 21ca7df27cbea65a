//! Claims: who may move a batch on, for how long, and what a latecomer can still do, which is nothing.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join;
use offpeak::clock::Timestamp;
use offpeak::domain::batch::BatchState;
use offpeak::domain::id::BatchId;
use offpeak::store::{ClaimedBatch, Store};

use super::fixture::{Fixture, LEASE, NOW, batch_id, provider_id, succeeded};
use super::transitions::{Move, STATES, picture};
use crate::it::wire::soon;

on_both_engines! {
    a_builder_holds_its_batch_for_the_lease,
    a_claim_says_all_about_the_batch,
    no_more_are_claimed_than_asked_for,
    the_longest_due_are_claimed_first,
    only_the_state_that_is_asked_for_is_claimed,
    claims_at_the_same_time_never_overlap,
    a_renewed_claim_holds,
    a_released_batch_is_due_when_it_was_said,
    a_late_holder_changes_nothing,
}

/// When the leases of all batches in these tests have lapsed.
const LAPSED: Timestamp = Timestamp::from_millis(NOW.as_millis() + 600_000);

/// Batches 1 to `count` of one call each, `building`; the last built is the longest due.
async fn batches(db: &Fixture, count: u128) {
    for number in 1..=count {
        let claim = db.batch(number..number + 1, BatchState::Building).await.claim;
        let due = LAPSED.minus(Duration::from_millis(u64::try_from(number).unwrap()));
        assert!(db.store.release(claim, due).await.unwrap());
    }
}

async fn claim(store: &Store, now: Timestamp, limit: u32) -> Vec<ClaimedBatch> {
    store.claim_batches(BatchState::Building, now, LEASE, limit).await.unwrap()
}

fn ids(claimed: &[ClaimedBatch]) -> HashSet<BatchId> {
    claimed.iter().map(|batch| batch.claim.batch).collect()
}

async fn a_builder_holds_its_batch_for_the_lease(db: Fixture) {
    let built = db.batch(1..2, BatchState::Building).await;
    let until = NOW.plus(LEASE * 2);
    assert!(claim(&db.store, until.minus(Duration::from_millis(1)), 9).await.is_empty());
    let claimed = claim(&db.store, until, 9).await;
    assert_eq!(ids(&claimed), [built.claim.batch].into());
    assert!(db.store.batch_sending(built.claim, until).await.unwrap().is_none());
    assert!(db.store.batch_sending(claimed[0].claim, until).await.unwrap().is_some());
}

async fn a_claim_says_all_about_the_batch(db: Fixture) {
    let built = db.batch(1..4, BatchState::Submitted).await;
    let claimed = db.store.claim_batches(BatchState::Submitted, LAPSED, LEASE, 9).await.unwrap().remove(0);
    assert_eq!((claimed.lane, claimed.item_count, claimed.item_bytes), (built.lane, 3, built.item_bytes));
    assert_eq!(claimed.provider_id, Some(provider_id(1)));
    let sent = Some(NOW.plus(LEASE * 2));
    assert_eq!((claimed.sent_at, claimed.submitted_at, claimed.doubted_at), (sent, sent, None));
}

async fn no_more_are_claimed_than_asked_for(db: Fixture) {
    batches(&db, 12).await;
    let mut seen = HashSet::new();
    for expected in [5, 5, 2, 0] {
        let claimed = claim(&db.store, LAPSED, 5).await;
        assert_eq!(claimed.len(), expected);
        assert!(claimed.iter().all(|batch| seen.insert(batch.claim.batch)));
    }
}

async fn the_longest_due_are_claimed_first(db: Fixture) {
    batches(&db, 6).await;
    assert_eq!(ids(&claim(&db.store, LAPSED, 2).await), [batch_id(6), batch_id(5)].into());
    assert_eq!(ids(&claim(&db.store, LAPSED, 2).await), [batch_id(4), batch_id(3)].into());
}

async fn only_the_state_that_is_asked_for_is_claimed(db: Fixture) {
    for (first, state) in (10..).step_by(10).zip(STATES) {
        db.batch(first..first + 2, state).await;
    }
    for (number, state) in (10..).step_by(10).zip(STATES) {
        let claimed = db.store.claim_batches(state, LAPSED, LEASE, 9).await.unwrap();
        assert_eq!(ids(&claimed), [batch_id(number)].into(), "{state:?}");
    }
}

async fn claims_at_the_same_time_never_overlap(db: Fixture) {
    batches(&db, 40).await;
    let replica = db.replica().await;
    let drain = async |store: &Store| {
        let mut mine = Vec::new();
        // One that finds nothing may have met rows that the other held; those have been claimed, so it can stop.
        loop {
            let claimed = claim(store, LAPSED, 3).await;
            if claimed.is_empty() {
                return mine;
            }
            assert!(claimed.len() <= 3);
            mine.extend(claimed);
        }
    };
    let (one, other) = join(drain(&db.store), drain(&replica)).await;
    assert_eq!(one.len() + other.len(), 40);
    assert_eq!(ids(&one).union(&ids(&other)).count(), 40);
    for batch in one.iter().chain(&other) {
        assert!(db.store.batch_sending(batch.claim, LAPSED).await.unwrap().is_some(), "each claim holds");
    }
}

#[tokio::test]
async fn a_claim_passes_over_what_another_holds() {
    let db = Fixture::postgres().await;
    batches(&db, 4).await;
    let held = db.raw.hold("select id from batch order by due_at limit 2 for update").await;
    assert_eq!(ids(&soon(claim(&db.store, LAPSED, 9)).await), [batch_id(2), batch_id(1)].into());
    held.rollback().await.unwrap();
    assert_eq!(ids(&claim(&db.store, LAPSED, 9).await), [batch_id(4), batch_id(3)].into());
}

async fn a_renewed_claim_holds(db: Fixture) {
    let claimed = db.batch(1..2, BatchState::Building).await.claim;
    assert!(db.store.renew(claimed, LAPSED.plus(LEASE)).await.unwrap());
    assert!(claim(&db.store, LAPSED, 9).await.is_empty());
    assert!(db.store.batch_sending(claimed, LAPSED).await.unwrap().is_some(), "renewing leaves the claim as it was");
}

async fn a_released_batch_is_due_when_it_was_said(db: Fixture) {
    let claimed = db.batch(1..2, BatchState::Building).await.claim;
    assert!(db.store.release(claimed, NOW.plus(LEASE * 5)).await.unwrap());
    assert!(claim(&db.store, NOW.plus(LEASE * 4), 9).await.is_empty());
    assert_eq!(claim(&db.store, NOW.plus(LEASE * 5), 9).await.len(), 1);
}

async fn a_late_holder_changes_nothing(db: Fixture) {
    let mut first = 1;
    for from in STATES {
        for step in Move::ALL.into_iter().filter(|step| step.leads_to(from).is_some()) {
            let late = db.batch(first..first + 2, from).await.claim;
            first += 10;
            let claimed = db.store.claim_batches(from, LAPSED, LEASE, 1_000).await.unwrap();
            let holder = claimed.iter().find(|batch| batch.claim.batch == late.batch).expect("it is due").claim;
            let before = picture(&db).await;
            assert!(!step.make(&db.store, late, LAPSED).await, "{step:?} from {from:?}");
            assert_eq!(before, picture(&db).await, "{step:?} from {from:?}");
            assert!(step.make(&db.store, holder, LAPSED).await, "{step:?} from {from:?} by its holder");
        }
    }
    // Ingesting is the one move that the members have a say in.
    let late = db.batch(first..first + 1, BatchState::Ended).await.claim;
    let members = db.store.open_members(late.batch, None, 1_000).await.unwrap();
    let done: Vec<_> = members.into_iter().map(|member| succeeded(member.id)).collect();
    db.store.settle(late.batch, &done, LAPSED).await.unwrap();
    let claimed = db.store.claim_batches(BatchState::Ended, LAPSED.plus(LEASE), LEASE, 1_000).await.unwrap();
    let holder = claimed.iter().find(|batch| batch.claim.batch == late.batch).expect("it is due").claim;
    assert!(!db.store.batch_ingested(late, LAPSED).await.unwrap());
    assert!(db.store.batch_ingested(holder, LAPSED).await.unwrap());
}
