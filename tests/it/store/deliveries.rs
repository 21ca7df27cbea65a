//! Deliveries: how they come about, who may try them, what is noted of that, and what the operator can do.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::{join, join_all};
use offpeak::clock::Timestamp;

use offpeak::domain::callback::Callback;
use offpeak::domain::deferral::Answer;
use offpeak::domain::delivery::{Delivery, DeliveryState, Subject};
use offpeak::domain::id::DeliveryId;
use offpeak::store::{ClaimedDelivery, DeliveryFilter, NewDeferral, Next, Scope, Store, Tried, WaitingReceiver};
use uuid::Uuid;

use super::fixture::{AMPLE, Fixture, LEASE, NOW, call, failed, id, succeeded};
use crate::it::wire::soon;

on_both_engines! {
    what_becomes_final_is_due_once_where_it_was_asked_for,
    receivers_are_met_one_after_the_other,
    each_receivers_longest_due_are_claimed_and_no_more_than_asked_for,
    claims_at_the_same_time_never_overlap,
    what_a_dead_process_held_is_due_again_under_the_same_id,
    a_late_holder_has_no_say_unless_it_was_taken,
    attempts_are_noted_together_and_numbered,
    what_is_tried_again_is_due_when_it_was_said,
    what_has_ended_is_due_no_more,
    a_replay_puts_all_attempts_before_it_again,
    a_replay_is_not_undone_by_who_is_trying_it,
    pages_show_the_newest_first,
    what_has_ended_goes_after_its_time_and_what_is_due_stays,
}

const A: &str = "a";
const B: &str = "https://b.example";

fn delivery_id(number: u128) -> DeliveryId {
    DeliveryId(Uuid::from_u128(number))
}

fn called_back(number: u128, receiver: &str) -> NewDeferral {
    NewDeferral { callback: Some(Callback::receiver(receiver)), ..call(number) }
}

/// Calls that became final at `then`, which is to be told to a receiver.
async fn due(db: &Fixture, numbers: impl IntoIterator<Item = u128>, receiver: &str, then: Timestamp) {
    for number in numbers {
        db.accept([called_back(number, receiver)]).await;
        db.store.cancel(id(number), &Scope::All, &Answer::canceled(id(number)), then).await.unwrap();
    }
}

async fn claim(store: &Store, wanted: &[(&str, u32)], now: Timestamp) -> Vec<ClaimedDelivery> {
    let wanted: Vec<_> = wanted.iter().map(|(receiver, count)| ((*receiver).to_owned(), *count)).collect();
    store.claim_deliveries(&wanted, now, LEASE).await.unwrap()
}

async fn claim_one(store: &Store, receiver: &str, now: Timestamp) -> ClaimedDelivery {
    let [one] = claim(store, &[(receiver, 1)], now).await.try_into().expect("one is due");
    one
}

fn ids(claimed: &[ClaimedDelivery]) -> HashSet<DeliveryId> {
    claimed.iter().map(|delivery| delivery.id).collect()
}

fn numbers(numbers: impl IntoIterator<Item = u128>) -> HashSet<DeliveryId> {
    numbers.into_iter().map(delivery_id).collect()
}

fn tried(status: u16) -> Tried {
    Tried { status: Some(status), failure: None, started_at: NOW, duration: Duration::from_millis(30) }
}

async fn delivery(db: &Fixture, number: u128) -> Delivery {
    db.store.delivery(delivery_id(number)).await.unwrap().expect("a delivery")
}

async fn what_becomes_final_is_due_once_where_it_was_asked_for(db: Fixture) {
    let url = Callback::url(B, "https://b.example/hook?token=1");
    db.accept([called_back(1, A), NewDeferral { callback: Some(url.clone()), ..call(2) }, call(3), called_back(4, A)])
        .await;
    let batch = db.build(9, AMPLE).await.unwrap().claim.batch;
    assert_eq!(db.raw.count("delivery").await, 0);
    let settled = [succeeded(id(1)), failed(id(2)), succeeded(id(3))];
    for _ in 0..2 {
        db.store.settle(batch, &settled, NOW).await.unwrap();
    }
    assert_eq!(db.raw.count("delivery").await, 2);
    let (first, second) = (delivery(&db, 1).await, delivery(&db, 2).await);
    assert_eq!((first.event.as_str(), &first.callback), ("deferral.succeeded", &Callback::receiver(A)));
    assert_eq!((second.event.as_str(), &second.callback), ("deferral.failed", &url));
    assert_eq!((&first.subject, first.tenant.as_str()), (&Subject::Deferral(id(1)), "tenant"));
    assert_eq!((first.state, first.attempts, first.due_at, first.created_at), (DeliveryState::Due, 0, NOW, NOW));
    let claimed = claim_one(&db.store, B, NOW).await;
    assert_eq!((claimed.callback, claimed.subject, claimed.attempt), (url, Subject::Deferral(id(2)), 1));
}

async fn receivers_are_met_one_after_the_other(db: Fixture) {
    let later = NOW.plus(Duration::from_secs(60));
    due(&db, 1..4, B, NOW).await;
    due(&db, 4..6, A, later).await;
    due(&db, 6..8, "c", NOW).await;
    let waiting = async |after: &str, now, limit| db.store.waiting_receivers(after, now, limit).await.unwrap();
    let expected = |all: &[(&str, bool)]| -> Vec<_> {
        all.iter().map(|(name, is_due)| WaitingReceiver { receiver: (*name).to_owned(), is_due: *is_due }).collect()
    };
    assert_eq!(waiting("", NOW, 9).await, expected(&[(A, false), ("c", true), (B, true)]));
    assert_eq!(waiting("", later, 2).await, expected(&[(A, true), ("c", true)]));
    assert_eq!(waiting(A, NOW, 9).await, expected(&[("c", true), (B, true)]));
    assert_eq!(waiting(B, NOW, 9).await, expected(&[]));
    // What is being tried waits too, and is not due.
    assert_eq!(claim(&db.store, &[("c", 9)], NOW).await.len(), 2);
    assert_eq!(waiting(A, NOW, 1).await, expected(&[("c", false)]));
}

async fn each_receivers_longest_due_are_claimed_and_no_more_than_asked_for(db: Fixture) {
    for (number, seconds) in [(1, 3), (2, 1), (3, 2), (4, 900)] {
        due(&db, [number], A, NOW.plus(Duration::from_secs(seconds))).await;
    }
    due(&db, 10..13, B, NOW).await;
    due(&db, 20..23, "c", NOW).await;
    let now = NOW.plus(Duration::from_secs(10));
    assert_eq!(ids(&claim(&db.store, &[(A, 2), (B, 9), ("nobody", 9)], now).await), numbers([2, 3, 10, 11, 12]));
    assert_eq!(ids(&claim(&db.store, &[(A, 2), (B, 9)], now).await), numbers([1]));
    assert_eq!(ids(&claim(&db.store, &[(A, 2), (B, 9), ("c", 0)], now).await), numbers([]));
    assert!(claim(&db.store, &[], now).await.is_empty());
}

async fn claims_at_the_same_time_never_overlap(db: Fixture) {
    due(&db, 1..61, A, NOW).await;
    due(&db, 61..121, B, NOW).await;
    let replica = db.replica().await;
    let drain = async |store: &Store| {
        let mut mine = Vec::new();
        loop {
            let claimed = claim(store, &[(A, 3), (B, 2)], NOW).await;
            if claimed.is_empty() {
                return mine;
            }
            mine.extend(claimed);
        }
    };
    let (one, other) = join(drain(&db.store), drain(&replica)).await;
    // One that found only what the other held has stopped early; the next look finds the rest.
    let rest = drain(&db.store).await;
    assert_eq!(one.len() + other.len() + rest.len(), 120);
    let all: HashSet<_> = [&one, &other, &rest].into_iter().flat_map(|claimed| ids(claimed)).collect();
    assert_eq!(all, numbers(1..121));
}

#[tokio::test]
async fn a_claim_passes_over_what_another_holds() {
    let db = Fixture::postgres().await;
    due(&db, 1..5, A, NOW).await;
    let held = db.raw.hold("select id from delivery order by id limit 2 for update").await;
    assert_eq!(ids(&soon(claim(&db.store, &[(A, 9)], NOW)).await), numbers([3, 4]));
    held.rollback().await.unwrap();
    assert_eq!(ids(&claim(&db.store, &[(A, 9)], NOW).await), numbers([1, 2]));
}

async fn what_a_dead_process_held_is_due_again_under_the_same_id(db: Fixture) {
    due(&db, [1], A, NOW).await;
    let first = claim_one(&db.store, A, NOW).await;
    assert!(claim(&db.store, &[(A, 9)], NOW.plus(LEASE).minus(Duration::from_millis(1))).await.is_empty());
    let second = claim_one(&db.replica().await, A, NOW.plus(LEASE)).await;
    assert_eq!((second.id, second.created_at), (first.id, first.created_at));
    assert_eq!((first.attempt, second.attempt), (1, 2));
}

async fn a_late_holder_has_no_say_unless_it_was_taken(db: Fixture) {
    due(&db, 1..3, A, NOW).await;
    let late = claim(&db.store, &[(A, 2)], NOW).await;
    let now = NOW.plus(LEASE);
    let holders = claim(&db.replica().await, &[(A, 2)], now).await;
    for late in &late {
        for next in [Next::Dead, Next::Again(now)] {
            assert!(!db.store.delivery_tried(late, tried(500), next, now).await.unwrap());
        }
        let seen = db.store.delivery(late.id).await.unwrap().unwrap();
        assert_eq!((seen.state, seen.due_at), (DeliveryState::Due, now.plus(LEASE)));
    }
    // A receiver that has it has it.
    let (one, other) = (&late[0], holders.iter().find(|holder| holder.id == late[0].id).unwrap());
    assert!(db.store.delivery_tried(one, tried(200), Next::Delivered, now).await.unwrap());
    assert!(!db.store.delivery_tried(other, tried(500), Next::Again(now), now).await.unwrap());
    let seen = db.store.delivery(one.id).await.unwrap().unwrap();
    assert_eq!((seen.state, seen.ended_at), (DeliveryState::Delivered, Some(now)));
}

async fn attempts_are_noted_together_and_numbered(db: Fixture) {
    due(&db, 1..301, A, NOW).await;
    let (mut now, replica) = (NOW, db.replica().await);
    for _ in 0..2 {
        let claimed = claim(&db.store, &[(A, 300)], now).await;
        let stores = [&db.store, &replica];
        let notes = claimed
            .iter()
            .zip(stores.into_iter().cycle())
            .map(|(one, store)| store.delivery_tried(one, tried(503), Next::Again(now.plus(LEASE)), now));
        assert!(soon(join_all(notes)).await.into_iter().all(|noted| noted.unwrap()));
        now = now.plus(LEASE);
    }
    assert_eq!(db.raw.count("delivery_attempt where number = 1 and status = 503").await, 300);
    assert_eq!(db.raw.count("delivery_attempt where number = 2").await, 300);
    let failure = Tried { status: None, failure: Some("timeout"), started_at: now, duration: Duration::from_secs(15) };
    let one = claim_one(&db.store, A, now).await;
    assert!(db.store.delivery_tried(&one, failure, Next::Dead, now).await.unwrap());
    let history = db.store.delivery_history(one.id).await.unwrap();
    let seen: Vec<_> = history.iter().map(|each| (each.number, each.status, each.failure.as_deref())).collect();
    assert_eq!(seen, [(1, Some(503), None), (2, Some(503), None), (3, None, Some("timeout"))]);
    assert_eq!((history[2].started_at, history[2].duration_ms), (now, 15_000));
    let last = db.store.delivery(one.id).await.unwrap().unwrap().last_attempt;
    assert_eq!(last.as_ref(), history.last());
}

async fn what_is_tried_again_is_due_when_it_was_said(db: Fixture) {
    due(&db, [1], A, NOW).await;
    let one = claim_one(&db.store, A, NOW).await;
    let then = NOW.plus(Duration::from_secs(5));
    assert!(db.store.delivery_tried(&one, tried(500), Next::Again(then), NOW).await.unwrap());
    assert!(claim(&db.store, &[(A, 9)], then.minus(Duration::from_millis(1))).await.is_empty());
    assert_eq!(claim_one(&db.store, A, then).await.attempt, 2);
}

async fn what_has_ended_is_due_no_more(db: Fixture) {
    due(&db, 1..3, A, NOW).await;
    let claimed = claim(&db.store, &[(A, 2)], NOW).await;
    for (one, next) in claimed.iter().zip([Next::Delivered, Next::Dead]) {
        assert!(db.store.delivery_tried(one, tried(200), next, NOW).await.unwrap());
        // Told twice, it changes nothing.
        assert!(!db.store.delivery_tried(one, tried(200), next, NOW).await.unwrap());
    }
    assert!(claim(&db.store, &[(A, 9)], NOW.plus(LEASE * 100)).await.is_empty());
    assert!(db.store.waiting_receivers("", NOW.plus(LEASE * 100), 9).await.unwrap().is_empty());
    assert_eq!(db.store.delivery_counts().await.unwrap(), (0, 1));
}

async fn a_replay_puts_all_attempts_before_it_again(db: Fixture) {
    due(&db, 1..4, A, NOW).await;
    let later = NOW.plus(LEASE * 10);
    for (one, next) in
        claim(&db.store, &[(A, 3)], NOW).await.iter().zip([Next::Delivered, Next::Dead, Next::Again(later)])
    {
        assert!(db.store.delivery_tried(one, tried(500), next, NOW).await.unwrap());
    }
    let now = NOW.plus(LEASE);
    for number in 1..4 {
        let replayed = db.store.replay_delivery(delivery_id(number), now).await.unwrap().unwrap();
        let Delivery { state, attempts, due_at, ended_at, created_at, .. } = replayed;
        assert_eq!((state, attempts, due_at, ended_at, created_at), (DeliveryState::Due, 0, now, None, NOW));
    }
    let claimed = claim(&db.store, &[(A, 9)], now).await;
    assert_eq!(ids(&claimed), numbers(1..4));
    for one in &claimed {
        assert_eq!(one.attempt, 1);
        assert!(db.store.delivery_tried(one, tried(200), Next::Delivered, now).await.unwrap());
        assert_eq!(db.store.delivery(one.id).await.unwrap().unwrap().last_attempt.unwrap().number, 2);
    }
    assert!(db.store.replay_delivery(delivery_id(9), now).await.unwrap().is_none());
}

async fn a_replay_is_not_undone_by_who_is_trying_it(db: Fixture) {
    due(&db, 1..3, A, NOW).await;
    let trying = claim(&db.store, &[(A, 2)], NOW).await;
    let later = NOW.plus(LEASE * 10);
    for one in &trying {
        db.store.replay_delivery(one.id, NOW).await.unwrap().unwrap();
    }
    assert!(!db.store.delivery_tried(&trying[0], tried(500), Next::Again(later), NOW).await.unwrap());
    assert!(db.store.delivery_tried(&trying[1], tried(200), Next::Delivered, NOW).await.unwrap());
    assert_eq!(ids(&claim(&db.store, &[(A, 9)], NOW).await), [trying[0].id].into());
}

async fn pages_show_the_newest_first(db: Fixture) {
    due(&db, [1, 3, 5], A, NOW).await;
    due(&db, [2, 4], B, NOW).await;
    for one in claim(&db.store, &[(A, 1), (B, 1)], NOW).await {
        assert!(db.store.delivery_tried(&one, tried(410), Next::Dead, NOW).await.unwrap());
    }
    let dead =
        db.store.deliveries(&DeliveryFilter { state: Some(DeliveryState::Dead), ..<_>::default() }, 9).await.unwrap();
    assert_eq!(dead.len(), 2);
    let page = async |state, receiver: Option<&str>, after: Option<u128>, limit| -> Vec<u128> {
        let filter = DeliveryFilter { state, receiver: receiver.map(Into::into), after: after.map(delivery_id) };
        let found = db.store.deliveries(&filter, limit).await.unwrap();
        found.iter().map(|delivery| delivery.id.0.as_u128()).collect()
    };
    assert_eq!(page(None, None, None, 9).await, [5, 4, 3, 2, 1]);
    assert_eq!(page(None, None, Some(4), 2).await, [3, 2]);
    assert_eq!(page(None, Some(A), None, 9).await, [5, 3, 1]);
    assert_eq!(page(None, Some(A), Some(5), 1).await, [3]);
    let dead_at = |receiver: &str| -> Vec<u128> {
        dead.iter().filter(|one| one.callback.receiver == receiver).map(|one| one.id.0.as_u128()).collect()
    };
    assert_eq!(page(Some(DeliveryState::Dead), Some(A), None, 9).await, dead_at(A));
    assert_eq!(page(Some(DeliveryState::Dead), Some(B), None, 9).await, dead_at(B));
    assert_eq!(page(Some(DeliveryState::Due), None, None, 9).await.len(), 3);
    assert_eq!(page(Some(DeliveryState::Delivered), None, None, 9).await, [0; 0]);
}

async fn what_has_ended_goes_after_its_time_and_what_is_due_stays(db: Fixture) {
    due(&db, 1..5, A, NOW).await;
    let hour = Duration::from_secs(3_600);
    let claimed = claim(&db.store, &[(A, 4)], NOW).await;
    for (one, (next, hours)) in claimed.iter().zip([(Next::Delivered, 1), (Next::Dead, 2), (Next::Again(NOW), 0)]) {
        assert!(db.store.delivery_tried(one, tried(500), next, NOW.plus(hour * hours)).await.unwrap());
    }
    let forget = async |hours: u32| {
        db.store.forget_handed_over(NOW.plus(hour * hours), 100).await.unwrap();
        (db.raw.count("delivery").await, db.raw.count("delivery_attempt").await)
    };
    assert_eq!(forget(1).await, (4, 3), "not before the hour has passed");
    assert_eq!(forget(2).await, (3, 2));
    assert_eq!(forget(3).await, (2, 1));
    assert_eq!(forget(9_999).await, (2, 1), "what is due stays however old");
    // What is noted of one that is gone leaves nothing behind that nobody would delete.
    assert!(!db.store.delivery_tried(&claimed[0], tried(200), Next::Delivered, NOW).await.unwrap());
    assert_eq!(db.raw.count("delivery_attempt").await, 1);
}
