//! Retention: what goes, with all that belongs to it, and what stays.

use std::time::Duration;

use futures_util::future::join;
use offpeak::clock::Timestamp;
use offpeak::domain::batch::BatchState;
use offpeak::domain::deferral::Answer;
use offpeak::store::{Scope, Store};

use super::fixture::{AMPLE, Fixture, LEASE, NOW, Raw, again, batch_id, call, failed, id, lane, lane_id, succeeded};

on_both_engines! {
    final_deferrals_go_with_all_that_is_theirs,
    the_oldest_go_first_and_no_more_than_asked_for,
    open_deferrals_stay_however_old,
    forgetting_at_the_same_time_leaves_no_parts,
    batches_that_are_done_go,
    a_lane_goes_two_hours_after_its_last_use,
    a_lane_stays_while_a_deferral_needs_it,
    a_lane_stays_while_a_batch_needs_it,
    a_key_is_free_again_once_its_deferral_is_forgotten,
}

fn hours(hours: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(hours * 60 * 60))
}

/// Rows of deferrals, payloads, outcomes, attempts and entries.
///
/// On PostgreSQL only those payloads and outcomes count whose deferral is there: the others go with their day.
async fn rows(db: &Fixture) -> [i64; 5] {
    let mut rows = [0; 5];
    for (count, table) in rows.iter_mut().zip(["deferral", "payload", "outcome", "attempt", "entry"]) {
        *count = match (&db.raw, table) {
            (Raw::Postgres(_), "payload" | "outcome") => {
                db.raw.count(&format!("{table} join deferral on id = deferral_id")).await
            }
            _ => db.raw.count(table).await,
        };
    }
    rows
}

/// Calls in a batch of their own, each with one attempt behind it, that became final at `then`.
async fn done(db: &Fixture, calls: std::ops::Range<u128>, then: Timestamp) {
    let first = db.batch(calls.clone(), BatchState::Submitted).await.claim.batch;
    let retried: Vec<_> = calls.clone().map(|number| again(id(number), NOW)).collect();
    db.store.settle(first, &retried, NOW).await.unwrap();
    let second = db.build(1_000 + calls.start, AMPLE).await.unwrap().claim.batch;
    let settled: Vec<_> = calls.map(|number| succeeded(id(number))).collect();
    assert_eq!(db.store.settle(second, &settled, then).await.unwrap().len(), settled.len());
}

async fn final_deferrals_go_with_all_that_is_theirs(db: Fixture) {
    done(&db, 1..4, hours(1)).await;
    done(&db, 4..6, hours(2)).await;
    assert_eq!(rows(&db).await, [5, 5, 5, 5, 5]);
    assert_eq!(db.store.forget_deferrals(hours(1), 100).await.unwrap(), 0, "not before the hour has passed");
    assert_eq!(db.store.forget_deferrals(hours(2), 100).await.unwrap(), 3);
    assert_eq!(rows(&db).await, [2, 2, 2, 2, 5], "the ledger outlives what it counts");
    assert!(db.store.deferral(id(1), &Scope::All).await.unwrap().is_none());
    assert!(db.deferral(4).await.answer.is_some());
}

async fn the_oldest_go_first_and_no_more_than_asked_for(db: Fixture) {
    for (number, hour) in [(1, 3), (2, 1), (3, 2)] {
        done(&db, number..number + 1, hours(hour)).await;
    }
    for gone in [2, 3, 1] {
        assert_eq!(db.store.forget_deferrals(hours(9), 1).await.unwrap(), 1);
        assert!(db.store.deferral(id(gone), &Scope::All).await.unwrap().is_none(), "{gone}");
    }
    assert_eq!(db.store.forget_deferrals(hours(9), 1).await.unwrap(), 0);
    assert_eq!(rows(&db).await, [0, 0, 0, 0, 3]);
}

async fn open_deferrals_stay_however_old(db: Fixture) {
    db.batch(1..3, BatchState::Ended).await;
    db.accept([call(3)]).await;
    assert_eq!(db.store.forget_deferrals(hours(9_999), 100).await.unwrap(), 0);
    assert_eq!(rows(&db).await, [3, 3, 0, 0, 0]);
}

async fn forgetting_at_the_same_time_leaves_no_parts(db: Fixture) {
    done(&db, 1..301, hours(1)).await;
    let replica = db.replica().await;
    let forget = async |store: &Store| {
        let mut gone = 0;
        loop {
            match store.forget_deferrals(hours(2), 7).await.unwrap() {
                0 => return gone,
                some => gone += some,
            }
        }
    };
    let (one, other) = join(forget(&db.store), forget(&replica)).await;
    // One that found only rows that the other held has stopped early; the next activation finds the rest.
    let rest = forget(&db.store).await;
    assert_eq!((one + other + rest, rows(&db).await), (300, [0, 0, 0, 0, 300]));
}

async fn batches_that_are_done_go(db: Fixture) {
    for (first, state) in (10..).step_by(10).zip(super::transitions::STATES) {
        db.batch(first..first + 2, state).await;
    }
    // All of these were done within the first hour.
    assert_eq!(db.store.forget_batches(NOW).await.unwrap(), 0);
    assert_eq!(db.store.forget_batches(hours(1)).await.unwrap(), 2);
    let left: Vec<_> = db.store.batches(9).await.unwrap().into_iter().map(|batch| batch.state).collect();
    assert_eq!(left, [BatchState::Ended, BatchState::Submitted, BatchState::Uncertain, BatchState::Building]);
    assert_eq!(db.deferral(50).await.provider_batch_id, None, "its batch is forgotten, itself it is not");
}

async fn a_lane_goes_two_hours_after_its_last_use(db: Fixture) {
    db.accept([call(1)]).await;
    db.store.cancel(id(1), &Scope::All, &Answer::canceled(id(1)), NOW).await.unwrap();
    let used = call(1).accepted_at;
    let last = used.plus(Duration::from_secs(2 * 60 * 60));
    assert_eq!(db.store.forget_lanes(last).await.unwrap(), 0);
    assert!(db.store.lane(lane_id(&lane())).await.unwrap().is_some());
    assert_eq!(db.store.forget_lanes(last.plus(Duration::from_millis(1))).await.unwrap(), 1);
    assert!(db.store.lane(lane_id(&lane())).await.unwrap().is_none());
}

async fn a_lane_stays_while_a_deferral_needs_it(db: Fixture) {
    db.accept([call(1)]).await;
    assert_eq!(db.store.forget_lanes(hours(99)).await.unwrap(), 0);
    let batch = db.build(1, AMPLE).await.unwrap();
    assert!(db.store.batch_void(batch.claim).await.unwrap());
    assert_eq!(db.store.forget_lanes(hours(99)).await.unwrap(), 0);
    let batch = db.build(2, AMPLE).await.unwrap().claim;
    db.store.settle(batch.batch, &[failed(id(1))], NOW).await.unwrap();
    assert!(db.store.batch_void(batch).await.unwrap());
    assert_eq!(db.store.forget_lanes(hours(99)).await.unwrap(), 1);
}

async fn a_lane_stays_while_a_batch_needs_it(db: Fixture) {
    let batch = db.batch(1..2, BatchState::Ended).await.claim;
    db.store.settle(batch.batch, &[succeeded(id(1))], NOW).await.unwrap();
    assert_eq!(db.store.forget_lanes(hours(99)).await.unwrap(), 0, "its results are still to be fetched with it");
    assert!(db.store.batch_ingested(batch, NOW).await.unwrap());
    assert_eq!(db.store.forget_lanes(hours(99)).await.unwrap(), 1);
    // The next call brings its credential along, as a process that starts anew would see it.
    let replica = db.reopened(false, super::fixture::vault()).await;
    replica.accept([call(2)]).await;
    let built = replica.build(20, AMPLE).await.unwrap();
    assert_eq!((built.lane, built.claim.batch), (lane_id(&lane()), batch_id(20)));
    assert!(replica.store.lane(built.lane).await.unwrap().is_some());
}

async fn a_key_is_free_again_once_its_deferral_is_forgotten(db: Fixture) {
    let keyed = |number| offpeak::store::NewDeferral { idempotency_key: Some("k".to_owned()), ..call(number) };
    db.accept([keyed(1)]).await;
    db.store.cancel(id(1), &Scope::All, &Answer::canceled(id(1)), NOW.plus(LEASE)).await.unwrap();
    assert_eq!(db.store.forget_deferrals(hours(1), 9).await.unwrap(), 1);
    db.accept([keyed(2)]).await;
}
