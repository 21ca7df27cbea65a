//! Accepting: what is durable, what is the same call again, and what one bad row costs.

use std::time::Duration;

use futures_util::future::join_all;
use offpeak::domain::batch::BatchState;
use offpeak::store::{Accepted, NewDeferral, Scope, StoreError};
use tokio::time::timeout;

use super::fixture::{AMPLE, Fixture, NOW, answer, call, id, item, lane_of, succeeded};
use crate::it::postgres::{PrivateCluster, database_at};

/// In this time a server ends connections that it was told to end.
const ENDING_LIMIT: Duration = Duration::from_secs(30);

on_both_engines! {
    a_fresh_call_is_durable_as_it_came,
    the_same_key_is_the_same_call,
    a_key_belongs_to_its_tenant,
    a_key_is_held_beyond_the_end,
    a_keyless_retry_attaches_while_it_may,
    a_keyless_retry_attaches_to_the_newest,
    many_at_once_are_durable_each_once,
    a_refused_row_costs_only_itself,
    the_same_key_from_everywhere_is_one_call,
    an_accept_that_fails_leaves_nothing,
    a_closed_store_accepts_nothing,
}

fn with_key(number: u128, key: &str) -> NewDeferral {
    NewDeferral { idempotency_key: Some(key.to_owned()), ..call(number) }
}

/// Call 1 again, sent by a client that says so.
fn retry(number: u128, after: Duration) -> NewDeferral {
    NewDeferral { id: id(number), retries: 1, accepted_at: NOW.plus(after), ..call(1) }
}

async fn a_fresh_call_is_durable_as_it_came(db: Fixture) {
    let text = |text: &str| Some(text.to_owned());
    let new = NewDeferral { workload: text("w"), reference: text("r"), group: text("g"), ..with_key(1, "k") };
    db.accept([new.clone()]).await;
    let stored = db.deferral(1).await;
    assert_eq!((stored.workload, stored.reference, stored.group), (new.workload, new.reference, new.group));
    assert_eq!((stored.created_at, stored.deadline, stored.completed_at), (new.accepted_at, new.deadline, None));
    assert_eq!((stored.tenant, stored.model, stored.attempts), (new.lane.tenant, new.item.model, 0));
    let batch = db.build(1, AMPLE).await.unwrap();
    let items = db.store.batch_items(batch.claim.batch, None).await.unwrap();
    assert_eq!(items[0].text, new.item.text);
    let lane = db.store.lane(batch.lane).await.unwrap().unwrap();
    assert_eq!(lane.credential.secret, new.lane.credential.secret);
}

async fn the_same_key_is_the_same_call(db: Fixture) {
    db.accept([with_key(1, "k")]).await;
    let same = NewDeferral { id: id(2), ..with_key(1, "k") };
    assert_eq!(db.store.accept(same).await.unwrap(), Accepted::Existing(id(1)));
    assert_eq!(db.store.accept(with_key(3, "k")).await.unwrap(), Accepted::KeyTaken);
    assert_eq!((db.raw.count("deferral").await, db.raw.count("payload").await), (1, 1));
}

async fn a_key_belongs_to_its_tenant(db: Fixture) {
    db.accept([with_key(1, "k"), NewDeferral { lane: lane_of("other"), ..with_key(2, "k") }]).await;
}

async fn a_key_is_held_beyond_the_end(db: Fixture) {
    db.accept([with_key(1, "k")]).await;
    db.store.cancel(id(1), &Scope::All, &answer("canceled"), NOW).await.unwrap();
    let same = NewDeferral { id: id(2), accepted_at: NOW.plus(Duration::from_secs(86_400)), ..with_key(1, "k") };
    assert_eq!(db.store.accept(same).await.unwrap(), Accepted::Existing(id(1)));
}

async fn a_keyless_retry_attaches_while_it_may(db: Fixture) {
    let hour = Duration::from_secs(3_600);
    let batch = db.batch(1..2, BatchState::Submitted).await;
    assert_eq!(db.store.accept(retry(2, hour * 9)).await.unwrap(), Accepted::Existing(id(1)), "open");
    let other = NewDeferral { lane: lane_of("other"), ..retry(3, hour) };
    assert_eq!(db.store.accept(other).await.unwrap(), Accepted::Fresh, "another tenant's call is none of its business");

    db.store.settle(batch.claim.batch, &[succeeded(id(1))], NOW.plus(hour)).await.unwrap();
    let last = hour * 2 - Duration::from_millis(1);
    assert_eq!(db.store.accept(retry(4, last)).await.unwrap(), Accepted::Existing(id(1)), "final within an hour");
    assert_eq!(db.store.accept(retry(5, hour * 2)).await.unwrap(), Accepted::Fresh, "an hour later it is a new call");

    db.store.cancel(id(5), &Scope::All, &answer("canceled"), NOW.plus(hour * 2)).await.unwrap();
    assert_eq!(db.store.accept(retry(6, hour * 2)).await.unwrap(), Accepted::Fresh, "the first was canceled");
    assert_eq!(db.store.accept(retry(7, hour * 2)).await.unwrap(), Accepted::Existing(id(6)));
    let not_a_retry = NewDeferral { retries: 0, ..retry(8, hour * 2) };
    assert_eq!(db.store.accept(not_a_retry).await.unwrap(), Accepted::Fresh, "twice on purpose is twice");
}

async fn a_keyless_retry_attaches_to_the_newest(db: Fixture) {
    db.accept([call(1), NewDeferral { id: id(2), ..call(1) }]).await;
    assert_eq!(db.store.accept(retry(3, Duration::ZERO)).await.unwrap(), Accepted::Existing(id(2)));
}

async fn many_at_once_are_durable_each_once(db: Fixture) {
    let accepts = (1..=200).map(|number| db.store.accept(call(number)));
    let outcomes = join_all(accepts).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Accepted::Fresh))), "{outcomes:?}");
    assert_eq!((db.raw.count("deferral").await, db.raw.count("payload").await), (200, 200));
    let batch = db.build(1, AMPLE).await.unwrap();
    let items = db.store.batch_items(batch.claim.batch, None).await.unwrap();
    let came: Vec<_> = (1..=200).map(|number| (id(number), call(number).item.text)).collect();
    assert_eq!(items.into_iter().map(|item| (item.id, item.text)).collect::<Vec<_>>(), came);
}

async fn a_refused_row_costs_only_itself(db: Fixture) {
    db.accept([call(7)]).await;
    // Its id is taken, which the database refuses with the whole statement.
    let outcomes = join_all((1..=20).map(|number| db.store.accept(call(number)))).await;
    for (number, outcome) in (1..).zip(outcomes) {
        match number {
            7 => assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}"),
            _ => assert!(matches!(outcome, Ok(Accepted::Fresh)), "{number}: {outcome:?}"),
        }
    }
    assert_eq!((db.raw.count("deferral").await, db.raw.count("payload").await), (20, 20));
}

async fn the_same_key_from_everywhere_is_one_call(db: Fixture) {
    let replica = db.replica().await;
    let accepts = (1..=60).map(|number| {
        let store = if number % 2 == 0 { &db.store } else { &replica };
        // Three keys in turn; the body goes with the key.
        let key = number % 3;
        store.accept(NewDeferral {
            id: id(number),
            item: item(&format!("body {key}")),
            ..with_key(1, &format!("k{key}"))
        })
    });
    let outcomes: Vec<_> = join_all(accepts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Accepted::Fresh).count(), 3);
    for key in 0..3 {
        let of_key: Vec<_> = (1..).zip(&outcomes).filter(|(number, _)| number % 3 == key).collect();
        let fresh = of_key.iter().find(|(_, outcome)| **outcome == Accepted::Fresh).expect("one is the first").0;
        let attached = of_key.iter().filter(|(_, outcome)| **outcome == Accepted::Existing(id(fresh))).count();
        assert_eq!(attached, of_key.len() - 1);
    }
    assert_eq!(db.raw.count("deferral").await, 3);
}

async fn an_accept_that_fails_leaves_nothing(db: Fixture) {
    db.accept([call(1)]).await;
    // The deferral's row is written by then; its payload has no place to go to.
    db.raw.run("alter table payload rename to away").await;
    let outcomes = join_all((2..=5).map(|number| db.store.accept(call(number)))).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(StoreError::Unavailable(_)))), "{outcomes:?}");
    db.raw.run("alter table away rename to payload").await;
    assert_eq!((db.raw.count("deferral").await, db.raw.count("payload").await), (1, 1));
    db.accept([call(2)]).await;
}

async fn a_closed_store_accepts_nothing(db: Fixture) {
    db.accept([call(1)]).await;
    db.store.close().await;
    assert!(matches!(db.store.accept(call(2)).await, Err(StoreError::Unavailable(_))));
    assert_eq!(db.raw.count("deferral").await, 1);
}

#[tokio::test]
async fn what_was_accepted_survives_a_crash_of_the_server() {
    let cluster = PrivateCluster::start();
    let db = Fixture::at(database_at(cluster.url()).await).await;
    db.accept([call(1)]).await;
    cluster.crash();
    let gone = db.store.accept(call(2)).await;
    assert!(matches!(gone, Err(StoreError::Unavailable(_))), "{gone:?}");
    cluster.resume();
    assert_eq!(db.store.queue_depth().await.unwrap().0, [("tenant".to_owned(), 1)].into());
    db.accept([call(2)]).await;
}

#[tokio::test]
async fn connections_that_the_server_has_ended_cost_no_call() {
    let db = Fixture::postgres().await;
    // Several connections, each used just now and so not asked whether it is still there.
    let accepts = (1..40).map(|number| db.store.accept(call(number)));
    let reads = (1..40).map(|number| db.store.deferral(id(number), &Scope::All));
    let (accepted, read) = tokio::join!(join_all(accepts), join_all(reads));
    assert!(accepted.into_iter().all(|accepted| accepted.unwrap() == Accepted::Fresh));
    read.into_iter().for_each(|read| assert!(read.is_ok()));
    const THEIRS: &str = "pg_stat_activity where datname = current_database() and application_name = 'offpeak'";
    let ended = db.raw.texts(&format!("select pg_terminate_backend(pid)::text from {THEIRS}")).await;
    assert!(ended.len() > 1, "{ended:?}");
    let all_are_gone = async { while db.raw.count(THEIRS).await > 0 {} };
    timeout(ENDING_LIMIT, all_are_gone).await.expect("ended connections");
    assert_eq!(db.store.accept(call(100)).await.unwrap(), Accepted::Fresh);
    assert!(db.store.deferral(id(100), &Scope::All).await.unwrap().is_some());
}
