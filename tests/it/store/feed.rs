//! The feed: whatever becomes final stands in it once, at its place, however and by whomever it came about.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::{join, join_all};
use offpeak::clock::Timestamp;
use offpeak::domain::batch::BatchState;
use offpeak::domain::deferral::{Answer, State};
use offpeak::domain::id::DeferralId;
use offpeak::store::{FeedPage, Leave, NewDeferral, Position, Scope, Settlement, Store, Verdict};

use super::fixture::{AMPLE, Fixture, LEASE, NOW, again, answer, call, failed, id, lane_of, succeeded};
use crate::it::wire::soon;

on_both_engines! {
    lines_come_in_the_order_of_completion,
    every_way_to_become_final_writes_one_line,
    what_is_not_final_writes_none,
    settling_twice_writes_no_second_line,
    a_transaction_that_fails_leaves_no_hole,
    a_reader_sees_each_line_once_while_replicas_settle,
    a_tenant_reads_its_own_lines,
    a_page_holds_so_many_lines,
    a_page_holds_so_many_bytes,
    a_reach_ends_with_its_last_line,
    what_is_forgotten_is_passed_over,
    old_lines_go_and_places_stay,
    a_line_stays_until_it_was_searched_for_groups,
    places_outlive_a_restart,
}

/// Lines read at a time by a test that follows the feed.
const FOLLOWED: u32 = 7;

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// All that stands in the feed: places and numbers of calls.
async fn feed(store: &Store) -> Vec<(i64, u128)> {
    let lines = store.feed(&Scope::All, Position::START, 10_000).await.unwrap();
    lines.into_iter().map(|line| (line.position.0, line.deferral_id.0.as_u128())).collect()
}

fn numbers(page: &FeedPage) -> Vec<u128> {
    page.lines.iter().map(|(_, deferral)| deferral.id.0.as_u128()).collect()
}

async fn cancel(db: &Fixture, number: u128) {
    let canceled = db.store.cancel(id(number), &Scope::All, &Answer::canceled(id(number)), NOW).await.unwrap();
    assert_eq!(canceled.expect("a deferral").state, State::Canceled);
}

async fn lines_come_in_the_order_of_completion(db: Fixture) {
    let batch = db.batch(1..6, BatchState::Ended).await.claim.batch;
    db.store.settle(batch, &[succeeded(id(5)), succeeded(id(2))], later(1)).await.unwrap();
    db.store.settle(batch, &[failed(id(4))], later(2)).await.unwrap();
    db.store.settle(batch, &[succeeded(id(3)), failed(id(1))], later(3)).await.unwrap();
    assert_eq!(feed(&db.store).await, [(1, 2), (2, 5), (3, 4), (4, 1), (5, 3)]);
    let page = db.store.feed_page(&Scope::All, Position(1), Position(4)).await.unwrap();
    assert_eq!((numbers(&page), page.end), (vec![5, 4, 1], Position(4)));
    let (_, shown) = &page.lines[0];
    assert_eq!(
        (shown.state, shown.answer.as_ref(), shown.completed_at),
        (State::Succeeded, Some(&answer("done")), Some(later(1)))
    );
    assert_eq!(db.store.feed_end().await.unwrap(), Position(5));
}

/// Sends calls live which are on their way there, and settles them so.
async fn rescued(db: &Fixture, state: State) -> Vec<bool> {
    let mut settled = Vec::new();
    for rescue in db.store.claim_rescues(later(100), LEASE, 10).await.unwrap() {
        for _ in 0..2 {
            settled.push(db.store.settle_rescue(&rescue, state, &answer("live"), None, later(100)).await.unwrap());
        }
    }
    settled
}

async fn every_way_to_become_final_writes_one_line(db: Fixture) {
    let batch = db.batch(1..6, BatchState::Ended).await.claim.batch;
    let canceled = Verdict::Final { state: State::Canceled, answer: Answer::canceled(id(3)), bill: None };
    let verdicts = [succeeded(id(1)), failed(id(2)), Settlement { id: id(3), verdict: canceled }];
    db.store.settle(batch, &verdicts, NOW).await.unwrap();
    // Out of the queue, and out of a batch that was not sent.
    db.accept([call(10)]).await;
    cancel(&db, 10).await;
    db.batch(11..13, BatchState::Building).await;
    cancel(&db, 11).await;
    // At the deadline, from both places.
    db.accept([call(20), call(21)]).await;
    let leave = async |number, leave: &Leave| db.store.leave(id(number), &Scope::All, leave, NOW).await.unwrap();
    assert!(leave(20, &Leave::ToExpire(Answer::expired(id(20)))).await);
    assert!(leave(21, &Leave::ToFail(answer("no"))).await);
    assert!(leave(12, &Leave::ToExpire(Answer::expired(id(12)))).await);
    // Live, with and without a Message; and by its batch while it was to be sent live.
    db.accept([call(30)]).await;
    assert!(leave(30, &Leave::ForRescue).await);
    assert_eq!(rescued(&db, State::Succeeded).await, [true, false]);
    db.accept([call(31)]).await;
    assert!(leave(31, &Leave::ForRescue).await);
    assert_eq!(rescued(&db, State::Failed).await, [true, false]);
    let late = db.batch(40..42, BatchState::Submitted).await.claim;
    assert!(leave(40, &Leave::ForRescue).await && leave(41, &Leave::ForRescue).await);
    assert_eq!(db.store.settle(late.batch, &[succeeded(id(40)), failed(id(41))], NOW).await.unwrap(), [id(40)]);
    assert_eq!(rescued(&db, State::Succeeded).await, [true, false]);

    let expected = [1, 2, 3, 10, 11, 20, 21, 12, 30, 31, 40, 41];
    let places: Vec<(i64, u128)> = (1..).zip(expected).collect();
    assert_eq!(feed(&db.store).await, places);
    for number in expected {
        assert!(db.deferral(number).await.state.is_final(), "{number}");
    }
}

async fn what_is_not_final_writes_none(db: Fixture) {
    let batch = db.batch(1..4, BatchState::Ended).await.claim.batch;
    db.store.settle(batch, &[again(id(1), NOW)], NOW).await.unwrap();
    db.store.cancel(id(2), &Scope::All, &answer("wish"), NOW).await.unwrap();
    db.store.settle(batch, &[succeeded(id(99))], NOW).await.unwrap();
    db.batch(10..12, BatchState::Void).await;
    assert!(db.store.leave(id(10), &Scope::All, &Leave::ForRescue, NOW).await.unwrap());
    assert_eq!((feed(&db.store).await, db.store.feed_end().await.unwrap()), (vec![], Position::START));
}

async fn settling_twice_writes_no_second_line(db: Fixture) {
    let batch = db.batch(1..4, BatchState::Ended).await.claim.batch;
    let chunk = [succeeded(id(1)), succeeded(id(2)), succeeded(id(1))];
    for _ in 0..3 {
        db.store.settle(batch, &chunk, NOW).await.unwrap();
    }
    db.accept([call(5)]).await;
    cancel(&db, 5).await;
    cancel(&db, 5).await;
    assert!(!db.store.leave(id(5), &Scope::All, &Leave::ToExpire(answer("late")), NOW).await.unwrap());
    db.store.settle(batch, &[failed(id(1)), failed(id(3))], NOW).await.unwrap();
    assert_eq!(feed(&db.store).await, [(1, 1), (2, 2), (3, 5), (4, 3)]);
}

async fn a_transaction_that_fails_leaves_no_hole(db: Fixture) {
    let batch = db.batch(1..4, BatchState::Ended).await.claim.batch;
    db.store.settle(batch, &[succeeded(id(1))], NOW).await.unwrap();
    // The feed's own row is the last thing that is written.
    db.raw.run("alter table feed rename to away").await;
    db.store.settle(batch, &[succeeded(id(2))], NOW).await.unwrap_err();
    db.raw.run("alter table away rename to feed").await;
    assert_eq!(db.deferral(2).await.state, State::Batched);
    db.store.settle(batch, &[succeeded(id(3)), succeeded(id(2))], NOW).await.unwrap();
    assert_eq!(feed(&db.store).await, [(1, 1), (2, 2), (3, 3)]);
}

#[tokio::test]
async fn nobody_passes_whoever_has_taken_a_place() {
    let db = Fixture::postgres().await;
    let batch = db.batch(1..3, BatchState::Ended).await.claim.batch;
    let taken = db.raw.hold("update counter set value = value + 1 where name = 'feed'").await;
    let given_back = async {
        db.raw.until_blocked().await;
        // Whatever became of the other one: nothing is seen before that is known.
        assert_eq!(feed(&db.store).await, []);
        taken.rollback().await.unwrap();
    };
    let (settled, ()) = soon(join(db.store.settle(batch, &[succeeded(id(1))], NOW), given_back)).await;
    assert_eq!((settled.unwrap(), feed(&db.store).await), (vec![id(1)], vec![(1, 1)]));
}

async fn a_reader_sees_each_line_once_while_replicas_settle(db: Fixture) {
    const BATCHES: u128 = 30;
    const CALLS: u128 = 12;
    let mut batches = Vec::new();
    for batch in 0..BATCHES {
        let first = 1 + batch * CALLS;
        batches.push((db.batch(first..first + CALLS, BatchState::Ended).await.claim.batch, first));
    }
    let replicas = [db.replica().await, db.replica().await, db.replica().await];
    // Every batch is settled by two of the three at the same time, in pieces that overlap.
    let settle = async |replica: usize, store: &Store| {
        let mut fresh = 0;
        for (turn, (batch, first)) in batches.iter().enumerate().filter(|(turn, _)| turn % 3 != replica) {
            let size = 1 + (turn + replica) % 5;
            let calls: Vec<_> = (*first..first + CALLS).map(|number| succeeded(id(number))).collect();
            for piece in calls.chunks(size) {
                fresh += store.settle(*batch, piece, NOW).await.unwrap().len();
            }
        }
        fresh
    };
    let settling = join_all(replicas.iter().enumerate().map(|(replica, store)| settle(replica, store)));
    let total = (BATCHES * CALLS) as usize;
    let reading = async {
        let mut seen: Vec<DeferralId> = Vec::new();
        while seen.len() < total {
            let after = Position(seen.len() as i64);
            let lines = db.store.feed(&Scope::All, after, FOLLOWED).await.unwrap();
            for line in lines {
                // Whoever sees a place has seen all before it: none appears there later.
                assert_eq!(line.position, Position(seen.len() as i64 + 1));
                seen.push(line.deferral_id);
            }
            tokio::task::yield_now().await;
        }
        seen
    };
    let (fresh, seen) = soon(join(settling, reading)).await;
    assert_eq!((fresh.iter().sum::<usize>(), seen.iter().collect::<HashSet<_>>().len()), (total, total));
    assert_eq!(db.raw.count("feed").await, total as i64);
}

async fn a_tenant_reads_its_own_lines(db: Fixture) {
    let others = |number| NewDeferral { lane: lane_of("other"), ..call(number) };
    db.accept((1..5).map(|number| if number % 2 == 0 { others(number) } else { call(number) })).await;
    for number in 1..5 {
        cancel(&db, number).await;
    }
    for (tenant, places) in [("tenant", [1, 3]), ("other", [2, 4])] {
        let scope = Scope::Tenant(tenant.to_owned());
        let lines = db.store.feed(&scope, Position::START, 9).await.unwrap();
        assert_eq!(lines.iter().map(|line| line.position.0).collect::<Vec<_>>(), places);
        assert!(lines.iter().all(|line| line.tenant == tenant));
        let page = db.store.feed_page(&scope, Position::START, Position(4)).await.unwrap();
        assert_eq!(page.lines.iter().map(|(position, _)| position.0).collect::<Vec<_>>(), places);
    }
    let nobody = Scope::Tenant("nobody".to_owned());
    assert_eq!(db.store.feed_reach(&nobody, Position::START, 9).await.unwrap(), None);
}

async fn a_page_holds_so_many_lines(db: Fixture) {
    let batch = db.batch(1..251, BatchState::Ended).await.claim.batch;
    let done: Vec<_> = (1..251).map(|number| succeeded(id(number))).collect();
    db.store.settle(batch, &done, NOW).await.unwrap();
    let (mut after, mut seen, mut pages) = (Position::START, Vec::new(), Vec::new());
    while after < Position(250) {
        let page = db.store.feed_page(&Scope::All, after, Position(250)).await.unwrap();
        seen.extend(numbers(&page));
        pages.push(page.lines.len());
        after = page.end;
    }
    assert_eq!((seen, pages), ((1..251).collect(), vec![100, 100, 50]));
}

async fn a_page_holds_so_many_bytes(db: Fixture) {
    let batch = db.batch(1..8, BatchState::Ended).await.claim.batch;
    let large = |number| {
        let verdict = Verdict::Final { state: State::Succeeded, answer: answer(&"x".repeat(100_000)), bill: None };
        Settlement { id: id(number), verdict }
    };
    db.store.settle(batch, &(1..8).map(large).collect::<Vec<_>>(), NOW).await.unwrap();
    let page = db.store.feed_page(&Scope::All, Position::START, Position(7)).await.unwrap();
    // It ends with the one by which it is full.
    assert_eq!((numbers(&page), page.end), (vec![1, 2, 3], Position(3)));
    let rest = db.store.feed_page(&Scope::All, Position(6), Position(7)).await.unwrap();
    assert_eq!((numbers(&rest), rest.end), (vec![7], Position(7)));
}

async fn a_reach_ends_with_its_last_line(db: Fixture) {
    let others = |number| NewDeferral { lane: lane_of("other"), ..call(number) };
    db.accept([call(1), others(2), call(3), others(4), call(5)]).await;
    for number in 1..6 {
        cancel(&db, number).await;
    }
    let reach = async |scope: &Scope, after, limit| {
        db.store.feed_reach(scope, Position(after), limit).await.unwrap().map(|position| position.0)
    };
    let own = Scope::Tenant("tenant".to_owned());
    assert_eq!(
        [reach(&own, 0, 1).await, reach(&own, 0, 2).await, reach(&own, 0, 9).await],
        [Some(1), Some(3), Some(5)]
    );
    assert_eq!([reach(&own, 3, 1).await, reach(&own, 5, 1).await], [Some(5), None]);
    assert_eq!([reach(&Scope::All, 0, 2).await, reach(&Scope::All, 3, 9).await], [Some(2), Some(5)]);
}

async fn what_is_forgotten_is_passed_over(db: Fixture) {
    let batch = db.batch(1..6, BatchState::Ended).await.claim.batch;
    for number in 1..6 {
        let at = if number == 4 { later(1) } else { later(1_000) };
        db.store.settle(batch, &[succeeded(id(number))], at).await.unwrap();
    }
    // The line itself goes later than its deferral.
    assert_eq!(db.store.forget_deferrals(later(500), 9).await.unwrap(), 1);
    let page = db.store.feed_page(&Scope::All, Position(1), Position(5)).await.unwrap();
    assert_eq!((numbers(&page), page.end), (vec![2, 3, 5], Position(5)));
    let gone = db.store.feed_page(&Scope::All, Position(3), Position(4)).await.unwrap();
    assert_eq!((numbers(&gone), gone.end), (vec![], Position(4)));
}

async fn old_lines_go_and_places_stay(db: Fixture) {
    let batch = db.batch(1..8, BatchState::Ended).await.claim.batch;
    for number in 1..7 {
        db.store.settle(batch, &[succeeded(id(number))], later(number as u64)).await.unwrap();
    }
    assert_eq!(db.store.forget_handed_over(later(1), 9).await.unwrap(), 0);
    assert_eq!(db.store.forget_handed_over(later(6), 2).await.unwrap(), 2, "no more than asked for");
    assert_eq!(feed(&db.store).await, [(3, 3), (4, 4), (5, 5), (6, 6)]);
    assert_eq!(db.store.forget_handed_over(later(6), 9).await.unwrap(), 3);
    assert_eq!(db.store.forget_handed_over(later(9), 9).await.unwrap(), 1);
    assert_eq!((feed(&db.store).await, db.store.feed_end().await.unwrap()), (vec![], Position(6)));
    db.store.settle(batch, &[succeeded(id(7))], later(9)).await.unwrap();
    assert_eq!(feed(&db.store).await, [(7, 7)], "a place is never given out twice");
}

async fn a_line_stays_until_it_was_searched_for_groups(db: Fixture) {
    let grouped = |number| NewDeferral { group: Some("g".to_owned()), ..call(number) };
    db.accept([call(1), grouped(2), call(3)]).await;
    for number in 1..4 {
        cancel(&db, number).await;
    }
    assert_eq!(db.store.forget_handed_over(later(1), 9).await.unwrap(), 2);
    assert_eq!(feed(&db.store).await, [(2, 2)]);
    assert_eq!(db.store.announce_groups(later(1)).await.unwrap(), (0, false));
    assert_eq!(db.store.forget_handed_over(later(1), 9).await.unwrap(), 1);
}

async fn places_outlive_a_restart(db: Fixture) {
    db.accept([call(1), call(2)]).await;
    cancel(&db, 1).await;
    let db = db.reopened(false, super::fixture::vault()).await;
    cancel(&db, 2).await;
    assert_eq!(feed(&db.store).await, [(1, 1), (2, 2)]);
    // What was settled before there was a feed would stand in it in the order of its time.
    assert!(db.build(9, AMPLE).await.is_none());
}
