//! The queue: what waits, in which order and in what portions it goes into batches.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join;
use offpeak::domain::batch::BatchState;
use offpeak::domain::deferral::State;
use offpeak::domain::id::DeferralId;
use offpeak::store::{Backlog, Limits, NewDeferral, Store};

use super::fixture::{AMPLE, Fixture, LEASE, NOW, again, batch_id, call, id, item, lane, lane_id, lane_of};
use crate::it::wire::soon;

on_both_engines! {
    a_batch_takes_the_head_in_order,
    what_is_queued_for_later_waits,
    bytes_are_counted_with_the_envelope,
    the_first_is_taken_however_large,
    an_empty_lane_builds_nothing,
    a_batch_takes_from_its_lane_alone,
    builders_at_the_same_time_share_nothing_and_lose_nothing,
    the_backlog_is_seen_as_far_as_a_batch_reaches,
    a_paused_lane_has_no_backlog_until_it_may_send,
    the_depth_is_told_by_tenant,
    a_flush_is_marked_for_everybody,
    items_come_in_order_and_whole,
    a_page_of_items_fits_in_memory,
}

/// The members of a batch, in the order of their ids.
async fn members(store: &Store, batch: u128) -> Vec<DeferralId> {
    let members = store.open_members(batch_id(batch), None, 1_000).await.unwrap();
    members.into_iter().map(|member| member.id).collect()
}

fn requests(requests: usize) -> Limits {
    Limits { requests, ..AMPLE }
}

async fn a_batch_takes_the_head_in_order(db: Fixture) {
    // Later ids may have been accepted earlier, by another replica.
    let accepted = |number, after| NewDeferral { accepted_at: NOW.plus(Duration::from_millis(after)), ..call(number) };
    db.accept([accepted(1, 30), accepted(2, 20), accepted(3, 10), accepted(5, 20), accepted(4, 20)]).await;
    let batch = db.build(1, requests(2)).await.unwrap();
    assert_eq!((batch.item_count, members(&db.store, 1).await), (2, vec![id(2), id(3)]));
    db.build(2, requests(2)).await.unwrap();
    assert_eq!(members(&db.store, 2).await, [id(4), id(5)]);
    assert_eq!(db.build(3, requests(2)).await.unwrap().item_count, 1);
    assert_eq!(db.states(1..=5).await, [State::Batched; 5]);
    assert_eq!(db.deferral(1).await.attempts, 1);
}

async fn what_is_queued_for_later_waits(db: Fixture) {
    let batch = db.batch(1..4, BatchState::Ended).await;
    let later = NOW.plus(LEASE * 2);
    db.store.settle(batch.claim.batch, &[again(id(2), later)], NOW).await.unwrap();
    assert!(db.build(2, AMPLE).await.is_none(), "it is queued, but not due");
    assert_eq!(db.store.backlog(NOW.plus(LEASE), 10).await.unwrap(), []);
    let due = db.store.build_batch(batch_id(2), lane_id(&lane()), AMPLE, later, LEASE).await.unwrap();
    assert_eq!((due.unwrap().item_count, members(&db.store, 2).await), (1, vec![id(2)]));
}

async fn bytes_are_counted_with_the_envelope(db: Fixture) {
    db.accept((1..=9).map(call)).await;
    let one = call(1).item.text.len() as u64;
    let exactly_three = Limits { bytes: 3 * (one + 10), bytes_per_item: 10, ..AMPLE };
    let batch = db.build(1, exactly_three).await.unwrap();
    assert_eq!((batch.item_count, batch.item_bytes), (3, 3 * one));
    let nearly = Limits { bytes: exactly_three.bytes - 1, ..exactly_three };
    assert_eq!(db.build(2, nearly).await.unwrap().item_count, 2);
}

async fn the_first_is_taken_however_large(db: Fixture) {
    db.accept([NewDeferral { item: item(&"x".repeat(5_000)), ..call(1) }, call(2), call(3)]).await;
    let small = Limits { bytes: 1_000, ..AMPLE };
    assert_eq!(db.build(1, small).await.unwrap().item_count, 1);
    assert_eq!(db.build(2, small).await.unwrap().item_count, 2);
}

async fn an_empty_lane_builds_nothing(db: Fixture) {
    assert!(db.build(1, AMPLE).await.is_none());
    db.accept([call(1)]).await;
    assert!(db.build(1, AMPLE).await.is_some());
    assert!(db.build(2, AMPLE).await.is_none());
    assert_eq!(db.raw.count("batch").await, 1);
}

async fn a_batch_takes_from_its_lane_alone(db: Fixture) {
    db.accept([call(1), NewDeferral { lane: lane_of("other"), ..call(2) }, call(3)]).await;
    assert_eq!(db.build(1, AMPLE).await.unwrap().item_count, 2);
    assert_eq!(db.states(1..=3).await, [State::Batched, State::Queued, State::Batched]);
}

async fn builders_at_the_same_time_share_nothing_and_lose_nothing(db: Fixture) {
    db.accept((1..=120).map(call)).await;
    let replica = db.replica().await;
    let build = async |store: &Store, first: u128| {
        let mut built = Vec::new();
        for number in (first..).step_by(2) {
            let (batch, lane) = (batch_id(number), lane_id(&lane()));
            let Some(batch) = store.build_batch(batch, lane, requests(7), NOW.plus(LEASE), LEASE).await.unwrap() else {
                return built;
            };
            assert!((1..=7).contains(&batch.item_count), "{}", batch.item_count);
            built.push((number, batch.item_count as usize));
        }
        built
    };
    let (one, other) = join(build(&db.store, 1), build(&replica, 2)).await;
    let mut seen = HashSet::new();
    for (number, count) in one.into_iter().chain(other) {
        let members = members(&db.store, number).await;
        assert_eq!(members.len(), count, "a batch knows how many it carries");
        for member in members {
            assert!(seen.insert(member), "{member} is in two batches");
        }
    }
    // A builder stops only when all that is left is held by the other, who then has it.
    assert_eq!(seen.len(), 120);
}

#[tokio::test]
async fn a_builder_passes_over_what_another_holds() {
    let db = Fixture::postgres().await;
    db.accept((1..=5).map(call)).await;
    let held = db.raw.hold("select id from deferral order by queued_at limit 2 for update").await;
    let built = soon(db.build(1, AMPLE)).await.unwrap();
    assert_eq!((built.item_count, members(&db.store, 1).await), (3, vec![id(3), id(4), id(5)]));
    held.rollback().await.unwrap();
    assert_eq!(db.build(2, AMPLE).await.unwrap().item_count, 2);
}

async fn the_backlog_is_seen_as_far_as_a_batch_reaches(db: Fixture) {
    db.accept((1..=5).map(call)).await;
    db.accept([NewDeferral { lane: lane_of("other"), ..call(6) }]).await;
    let one = call(1).item.text.len() as u64;
    let oldest = |number: u64| NOW.plus(Duration::from_millis(number));
    let mut expected = vec![
        Backlog { lane: lane_id(&lane()), count: 3, bytes: 3 * one, oldest: oldest(1) },
        Backlog { lane: lane_id(&lane_of("other")), count: 1, bytes: one, oldest: oldest(6) },
    ];
    expected.sort_by_key(|backlog| backlog.lane);
    assert_eq!(db.store.backlog(NOW.plus(LEASE), 3).await.unwrap(), expected);
    let early = db.store.backlog(oldest(2), 3).await.unwrap();
    assert_eq!(early, [Backlog { lane: lane_id(&lane()), count: 2, bytes: 2 * one, oldest: oldest(1) }]);
}

async fn a_paused_lane_has_no_backlog_until_it_may_send(db: Fixture) {
    db.accept([call(1)]).await;
    let (lane, until) = (lane_id(&lane()), NOW.plus(LEASE));
    assert_eq!(db.store.lane_pauses(lane).await.unwrap(), 0);
    db.store.pause_lane(lane, NOW.plus(LEASE / 2), "rate_limit_error", None).await.unwrap();
    db.store.pause_lane(lane, until, "rate_limit_error", None).await.unwrap();
    assert_eq!(db.store.lane_pauses(lane).await.unwrap(), 2);
    assert_eq!(db.store.backlog(until.minus(Duration::from_millis(1)), 9).await.unwrap(), []);
    assert_eq!(db.store.backlog(until, 9).await.unwrap().len(), 1);
    db.store.resume_lane(lane).await.unwrap();
    assert_eq!(db.store.backlog(NOW.plus(Duration::from_millis(1)), 9).await.unwrap().len(), 1);
    assert_eq!(db.store.lane_pauses(lane).await.unwrap(), 0);
}

async fn the_depth_is_told_by_tenant(db: Fixture) {
    let mut beta = lane_of("tenant");
    beta.betas = "beta".to_owned();
    db.accept((1..=3).map(call)).await;
    db.accept([NewDeferral { lane: beta, ..call(4) }, NewDeferral { lane: lane_of("other"), ..call(5) }]).await;
    let depth = |tenant: &str, calls| (tenant.to_owned(), calls);
    assert_eq!(db.store.queue_depth().await.unwrap().0, [depth("tenant", 4), depth("other", 1)].into());
    db.build(1, AMPLE).await;
    assert_eq!(db.store.queue_depth().await.unwrap().0, [depth("tenant", 1), depth("other", 1)].into());
}

async fn a_flush_is_marked_for_everybody(db: Fixture) {
    let replica = db.replica().await;
    assert_eq!(replica.flush_mark().await.unwrap(), None);
    db.store.mark_flush(NOW).await.unwrap();
    db.store.mark_flush(NOW.plus(LEASE)).await.unwrap();
    assert_eq!(replica.flush_mark().await.unwrap(), Some(NOW.plus(LEASE)));
}

async fn items_come_in_order_and_whole(db: Fixture) {
    // More than one page holds, none of them alike.
    let calls: Vec<_> = (1..=600).map(call).collect();
    db.accept(calls.clone()).await;
    let batch = db.build(1, AMPLE).await.unwrap().claim.batch;
    let mut items = Vec::new();
    let mut pages = 0;
    loop {
        let page =
            db.store.batch_items(batch, items.last().map(|item: &offpeak::store::QueuedItem| item.id)).await.unwrap();
        if page.is_empty() {
            break;
        }
        pages += 1;
        items.extend(page);
    }
    assert!(pages > 1);
    let came: Vec<_> = items.into_iter().map(|item| (item.id, item.text)).collect();
    assert_eq!(came, calls.into_iter().map(|call| (call.id, call.item.text)).collect::<Vec<_>>());
}

async fn a_page_of_items_fits_in_memory(db: Fixture) {
    // A megabyte each, of which packing leaves next to nothing.
    const ITEM_BYTES: usize = 1_000_000;
    db.accept((1..=20).map(|number| NewDeferral { item: item(&"x".repeat(ITEM_BYTES)), ..call(number) })).await;
    let limits = Limits { bytes: 1_000_000_000, ..AMPLE };
    let batch = db.build(1, limits).await.unwrap().claim.batch;
    let page = db.store.batch_items(batch, None).await.unwrap();
    let bytes: usize = page.iter().map(|item| item.text.len()).sum();
    assert!((1..=8 * ITEM_BYTES).contains(&bytes), "{bytes} bytes at once");
    assert_eq!(page[0].id, id(1));
}
