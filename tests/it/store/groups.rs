//! Groups: joined while they are open, closed once, and announced once, whoever comes when.

use std::time::Duration;

use futures_util::future::{join, join_all};
use offpeak::clock::Timestamp;
use offpeak::domain::callback::Callback;
use offpeak::domain::deferral::{Answer, Cost};
use offpeak::domain::group::{Counts, Group, GroupState};
use offpeak::domain::money::NanoUsd;
use offpeak::store::{Accepted, Closed, Leave, NewDeferral, Scope, Store};

use super::fixture::{AMPLE, Fixture, NOW, answer, call, failed, id, lane_of, succeeded};
use crate::it::wire::soon;

on_both_engines! {
    a_group_counts_its_members_and_their_cost,
    groups_of_tenants_are_strangers,
    a_closed_group_takes_no_member,
    what_repeats_a_member_finds_it_in_a_closed_group,
    a_group_that_is_expected_takes_so_many,
    a_group_may_be_expected_before_its_first_member,
    what_is_not_accepted_leaves_no_group_behind,
    closing_again_changes_what_is_expected,
    fewer_may_be_expected_after_all,
    a_closed_group_is_announced_with_its_last_member,
    a_group_whose_members_are_final_is_announced_as_it_is_closed,
    a_group_without_a_callback_is_announced_to_nobody,
    every_way_to_become_final_completes_a_group,
    an_announced_group_stays_as_it_is,
    replicas_that_announce_together_announce_once,
    closing_and_the_last_member_may_come_together,
    no_member_slips_into_an_announced_group,
    no_more_join_than_are_expected,
    one_key_from_everywhere_is_one_member,
    a_long_feed_is_searched_in_portions,
    forgotten_members_still_count,
    groups_go_when_they_are_done_with,
    nobody_joins_a_group_that_is_being_forgotten,
}

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// Call `number` in group `name`.
fn member(number: u128, name: &str) -> NewDeferral {
    NewDeferral { group: Some(name.to_owned()), ..call(number) }
}

fn own() -> Scope {
    Scope::Tenant("tenant".to_owned())
}

async fn group(db: &Fixture, name: &str) -> Option<Group> {
    db.store.groups(name, &own()).await.unwrap().pop()
}

async fn state(db: &Fixture, name: &str) -> GroupState {
    group(db, name).await.expect("a group").state
}

/// Closes a group with a callback.
async fn close(store: &Store, name: &str, expect: Option<u64>) -> Closed {
    store.close_group("tenant", name, expect, Some(&Callback::receiver("warehouse")), NOW).await.unwrap()
}

#[track_caller]
fn closed(outcome: Closed) -> Group {
    match outcome {
        Closed::Yes(group) => group,
        other => panic!("{other:?}"),
    }
}

/// Searches the feed to its end; how many groups were announced.
async fn announce(store: &Store) -> u32 {
    let mut announced = 0;
    loop {
        let (groups, has_more) = store.announce_groups(later(60)).await.unwrap();
        announced += groups;
        if !has_more {
            return announced;
        }
    }
}

/// Groups that were announced to somebody, a line for each delivery.
async fn told(db: &Fixture) -> Vec<String> {
    let deliveries = "select concat_ws(' ', event, receiver, callback_url, tenant, group_name, state) from delivery
        where group_name is not null order by group_name, tenant";
    db.raw.texts(deliveries).await
}

async fn cancel(store: &Store, number: u128) {
    store.cancel(id(number), &Scope::All, &Answer::canceled(id(number)), NOW).await.unwrap().expect("a deferral");
}

async fn a_group_counts_its_members_and_their_cost(db: Fixture) {
    db.accept((1..6).map(|number| member(number, "g"))).await;
    db.accept([call(6), member(7, "h")]).await;
    let batch = db.build(1, AMPLE).await.unwrap().claim.batch;
    db.accept([member(8, "g")]).await;
    db.store.settle(batch, &[succeeded(id(1)), succeeded(id(7))], later(5)).await.unwrap();
    db.store.settle(batch, &[failed(id(2)), succeeded(id(3))], later(9)).await.unwrap();
    let group = group(&db, "g").await.unwrap();
    assert_eq!((group.tenant.as_str(), group.name.as_str(), group.state), ("tenant", "g", GroupState::Open));
    assert_eq!((group.counts, group.counts.total(), group.expect), (Counts([1, 2, 0, 2, 1, 0, 0]), 6, None));
    assert_eq!((group.first_completed_at, group.last_completed_at), (Some(later(5)), Some(later(9))));
    assert_eq!(group.cost, Cost::once(NanoUsd(20), NanoUsd(40)));
}

async fn groups_of_tenants_are_strangers(db: Fixture) {
    let others = NewDeferral { lane: lane_of("other"), ..member(2, "g") };
    db.accept([member(1, "g"), others.clone()]).await;
    closed(close(&db.store, "g", None).await);
    assert_eq!(state(&db, "g").await, GroupState::Closed);
    let theirs = db.store.groups("g", &Scope::Tenant("other".to_owned())).await.unwrap();
    assert_eq!((theirs.len(), theirs[0].state, theirs[0].counts.total()), (1, GroupState::Open, 1));
    assert_eq!(db.store.groups("g", &Scope::All).await.unwrap().len(), 2);
    assert_eq!(db.store.groups("g", &Scope::Tenant("third".to_owned())).await.unwrap(), []);
    db.accept([NewDeferral { id: id(3), ..others }]).await;
    cancel(&db.store, 1).await;
    assert_eq!(announce(&db.store).await, 1);
    assert_eq!(told(&db).await, ["group.completed warehouse tenant g due"]);
}

async fn a_closed_group_takes_no_member(db: Fixture) {
    db.accept([member(1, "g")]).await;
    let group = closed(close(&db.store, "g", None).await);
    assert_eq!((group.state, group.expect, group.counts.total()), (GroupState::Closed, None, 1));
    // With others in one commit: these are none of its business.
    let calls = [member(2, "g"), call(3), member(4, "g"), member(5, "h")];
    let outcomes = join_all(calls.map(|call| db.store.accept(call))).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes, [Accepted::GroupClosed, Accepted::Fresh, Accepted::GroupClosed, Accepted::Fresh]);
    assert_eq!((db.raw.count("deferral").await, db.raw.count("payload").await), (3, 3));
    assert_eq!(close(&db.store, "nobody", None).await, Closed::Unknown);
}

async fn what_repeats_a_member_finds_it_in_a_closed_group(db: Fixture) {
    let keyed = |number, key: &str| NewDeferral { idempotency_key: Some(key.to_owned()), ..member(number, "g") };
    db.accept([keyed(1, "k"), member(2, "g")]).await;
    closed(close(&db.store, "g", None).await);
    let same_key = NewDeferral { id: id(3), ..keyed(1, "k") };
    assert_eq!(db.store.accept(same_key).await.unwrap(), Accepted::Existing(id(1)));
    assert_eq!(db.store.accept(keyed(4, "k")).await.unwrap(), Accepted::KeyTaken, "with another body");
    let retry = NewDeferral { id: id(5), retries: 1, ..member(2, "g") };
    assert_eq!(db.store.accept(retry.clone()).await.unwrap(), Accepted::Existing(id(2)));
    let unknown = NewDeferral { retries: 1, ..member(6, "g") };
    assert_eq!(db.store.accept(unknown).await.unwrap(), Accepted::GroupClosed, "there is nothing that it repeats");
    assert_eq!(db.store.accept(keyed(7, "l")).await.unwrap(), Accepted::GroupClosed);
    // The same when it has been announced.
    cancel(&db.store, 1).await;
    let left = db.store.leave(id(2), &Scope::All, &Leave::ToFail(answer("no")), NOW).await.unwrap();
    assert!(left && announce(&db.store).await == 1);
    assert_eq!(db.store.accept(retry).await.unwrap(), Accepted::Existing(id(2)));
    assert_eq!(group(&db, "g").await.unwrap().counts.total(), 2);
}

async fn a_group_that_is_expected_takes_so_many(db: Fixture) {
    db.accept([member(1, "g")]).await;
    closed(close(&db.store, "g", Some(3)).await);
    let calls = (2..6).map(|number| db.store.accept(member(number, "g")));
    let outcomes: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes, [Accepted::Fresh, Accepted::Fresh, Accepted::GroupClosed, Accepted::GroupClosed]);
    for number in 1..3 {
        cancel(&db.store, number).await;
        assert_eq!(announce(&db.store).await, 0);
    }
    cancel(&db.store, 3).await;
    assert_eq!(announce(&db.store).await, 1);
}

async fn a_group_may_be_expected_before_its_first_member(db: Fixture) {
    let group = closed(close(&db.store, "g", Some(2)).await);
    assert_eq!((group.state, group.expect, group.counts.total()), (GroupState::Closed, Some(2), 0));
    db.accept([member(1, "g")]).await;
    cancel(&db.store, 1).await;
    assert_eq!(announce(&db.store).await, 0, "all that are there are final, but one is missing");
    db.accept([member(2, "g")]).await;
    assert_eq!(db.store.accept(member(3, "g")).await.unwrap(), Accepted::GroupClosed);
    cancel(&db.store, 2).await;
    assert_eq!(announce(&db.store).await, 1);
}

async fn what_is_not_accepted_leaves_no_group_behind(db: Fixture) {
    let keyed = |number| NewDeferral { idempotency_key: Some("k".to_owned()), ..call(number) };
    db.accept([keyed(1), call(2)]).await;
    let in_group = |call: NewDeferral, number| NewDeferral { id: id(number), group: Some("g".to_owned()), ..call };
    assert_eq!(db.store.accept(in_group(keyed(3), 3)).await.unwrap(), Accepted::KeyTaken);
    assert_eq!(db.store.accept(in_group(keyed(1), 4)).await.unwrap(), Accepted::Existing(id(1)));
    let retry = NewDeferral { retries: 1, ..call(2) };
    assert_eq!(db.store.accept(in_group(retry, 5)).await.unwrap(), Accepted::Existing(id(2)));
    assert_eq!(group(&db, "g").await, None);
    db.accept([member(6, "g")]).await;
    assert_eq!(group(&db, "g").await.unwrap().counts.total(), 1);
}

async fn closing_again_changes_what_is_expected(db: Fixture) {
    db.accept([member(1, "g"), member(2, "g")]).await;
    let plain = async |expect| db.store.close_group("tenant", "g", expect, None, NOW).await.unwrap();
    assert_eq!(plain(Some(1)).await, Closed::TooMany(2));
    assert_eq!(state(&db, "g").await, GroupState::Open, "what is refused changes nothing");
    for (expect, expected) in [(None, None), (Some(5), Some(5)), (None, Some(5)), (Some(3), Some(3))] {
        let group = closed(plain(expect).await);
        assert_eq!((group.state, group.expect), (GroupState::Closed, expected));
    }
    assert_eq!(plain(Some(1)).await, Closed::TooMany(2));
    let url = Callback::url("https://example.com:443", "https://example.com/hook?token=1");
    db.store.close_group("tenant", "g", None, Some(&url), NOW).await.unwrap();
    // Said once, it stands.
    closed(plain(Some(2)).await);
    cancel(&db.store, 1).await;
    cancel(&db.store, 2).await;
    assert_eq!(announce(&db.store).await, 1);
    let to = "group.completed https://example.com:443 https://example.com/hook?token=1 tenant g due";
    assert_eq!(told(&db).await, [to]);
}

async fn fewer_may_be_expected_after_all(db: Fixture) {
    db.accept([member(1, "g"), member(2, "g")]).await;
    closed(close(&db.store, "g", Some(9)).await);
    cancel(&db.store, 1).await;
    cancel(&db.store, 2).await;
    assert_eq!((announce(&db.store).await, state(&db, "g").await), (0, GroupState::Closed));
    assert_eq!(closed(close(&db.store, "g", Some(2)).await).state, GroupState::Announced);
    assert_eq!(told(&db).await, ["group.completed warehouse tenant g due"]);
}

async fn a_closed_group_is_announced_with_its_last_member(db: Fixture) {
    db.accept((1..4).map(|number| member(number, "g"))).await;
    let batch = db.build(1, AMPLE).await.unwrap().claim.batch;
    db.store.settle(batch, &[succeeded(id(1))], NOW).await.unwrap();
    assert_eq!(announce(&db.store).await, 0, "it is open");
    closed(close(&db.store, "g", None).await);
    db.store.settle(batch, &[failed(id(2))], NOW).await.unwrap();
    assert_eq!((announce(&db.store).await, told(&db).await), (0, vec![]));
    db.store.settle(batch, &[succeeded(id(3))], NOW).await.unwrap();
    assert_eq!(db.store.announce_groups(later(7)).await.unwrap(), (1, false));
    assert_eq!(db.store.announce_groups(later(8)).await.unwrap(), (0, false));
    assert_eq!(told(&db).await, ["group.completed warehouse tenant g due"]);
    let millis = |at: Timestamp| at.as_millis();
    let wanted = [("warehouse".to_owned(), 9)];
    let due = db.store.claim_deliveries(&wanted, later(7), Duration::from_secs(1)).await.unwrap();
    assert_eq!(due.iter().map(|delivery| millis(delivery.created_at)).collect::<Vec<_>>(), [millis(later(7))]);
}

async fn a_group_whose_members_are_final_is_announced_as_it_is_closed(db: Fixture) {
    db.accept([member(1, "g")]).await;
    cancel(&db.store, 1).await;
    // Its last member was searched for while it was open.
    assert_eq!(announce(&db.store).await, 0);
    assert_eq!(closed(close(&db.store, "g", None).await).state, GroupState::Announced);
    assert_eq!(announce(&db.store).await, 0);
    assert_eq!(told(&db).await, ["group.completed warehouse tenant g due"]);
}

async fn a_group_without_a_callback_is_announced_to_nobody(db: Fixture) {
    db.accept([member(1, "g")]).await;
    db.store.close_group("tenant", "g", None, None, NOW).await.unwrap();
    cancel(&db.store, 1).await;
    assert_eq!(announce(&db.store).await, 1);
    assert_eq!((state(&db, "g").await, told(&db).await), (GroupState::Announced, vec![]));
}

async fn every_way_to_become_final_completes_a_group(db: Fixture) {
    db.accept((1..5).map(|number| member(number, "g"))).await;
    closed(close(&db.store, "g", None).await);
    cancel(&db.store, 1).await;
    let leave = async |number, leave: Leave| {
        assert!(db.store.leave(id(number), &Scope::All, &leave, NOW).await.unwrap());
    };
    leave(2, Leave::ToExpire(Answer::expired(id(2)))).await;
    leave(3, Leave::ToFail(answer("no"))).await;
    leave(4, Leave::ForRescue).await;
    assert_eq!(announce(&db.store).await, 0);
    let rescue = db.store.claim_rescues(NOW, Duration::from_secs(1), 9).await.unwrap().remove(0);
    let state = offpeak::domain::deferral::State::Succeeded;
    assert!(db.store.settle_rescue(&rescue, state, &answer("live"), None, NOW).await.unwrap());
    assert_eq!(announce(&db.store).await, 1);
    assert_eq!(group(&db, "g").await.unwrap().counts, Counts([0, 0, 0, 1, 1, 1, 1]));
}

async fn an_announced_group_stays_as_it_is(db: Fixture) {
    db.accept([member(1, "g")]).await;
    cancel(&db.store, 1).await;
    let announced = closed(close(&db.store, "g", Some(1)).await);
    assert_eq!(announced.state, GroupState::Announced);
    for expect in [None, Some(1), Some(9)] {
        assert_eq!(closed(close(&db.store, "g", expect).await), announced);
    }
    assert_eq!(close(&db.store, "g", Some(0)).await, Closed::TooMany(1));
    assert_eq!(db.store.accept(member(2, "g")).await.unwrap(), Accepted::GroupClosed);
    assert_eq!((announce(&db.store).await, told(&db).await.len()), (0, 1));
}

async fn replicas_that_announce_together_announce_once(db: Fixture) {
    const GROUPS: u128 = 40;
    let name = |number: u128| format!("g{:02}", number % GROUPS);
    db.accept((1..=2 * GROUPS).map(|number| member(number, &name(number)))).await;
    for number in 0..GROUPS {
        closed(close(&db.store, &name(number), None).await);
    }
    let batch = db.build(1, AMPLE).await.unwrap().claim.batch;
    let replicas = [db.replica().await, db.replica().await, db.replica().await];
    for half in [1..=GROUPS, GROUPS + 1..=2 * GROUPS] {
        let calls: Vec<_> = half.map(|number| succeeded(id(number))).collect();
        // They search while the members become final.
        let searching = join_all(replicas.iter().map(announce));
        let (settled, _) = join(db.store.settle(batch, &calls, NOW), searching).await;
        assert_eq!(settled.unwrap().len(), GROUPS as usize);
        join_all(replicas.iter().map(announce)).await;
    }
    let expected: Vec<_> = (0..GROUPS).map(|n| format!("group.completed warehouse tenant {} due", name(n))).collect();
    assert_eq!(told(&db).await, expected);
}

async fn closing_and_the_last_member_may_come_together(db: Fixture) {
    const GROUPS: u128 = 60;
    let name = |number: u128| format!("g{number:02}");
    db.accept((1..=GROUPS).map(|number| member(number, &name(number)))).await;
    let batch = db.build(1, AMPLE).await.unwrap().claim.batch;
    let (settler, announcer) = (db.replica().await, db.replica().await);
    for number in 1..=GROUPS {
        let last = [succeeded(id(number))];
        let name = name(number);
        let (_, settled, _) = tokio::join!(
            close(&db.store, &name, None),
            settler.settle(batch, &last, NOW),
            announcer.announce_groups(NOW),
        );
        settled.unwrap();
        announce(&announcer).await;
        assert_eq!(state(&db, &name).await, GroupState::Announced, "{name}");
    }
    assert_eq!(told(&db).await.len() as u128, GROUPS);
}

#[tokio::test]
async fn whoever_is_closing_a_group_is_waited_for() {
    let db = Fixture::postgres().await;
    db.accept([member(1, "g")]).await;
    // It has looked at the members by now, and has found an open one.
    let closing = "update deferral_group set state = 'closed', closed_at = opened_at where name = 'g'";
    let closing = db.raw.hold(closing).await;
    cancel(&db.store, 1).await;
    let closed = async {
        db.raw.until_blocked().await;
        closing.commit().await.unwrap();
    };
    let (announced, ()) = soon(join(announce(&db.store), closed)).await;
    assert_eq!((announced, state(&db, "g").await), (1, GroupState::Announced));
}

async fn no_member_slips_into_an_announced_group(db: Fixture) {
    const ROUNDS: u128 = 40;
    let (joiner, announcer) = (db.replica().await, db.replica().await);
    for round in 1..=ROUNDS {
        let name = format!("g{round:02}");
        let first = round * 10;
        db.accept([member(first, &name)]).await;
        // Whoever comes first: the one that is left out hears of it.
        let (_, late, _, _) = tokio::join!(
            close(&db.store, &name, None),
            joiner.accept(member(first + 1, &name)),
            cancel(&announcer, first),
            announcer.announce_groups(NOW),
        );
        announce(&announcer).await;
        let (expected, members) = match late.unwrap() {
            Accepted::Fresh => (GroupState::Closed, 2),
            Accepted::GroupClosed => (GroupState::Announced, 1),
            other => panic!("{other:?}"),
        };
        let group = group(&db, &name).await.unwrap();
        assert_eq!((group.state, group.counts.total()), (expected, members), "{name}");
        if expected == GroupState::Closed {
            cancel(&db.store, first + 1).await;
            assert_eq!(announce(&announcer).await, 1);
        }
    }
    assert_eq!(told(&db).await.len() as u128, ROUNDS);
}

async fn no_more_join_than_are_expected(db: Fixture) {
    closed(close(&db.store, "g", Some(25)).await);
    closed(close(&db.store, "h", Some(10)).await);
    let replicas = [db.replica().await, db.replica().await, db.replica().await];
    let accepts = (1..=90).map(|number| {
        let name = if number % 3 == 0 { "h" } else { "g" };
        replicas[number as usize % 3].accept(member(number, name))
    });
    let outcomes: Vec<_> = join_all(accepts).await.into_iter().map(Result::unwrap).collect();
    let fresh = outcomes.iter().filter(|outcome| **outcome == Accepted::Fresh).count();
    let refused = outcomes.iter().filter(|outcome| **outcome == Accepted::GroupClosed).count();
    assert_eq!((fresh, refused), (35, 55));
    assert_eq!(group(&db, "g").await.unwrap().counts.total(), 25);
    assert_eq!(group(&db, "h").await.unwrap().counts.total(), 10);
}

async fn one_key_from_everywhere_is_one_member(db: Fixture) {
    // In a group of limited room each call is inserted by itself; a replica may take its key between.
    let replicas = [db.replica().await, db.replica().await, db.replica().await];
    for round in 0..20_u128 {
        let (here, there) = (format!("here{round}"), format!("there{round}"));
        closed(close(&db.store, &here, Some(9)).await);
        closed(close(&db.store, &there, Some(9)).await);
        let accepts = (0..6_u128).map(|turn| {
            let number = 1 + round * 10 + turn;
            let name = if turn % 2 == 0 { &here } else { &there };
            let key = Some(format!("k{round}"));
            let first = member(1 + round * 10, name);
            replicas[turn as usize % 3].accept(NewDeferral { id: id(number), idempotency_key: key, ..first })
        });
        let outcomes: Vec<_> = join_all(accepts).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Accepted::Fresh).count(), 1, "{outcomes:?}");
        for outcome in outcomes {
            if let Accepted::Existing(other) = outcome {
                assert!(db.store.deferral(other, &own()).await.unwrap().is_some());
            }
        }
        let members = [group(&db, &here).await.unwrap(), group(&db, &there).await.unwrap()];
        assert_eq!(members.iter().map(|group| group.counts.total()).sum::<u64>(), 1);
    }
    assert_eq!(db.raw.count("deferral").await, 20);
    assert_eq!(db.raw.count("deferral_group where members > 0").await, 20);
}

async fn a_long_feed_is_searched_in_portions(db: Fixture) {
    const CALLS: u128 = 1_200;
    db.accept((1..=CALLS).map(|number| member(number, &format!("g{}", number % 2)))).await;
    for name in ["g0", "g1"] {
        closed(close(&db.store, name, None).await);
    }
    for first in [1, 601] {
        let limits = offpeak::store::Limits { requests: 600, ..AMPLE };
        let batch = db.build(first, limits).await.unwrap().claim.batch;
        let calls: Vec<_> = (first..first + 600).map(|number| succeeded(id(number))).collect();
        assert_eq!(db.store.settle(batch, &calls, NOW).await.unwrap().len(), 600);
    }
    assert_eq!(db.store.announce_groups(NOW).await.unwrap(), (2, true));
    assert_eq!(db.store.announce_groups(NOW).await.unwrap(), (0, false));
    assert_eq!(db.store.announce_groups(NOW).await.unwrap(), (0, false));
}

async fn forgotten_members_still_count(db: Fixture) {
    db.accept([member(1, "g"), member(2, "g")]).await;
    closed(close(&db.store, "g", Some(3)).await);
    cancel(&db.store, 1).await;
    assert_eq!(announce(&db.store).await, 0);
    assert_eq!(db.store.forget_deferrals(later(1), 9).await.unwrap(), 1);
    assert_eq!(group(&db, "g").await.unwrap().counts.total(), 1);
    assert_eq!(close(&db.store, "g", Some(1)).await, Closed::TooMany(2));
    db.accept([member(3, "g")]).await;
    assert_eq!(db.store.accept(member(4, "g")).await.unwrap(), Accepted::GroupClosed);
    cancel(&db.store, 2).await;
    cancel(&db.store, 3).await;
    assert_eq!(announce(&db.store).await, 1);
}

async fn groups_go_when_they_are_done_with(db: Fixture) {
    let at = |hours: u64| later(hours * 3_600);
    let names = async || db.raw.texts("select name from deferral_group order by name").await;
    db.accept([member(1, "announced"), member(2, "closed"), member(3, "open"), member(4, "used")]).await;
    for number in 1..4 {
        cancel(&db.store, number).await;
    }
    let close = async |name: &str, expect, now| db.store.close_group("tenant", name, expect, None, now).await.unwrap();
    assert_eq!(closed(close("announced", None, at(10)).await).state, GroupState::Announced);
    closed(close("closed", Some(2), at(20)).await);
    closed(close("expected", Some(2), at(20)).await);
    db.store.announce_groups(at(20)).await.unwrap();
    let forget = async |before| {
        db.store.forget_handed_over(before, 100).await.unwrap();
        names().await
    };
    assert_eq!(forget(at(9)).await, ["announced", "closed", "expected", "open", "used"], "their members are there");
    assert_eq!(db.store.forget_deferrals(at(9), 9).await.unwrap(), 3);
    // An open one goes with its last member, the others so long after they were closed or announced.
    assert_eq!(forget(at(9)).await, ["announced", "closed", "expected", "used"]);
    assert_eq!(forget(at(11)).await, ["closed", "expected", "used"]);
    assert_eq!(forget(at(20)).await, ["closed", "expected", "used"]);
    assert_eq!(forget(at(21)).await, ["used"]);
    // What comes later begins anew.
    db.accept([member(5, "announced")]).await;
    assert_eq!(state(&db, "announced").await, GroupState::Open);
}

#[tokio::test]
async fn a_group_that_is_being_joined_is_not_forgotten() {
    let db = Fixture::postgres().await;
    db.accept([member(1, "g"), member(2, "h")]).await;
    cancel(&db.store, 1).await;
    cancel(&db.store, 2).await;
    announce(&db.store).await;
    db.store.forget_deferrals(later(1), 9).await.unwrap();
    let joining = db.raw.hold("update deferral_group set members = members + 1 where name = 'g'").await;
    soon(db.store.forget_handed_over(later(1), 9)).await.unwrap();
    joining.commit().await.unwrap();
    assert_eq!((group(&db, "g").await.is_some(), group(&db, "h").await.is_some()), (true, false));
}

async fn nobody_joins_a_group_that_is_being_forgotten(db: Fixture) {
    let replica = db.replica().await;
    for round in 1..40_u128 {
        let name = format!("g{round}");
        db.accept([member(round * 10, &name)]).await;
        cancel(&db.store, round * 10).await;
        announce(&db.store).await;
        db.store.forget_deferrals(later(1), 9).await.unwrap();
        let (forgotten, joined) =
            join(db.store.forget_handed_over(later(1), 99), replica.accept(member(round * 10 + 1, &name))).await;
        forgotten.unwrap();
        assert_eq!(joined.unwrap(), Accepted::Fresh);
        // Gone and opened again, or never gone.
        assert_eq!(group(&db, &name).await.expect("a group").counts.total(), 1, "{name}");
    }
}
