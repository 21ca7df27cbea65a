//! Attaching: whose place a call takes that repeats another one.

use std::time::Duration;

use futures_util::future::join_all;
use offpeak::clock::{Clock, Timestamp};
use offpeak::domain::batch::BatchState;
use offpeak::nudge::Nudge;
use offpeak::store::{Accepted, Departure, Departures, NewDeferral, Scope};

use super::fixture::{Fixture, NOW, answer, call, failed, id, item};
use crate::it::postgres::{PrivateCluster, database_at};

on_both_engines! {
    retries_take_the_places_of_callers_who_are_gone_first,
    retries_take_each_place_in_turn,
    retries_at_once_on_two_replicas_take_places_of_their_own,
    a_departure_before_the_place_was_taken_again_changes_nothing,
    a_canceled_call_is_attached_to_only_by_whom_it_was_not_told,
    a_key_takes_its_place_too,
    what_repeats_nothing_is_found_to_repeat_nothing,
    departures_are_written_together,
}

const SECOND: Duration = Duration::from_secs(1);

/// So many calls that are all the same.
async fn twins(db: &Fixture, numbers: std::ops::RangeInclusive<u128>) {
    db.accept(numbers.map(|number| NewDeferral { id: id(number), item: item("same"), ..call(number) })).await;
}

fn retry(number: u128, at: Timestamp) -> NewDeferral {
    NewDeferral { id: id(number), item: item("same"), retries: 1, accepted_at: at, ..call(1) }
}

/// The number that a retry attaches to.
async fn attached(db: &Fixture, at: Timestamp) -> u128 {
    match db.store.accept(retry(999, at)).await.unwrap() {
        Accepted::Existing(id) => id.0.as_u128(),
        other => panic!("{other:?}"),
    }
}

async fn leave(db: &Fixture, number: u128, since: Timestamp, at: Timestamp) {
    db.store.callers_left(&[Departure { id: id(number), since, at }]).await.unwrap();
}

async fn retries_take_the_places_of_callers_who_are_gone_first(db: Fixture) {
    twins(&db, 1..=4).await;
    for gone in [2, 3] {
        leave(&db, gone, NOW.plus(SECOND), NOW.plus(SECOND)).await;
    }
    let mut places = Vec::new();
    for second in 2..6 {
        places.push(attached(&db, NOW.plus(SECOND * second)).await);
    }
    assert_eq!(places, [3, 2, 4, 1]);
    // Who has taken a place may go as well.
    leave(&db, 4, NOW.plus(SECOND * 4), NOW.plus(SECOND * 7)).await;
    assert_eq!(attached(&db, NOW.plus(SECOND * 8)).await, 4);
}

async fn retries_take_each_place_in_turn(db: Fixture) {
    twins(&db, 1..=3).await;
    let mut places = Vec::new();
    for second in 1..=6 {
        places.push(attached(&db, NOW.plus(SECOND * second)).await);
    }
    assert_eq!(places, [3, 2, 1, 3, 2, 1]);
}

async fn retries_at_once_on_two_replicas_take_places_of_their_own(db: Fixture) {
    const TWINS: u128 = 40;
    twins(&db, 1..=TWINS).await;
    let replica = db.replica().await;
    let retries = (1..=TWINS).map(|number| {
        let store = if number % 2 == 0 { &db.store } else { &replica };
        store.accept(retry(TWINS + number, NOW.plus(SECOND)))
    });
    let mut places: Vec<u128> = join_all(retries)
        .await
        .into_iter()
        .map(|outcome| match outcome.unwrap() {
            Accepted::Existing(id) => id.0.as_u128(),
            other => panic!("{other:?}"),
        })
        .collect();
    places.sort_unstable();
    assert_eq!(places, (1..=TWINS).collect::<Vec<_>>());
    assert_eq!(db.raw.count("deferral").await, TWINS as i64);
}

async fn a_departure_before_the_place_was_taken_again_changes_nothing(db: Fixture) {
    twins(&db, 1..=2).await;
    let (first, second) = (NOW.plus(SECOND), NOW.plus(SECOND * 2));
    assert_eq!(attached(&db, first).await, 2);
    // Whoever waited for it before is only now known to be gone.
    leave(&db, 2, NOW, second).await;
    assert_eq!(db.raw.count("deferral where caller_left_at is not null").await, 0);
    leave(&db, 2, first, second).await;
    assert_eq!(db.raw.count("deferral where caller_left_at is not null").await, 1);
}

async fn a_canceled_call_is_attached_to_only_by_whom_it_was_not_told(db: Fixture) {
    let (canceled, later) = (NOW.plus(SECOND * 10), NOW.plus(SECOND * 20));
    for (number, left, attaches) in [(1, None, false), (2, Some(NOW.plus(SECOND)), false), (3, Some(canceled), true)] {
        db.accept([NewDeferral { id: id(number), ..call(number) }]).await;
        if let Some(left) = left {
            leave(&db, number, NOW.plus(SECOND), left).await;
        }
        db.store.cancel(id(number), &Scope::All, &answer("canceled"), canceled).await.unwrap();
        let again = NewDeferral { id: id(number + 100), retries: 1, accepted_at: later, ..call(number) };
        let expected = if attaches { Accepted::Existing(id(number)) } else { Accepted::Fresh };
        assert_eq!(db.store.accept(again).await.unwrap(), expected, "{number}");
    }
    // It was told now.
    let again = NewDeferral { id: id(200), retries: 1, accepted_at: later, ..call(3) };
    assert_eq!(db.store.accept(again).await.unwrap(), Accepted::Fresh);
}

async fn a_key_takes_its_place_too(db: Fixture) {
    let keyed =
        |number, at| NewDeferral { id: id(number), idempotency_key: Some("k".to_owned()), accepted_at: at, ..call(1) };
    db.accept([keyed(1, NOW)]).await;
    leave(&db, 1, NOW, NOW.plus(SECOND)).await;
    let back = NOW.plus(SECOND * 2);
    assert_eq!(db.store.accept(keyed(2, back)).await.unwrap(), Accepted::Existing(id(1)));
    leave(&db, 1, NOW, NOW.plus(SECOND * 3)).await;
    assert_eq!(db.raw.count("deferral where caller_left_at is not null").await, 0);
}

async fn what_repeats_nothing_is_found_to_repeat_nothing(db: Fixture) {
    twins(&db, 1..=1).await;
    let batch = db.batch(2..3, BatchState::Submitted).await;
    db.store.settle(batch.claim.batch, &[failed(id(2))], NOW.plus(SECOND)).await.unwrap();
    let later = NOW.plus(SECOND * 2);
    for (new, repeats) in [
        (NewDeferral { retries: 0, ..retry(10, later) }, None),
        (retry(10, later), Some(Accepted::Existing(id(1)))),
        (NewDeferral { item: item("other"), ..retry(10, later) }, None),
        (NewDeferral { retries: 1, accepted_at: later, ..call(2) }, Some(Accepted::Existing(id(2)))),
        (NewDeferral { idempotency_key: Some("k".to_owned()), ..retry(10, later) }, None),
    ] {
        assert_eq!(db.store.repeated(&new).await.unwrap(), repeats);
    }
    assert_eq!(db.raw.count("deferral").await, 2, "nothing was made durable");
}

async fn departures_are_written_together(db: Fixture) {
    // More than one statement and one bite take.
    const CALLERS: u128 = 2_100;
    db.accept((1..=CALLERS).map(call)).await;
    let departures = Departures::new(db.store.clone(), Clock::manual(NOW.plus(SECOND)), Nudge::default());
    for number in 1..=CALLERS {
        let presence = departures.presence(id(number), NOW);
        if number <= 2 {
            presence.served();
        }
    }
    let mut bites = 0;
    while departures.write().await.unwrap() {
        bites += 1;
    }
    assert_eq!(bites, 2);
    assert_eq!(db.raw.count("deferral where caller_left_at is not null").await, CALLERS as i64 - 2);
    // A caller who was not told of what came later counts as gone only then.
    let mut presence = departures.presence(id(1), NOW);
    presence.untold(NOW.plus(SECOND * 9));
    drop(presence);
    departures.write().await.unwrap();
    let seen = db.store.accept(NewDeferral { id: id(5_000), retries: 1, accepted_at: NOW, ..call(1) }).await;
    assert_eq!(seen.unwrap(), Accepted::Existing(id(1)));
}

#[tokio::test]
async fn departures_outlast_a_database_that_is_down() {
    let cluster = PrivateCluster::start();
    let db = Fixture::at(database_at(cluster.url()).await).await;
    db.accept([call(1)]).await;
    let departures = Departures::new(db.store.clone(), Clock::manual(NOW.plus(SECOND)), Nudge::default());
    drop(departures.presence(id(1), NOW));
    cluster.crash();
    departures.write().await.unwrap_err();
    cluster.resume();
    assert!(departures.write().await.unwrap());
    assert_eq!(
        db.store.accept(NewDeferral { id: id(2), retries: 1, ..call(1) }).await.unwrap(),
        Accepted::Existing(id(1))
    );
}
