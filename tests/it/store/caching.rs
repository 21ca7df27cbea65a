//! Caching: who is marked, who goes ahead, who waits for whom, and for whom caching goes off.

use std::time::Duration;

use futures_util::future::join;
use offpeak::clock::Timestamp;
use offpeak::domain::batch::BatchState;
use offpeak::domain::caching::{MARK_BYTES, Place, Prefix, PrefixHash, Prefixes};
use offpeak::domain::deferral::State;
use offpeak::domain::id::DeferralId;
use offpeak::domain::money::NanoUsd;
use offpeak::domain::price::Price;
use offpeak::store::{
    KnownPrime, LaneId, NewDeferral, NewPrime, OutPrime, PrimeState, Scope, Settlement, Store, Verdict,
};

use super::fixture::{
    AMPLE, Fixture, LEASE, NOW, answer, batch_id, call, id, lane, lane_id, lane_of, provider_id, succeeded,
};

on_both_engines! {
    only_what_has_a_beginning_can_be_marked,
    a_mark_goes_with_its_call_into_the_batch,
    what_is_not_queued_is_not_marked,
    one_first_call_goes_ahead_and_the_others_wait,
    a_first_call_that_has_left_begins_nothing,
    of_two_who_begin_one_does,
    who_waits_comes_back_by_itself,
    who_waits_takes_its_old_place_when_the_first_is_over,
    a_beginning_in_the_cache_is_kept_by_one_batch_at_a_time,
    what_lapses_is_not_known_any_more,
    who_comes_later_waits_too,
    a_batch_tells_what_the_cache_did_for_it,
    caching_goes_off_where_it_lost_over_enough_calls,
    caching_stays_on_where_it_gains_or_too_little_is_known,
    caching_is_judged_by_marked_calls_of_the_workload_alone,
}

const PREFIX: PrefixHash = PrefixHash(-7);
const MINUTE: Duration = Duration::from_secs(60);
/// When all calls of a test have come.
const THEN: Timestamp = Timestamp::from_millis(NOW.as_millis() + 1_000);
const UNTIL: Timestamp = Timestamp::from_millis(NOW.as_millis() + 1_500_000);

fn beginnings() -> Prefixes {
    let mut prefixes = Prefixes::default();
    prefixes.push(Prefix { place: Place::Tools, tokens: 600, hash: PrefixHash(3) });
    prefixes.push(Prefix { place: Place::System(1), tokens: 900, hash: PREFIX });
    prefixes
}

fn cacheable(number: u128) -> NewDeferral {
    NewDeferral { caching: Some(beginnings()), ..call(number) }
}

fn own_lane() -> LaneId {
    lane_id(&lane())
}

async fn waiting(store: &Store, now: Timestamp) -> Vec<DeferralId> {
    store.cacheable(own_lane(), now, 100).await.unwrap().into_iter().map(|call| call.id).collect()
}

/// Sends call `first` ahead in batch `number`.
async fn begin(store: &Store, number: u128, first: u128, followers: &[DeferralId]) -> bool {
    begin_at(store, number, first, followers, THEN).await
}

async fn begin_at(store: &Store, number: u128, first: u128, followers: &[DeferralId], now: Timestamp) -> bool {
    let place = Place::System(1);
    let new = NewPrime { lane: own_lane(), prefix: PREFIX, place, first: id(first), followers, until: UNTIL };
    store.begin_prime(batch_id(number), new, now).await.unwrap()
}

async fn only_out(store: &Store) -> OutPrime {
    let mut out = store.primes_out().await.unwrap();
    assert_eq!(out.len(), 1);
    out.remove(0)
}

async fn known(store: &Store, now: Timestamp) -> Vec<(PrimeState, Timestamp)> {
    let known: Vec<KnownPrime> = store.primes(own_lane(), now).await.unwrap();
    known.into_iter().map(|prime| (prime.state, prime.until)).collect()
}

async fn only_what_has_a_beginning_can_be_marked(db: Fixture) {
    let workload = Some("digests".to_owned());
    let none = NewDeferral { caching: Some(Prefixes::default()), ..call(4) };
    let elsewhere = NewDeferral { lane: lane_of("other"), ..cacheable(5) };
    db.accept([NewDeferral { workload, ..cacheable(1) }, call(2), cacheable(3), none, elsewhere]).await;
    let found = db.store.cacheable(own_lane(), THEN, 9).await.unwrap();
    assert_eq!(found.iter().map(|call| call.id).collect::<Vec<_>>(), [id(1), id(3)]);
    let first = &found[0];
    assert_eq!(
        (first.tenant.as_str(), first.workload.as_deref(), first.model.as_str()),
        ("tenant", Some("digests"), "m")
    );
    assert_eq!((&first.prefixes, first.mark, first.deadline), (&beginnings(), None, call(1).deadline));
    assert_eq!(first.queued_at, call(1).accepted_at);
    // The head of the queue, as far as it is asked for and as it stands then.
    assert_eq!(db.store.cacheable(own_lane(), THEN, 1).await.unwrap(), found[..1]);
    assert_eq!(waiting(&db.store, call(1).accepted_at).await, [id(1)]);
}

async fn a_mark_goes_with_its_call_into_the_batch(db: Fixture) {
    db.accept([cacheable(1), cacheable(2), cacheable(3)]).await;
    let plain = db.store.backlog(THEN, 9).await.unwrap()[0].bytes;
    let marks = [(id(1), Some(Place::System(1))), (id(2), Some(Place::Tools)), (id(3), Some(Place::Tools))];
    db.store.mark_calls(&marks).await.unwrap();
    db.store.mark_calls(&[(id(3), None)]).await.unwrap();
    let marked: Vec<_> = db.store.cacheable(own_lane(), THEN, 9).await.unwrap().iter().map(|call| call.mark).collect();
    assert_eq!(marked, [Some(Place::System(1)), Some(Place::Tools), None]);
    let bytes = plain + 2 * u64::from(MARK_BYTES);
    assert_eq!(db.store.backlog(THEN, 9).await.unwrap()[0].bytes, bytes);
    let batch = db.build(1, AMPLE).await.unwrap();
    assert_eq!(batch.item_bytes, bytes);
    let items = db.store.batch_items(batch.claim.batch, None).await.unwrap();
    assert_eq!(items.iter().map(|item| item.mark).collect::<Vec<_>>(), marked);
    // The text itself is the caller's.
    assert_eq!(items[0].text, call(1).item.text);
}

async fn what_is_not_queued_is_not_marked(db: Fixture) {
    db.accept([cacheable(1)]).await;
    let batch = db.build(1, AMPLE).await.unwrap().claim.batch;
    db.store.mark_calls(&[(id(1), Some(Place::Tools)), (id(9), Some(Place::Tools))]).await.unwrap();
    assert_eq!(db.store.batch_items(batch, None).await.unwrap()[0].mark, None);
    assert_eq!(waiting(&db.store, THEN).await, []);
    db.store.mark_calls(&[]).await.unwrap();
}

async fn one_first_call_goes_ahead_and_the_others_wait(db: Fixture) {
    db.accept([cacheable(1), cacheable(2), cacheable(3), call(4)]).await;
    assert!(begin(&db.store, 8, 1, &[id(2)]).await);
    assert_eq!(db.states(1..=4).await, [State::Batched, State::Queued, State::Queued, State::Queued]);
    // Whoever was not told to wait goes on.
    assert_eq!(waiting(&db.store, THEN).await, [id(3)]);
    assert_eq!(db.store.backlog(THEN, 9).await.unwrap()[0].count, 2);
    assert_eq!(known(&db.store, THEN).await, [(PrimeState::Sent, UNTIL)]);
    // The batch is due at once, and carries the mark.
    let claimed = db.store.claim_batches(BatchState::Building, THEN, LEASE, 9).await.unwrap();
    assert_eq!((claimed.len(), claimed[0].claim.batch, claimed[0].item_count), (1, batch_id(8), 1));
    assert_eq!(claimed[0].item_bytes, call(1).item.text.len() as u64 + u64::from(MARK_BYTES));
    assert_eq!(db.store.batch_items(batch_id(8), None).await.unwrap()[0].mark, Some(Place::System(1)));
    let out = only_out(&db.store).await;
    assert_eq!((out.lane, out.prefix, out.state, out.until), (own_lane(), PREFIX, PrimeState::Sent, UNTIL));
    assert_eq!((out.batch, out.batch_state), (batch_id(8), Some(BatchState::Building)));
    assert_eq!((out.tenant.as_str(), out.workload.as_str(), out.is_cached), ("tenant", "", false));
    // With the same beginning nobody else goes ahead, and nothing is changed by the attempt.
    assert!(!begin(&db.store, 9, 3, &[id(4)]).await);
    assert_eq!(db.states([3, 4]).await, [State::Queued, State::Queued]);
    assert_eq!(only_out(&db.store).await, out);
    assert_eq!(db.store.backlog(THEN, 9).await.unwrap()[0].count, 2);
}

async fn a_first_call_that_has_left_begins_nothing(db: Fixture) {
    db.accept([cacheable(1), cacheable(2)]).await;
    db.store.cancel(id(1), &Scope::All, &answer("canceled"), THEN).await.unwrap();
    assert!(!begin(&db.store, 8, 1, &[id(2)]).await);
    assert!(!begin(&db.store, 8, 99, &[id(2)]).await);
    assert_eq!(known(&db.store, THEN).await, []);
    assert_eq!((waiting(&db.store, THEN).await, db.raw.count("batch").await), (vec![id(2)], 0));
}

async fn of_two_who_begin_one_does(db: Fixture) {
    db.accept([cacheable(1), cacheable(2)]).await;
    let replica = db.replica().await;
    let (one, other) = join(begin(&db.store, 8, 1, &[id(2)]), begin(&replica, 9, 2, &[id(1)])).await;
    assert!(one != other, "both or neither");
    let batch = if one { batch_id(8) } else { batch_id(9) };
    assert_eq!((only_out(&db.store).await.batch, db.raw.count("batch").await), (batch, 1));
    let batched = db.states([1, 2]).await.into_iter().filter(|state| *state == State::Batched).count();
    assert_eq!((batched, waiting(&db.store, THEN).await.len()), (1, 0));
}

async fn who_waits_comes_back_by_itself(db: Fixture) {
    db.accept([cacheable(1), cacheable(2)]).await;
    assert!(begin(&db.store, 8, 1, &[id(2)]).await);
    assert_eq!(waiting(&db.store, UNTIL.minus(Duration::from_millis(1))).await, []);
    assert_eq!(waiting(&db.store, UNTIL).await, [id(2)]);
    assert_eq!(known(&db.store, UNTIL).await, []);
    // By then another may go ahead, whatever has become of the first.
    assert!(begin_at(&db.store, 9, 2, &[], UNTIL).await);
}

async fn who_waits_takes_its_old_place_when_the_first_is_over(db: Fixture) {
    db.accept([cacheable(1), cacheable(2), cacheable(3)]).await;
    assert!(begin(&db.store, 8, 1, &[id(2), id(3)]).await);
    let out = only_out(&db.store).await;
    let warm_until = THEN.plus(30 * MINUTE);
    assert!(db.store.prime_over(&out, PrimeState::Warm, warm_until).await.unwrap());
    assert_eq!(waiting(&db.store, THEN).await, [id(2), id(3)]);
    let back = db.store.cacheable(own_lane(), THEN, 9).await.unwrap();
    assert_eq!(back[0].queued_at, call(2).accepted_at);
    assert_eq!(known(&db.store, THEN).await, [(PrimeState::Warm, warm_until)]);
    assert_eq!(db.store.primes_out().await.unwrap(), []);
    // Whoever was slower changes nothing.
    assert!(!db.store.prime_over(&out, PrimeState::Cold, UNTIL).await.unwrap());
    assert_eq!(known(&db.store, THEN).await, [(PrimeState::Warm, warm_until)]);
}

async fn a_beginning_in_the_cache_is_kept_by_one_batch_at_a_time(db: Fixture) {
    db.accept([cacheable(1)]).await;
    assert!(begin(&db.store, 8, 1, &[]).await);
    // A first call that is out is not taken for one that is home.
    db.store.ride(own_lane(), &[PREFIX], batch_id(9)).await.unwrap();
    let out = only_out(&db.store).await;
    assert_eq!(out.batch, batch_id(8));
    assert!(db.store.prime_over(&out, PrimeState::Warm, UNTIL).await.unwrap());
    for number in [9, 10] {
        db.store.ride(own_lane(), &[PREFIX, PrefixHash(99)], batch_id(number)).await.unwrap();
        assert_eq!(only_out(&db.store).await.batch, batch_id(9));
    }
    // That batch never came to be.
    let out = only_out(&db.store).await;
    assert_eq!((out.state, out.batch_state, out.sent_at, out.is_cached), (PrimeState::Warm, None, None, false));
    assert!(db.store.prime_over(&out, PrimeState::Warm, UNTIL).await.unwrap());
    db.store.ride(own_lane(), &[PREFIX], batch_id(10)).await.unwrap();
    assert_eq!(only_out(&db.store).await.batch, batch_id(10));
}

async fn what_lapses_is_not_known_any_more(db: Fixture) {
    db.accept([cacheable(1), cacheable(2)]).await;
    assert!(begin(&db.store, 8, 1, &[]).await);
    let cold_until = THEN.plus(MINUTE);
    assert!(db.store.prime_over(&only_out(&db.store).await, PrimeState::Cold, cold_until).await.unwrap());
    let before = cold_until.minus(Duration::from_millis(1));
    assert_eq!(known(&db.store, before).await, [(PrimeState::Cold, cold_until)]);
    assert!(!begin_at(&db.store, 9, 2, &[], before).await);
    assert_eq!(known(&db.store, cold_until).await, []);
    assert!(begin_at(&db.store, 9, 2, &[], cold_until).await);
    // Of other lanes nothing is told.
    assert_eq!(db.store.primes(lane_id(&lane_of("other")), THEN).await.unwrap(), []);
}

async fn who_comes_later_waits_too(db: Fixture) {
    db.accept([cacheable(1), cacheable(2), cacheable(3)]).await;
    assert!(begin(&db.store, 8, 1, &[]).await);
    db.store.wait_for_prime(PREFIX, UNTIL, &[id(2), id(1)]).await.unwrap();
    assert_eq!(waiting(&db.store, THEN).await, [id(3)]);
    // The first call itself stays where it is.
    assert_eq!(db.deferral(1).await.state, State::Batched);
    // Who wants all to go now lets them go as well.
    db.store.mark_flush(THEN).await.unwrap();
    assert_eq!(waiting(&db.store, THEN).await, [id(2), id(3)]);
}

/// A call of a workload, marked and answered at `at`, that would have cost `uncached` live and cost `live`.
async fn answered(
    db: &Fixture,
    number: u128,
    workload: Option<&str>,
    mark: Option<Place>,
    prices: (i64, i64),
    at: Timestamp,
) {
    let workload = workload.map(str::to_owned);
    db.accept([NewDeferral { workload, ..cacheable(number) }]).await;
    db.store.mark_calls(&[(id(number), mark)]).await.unwrap();
    let claim = db.build(number, AMPLE).await.unwrap().claim;
    assert!(db.store.batch_sending(claim, at).await.unwrap().is_some());
    assert!(db.store.batch_submitted(claim, &provider_id(number), false, at, at).await.unwrap());
    assert!(db.store.batch_ended(claim, at).await.unwrap());
    let Settlement { id, mut verdict } = succeeded(id(number));
    if let Verdict::Final { bill: Some(bill), .. } = &mut verdict {
        let (uncached, live) = prices;
        bill.price = Some(Price { paid: NanoUsd(live / 2), live: NanoUsd(live), uncached: NanoUsd(uncached) });
    }
    db.store.settle(claim.batch, &[Settlement { id, verdict }], at).await.unwrap();
    assert!(db.store.batch_ingested(claim, at).await.unwrap());
}

const LOST: (i64, i64) = (100, 200);
const GAINED: (i64, i64) = (200, 100);
const MARK: Option<Place> = Some(Place::Tools);

async fn a_batch_tells_what_the_cache_did_for_it(db: Fixture) {
    answered(&db, 1, None, MARK, (30, 20), THEN).await;
    answered(&db, 2, None, MARK, (20, 30), THEN).await;
    let batches = db.store.batches(9).await.unwrap();
    let cache = |number| batches.iter().find(|batch| batch.id == batch_id(number)).unwrap().cache;
    assert_eq!((cache(1).read_tokens, cache(1).write_tokens, cache(1).gain), (5, 7, NanoUsd(5)));
    assert_eq!(cache(2).gain, NanoUsd(-5));
}

/// Whether caching goes off for a workload over at least two calls of the last ten minutes and of those that are a minute old.
async fn judged(db: &Fixture, workload: &str, now: Timestamp) -> bool {
    let times = (now.minus(10 * MINUTE), now.minus(MINUTE), now);
    db.store.judge_caching(("tenant", workload), times, 2, 5 * MINUTE).await.unwrap().is_some()
}

async fn caching_goes_off_where_it_lost_over_enough_calls(db: Fixture) {
    for number in 1..=2 {
        answered(&db, number, Some("losing"), MARK, LOST, THEN).await;
    }
    let now = THEN.plus(MINUTE);
    assert!(!judged(&db, "losing", now.minus(Duration::from_millis(1))).await, "those who read may be on their way");
    assert!(judged(&db, "losing", now).await);
    let off = db.store.caching_off(now).await.unwrap();
    assert_eq!(off.len(), 1);
    assert_eq!((off[0].tenant.as_str(), off[0].workload.as_deref(), off[0].calls), ("tenant", Some("losing"), 2));
    // Half of the difference was paid.
    assert_eq!((off[0].since, off[0].until, off[0].lost), (now, now.plus(5 * MINUTE), NanoUsd(100)));
    // It is off, and is not switched off again.
    assert!(!judged(&db, "losing", now).await);
    assert_eq!(db.store.caching_off(now.plus(5 * MINUTE).minus(Duration::from_millis(1))).await.unwrap(), off);
    assert_eq!(db.store.caching_on_again(now.plus(5 * MINUTE).minus(Duration::from_millis(1))).await.unwrap(), []);
    assert_eq!(db.store.caching_off(now.plus(5 * MINUTE)).await.unwrap(), []);
    // Whoever lost long ago is not judged by that.
    assert!(judged(&db, "losing", now.plus(5 * MINUTE)).await);
    assert!(!judged(&db, "losing", now.plus(15 * MINUTE)).await);
    // That it is on again is told once.
    let on = db.store.caching_on_again(now.plus(10 * MINUTE)).await.unwrap();
    assert_eq!((on.len(), on[0].since, on[0].lost), (1, now.plus(5 * MINUTE), NanoUsd(100)));
    assert_eq!(db.store.caching_on_again(now.plus(10 * MINUTE)).await.unwrap(), []);
}

async fn caching_stays_on_where_it_gains_or_too_little_is_known(db: Fixture) {
    let now = THEN.plus(2 * MINUTE);
    answered(&db, 1, Some("few"), MARK, LOST, THEN).await;
    answered(&db, 2, Some("gaining"), MARK, LOST, THEN).await;
    answered(&db, 3, Some("gaining"), MARK, GAINED, THEN).await;
    answered(&db, 4, Some("late"), MARK, LOST, THEN).await;
    answered(&db, 5, Some("late"), MARK, LOST, THEN).await;
    answered(&db, 6, Some("late"), MARK, (400, 100), now).await;
    for workload in ["few", "gaining", "late", "nobody"] {
        assert!(!judged(&db, workload, now).await, "{workload}");
    }
    assert_eq!(db.store.caching_off(now).await.unwrap(), []);
}

async fn caching_is_judged_by_marked_calls_of_the_workload_alone(db: Fixture) {
    let now = THEN.plus(MINUTE);
    for (number, workload, mark) in [(1, None, MARK), (2, None, MARK), (3, Some("a"), MARK), (4, Some("a"), None)] {
        answered(&db, number, workload, mark, LOST, THEN).await;
    }
    assert!(!judged(&db, "a", now).await);
    // Calls without a workload are one.
    assert!(judged(&db, "", now).await);
    assert_eq!(db.store.caching_off(now).await.unwrap()[0].workload, None);
    let times = (now.minus(10 * MINUTE), now, now);
    assert_eq!(db.store.judge_caching(("other", ""), times, 2, MINUTE).await.unwrap(), None);
}
