//! Settling: results come home once, whole, and for the members of their batch alone.

use std::collections::HashSet;

use futures_util::future::join;
use offpeak::domain::batch::BatchState;
use offpeak::domain::deferral::{Cost, ServedBy, State};
use offpeak::domain::id::DeferralId;
use offpeak::domain::money::NanoUsd;
use offpeak::store::{Settlement, Verdict};

use super::fixture::{AMPLE, Fixture, LEASE, NOW, again, answer, batch_id, failed, id, provider_id, succeeded};
use super::transitions::picture;

on_both_engines! {
    a_success_is_shown_with_its_answer_and_its_cost,
    a_failure_costs_nothing,
    an_answer_without_a_price_is_still_in_the_ledger,
    the_ledger_counts_each_class_of_tokens,
    settling_twice_changes_nothing,
    of_a_member_that_comes_twice_the_first_word_counts,
    members_of_other_batches_are_left_alone,
    another_try_keeps_what_the_last_came_to,
    settling_at_the_same_time_is_settling_once,
    a_chunk_settles_whole_or_not_at_all,
    open_members_come_in_portions,
}

/// When results come.
const LATER: offpeak::clock::Timestamp = offpeak::clock::Timestamp::from_millis(NOW.as_millis() + 500_000);

fn cost(paid: i64, live_price: i64) -> Cost {
    Cost::once(NanoUsd(paid), NanoUsd(live_price))
}

async fn a_success_is_shown_with_its_answer_and_its_cost(db: Fixture) {
    let batch = db.batch(1..2, BatchState::Ended).await.claim.batch;
    assert_eq!(db.store.settle(batch, &[succeeded(id(1))], LATER).await.unwrap(), [id(1)]);
    let done = db.deferral(1).await;
    assert_eq!((done.state, done.completed_at, done.attempts), (State::Succeeded, Some(LATER), 1));
    assert_eq!(
        (done.answer, done.cost, done.served_by),
        (Some(answer("done")), Some(cost(10, 20)), Some(ServedBy::Batch))
    );
    assert_eq!(done.provider_batch_id, Some(provider_id(1)));
    assert_eq!(db.store.open_members_among(batch, &[id(1)]).await.unwrap(), []);
}

async fn a_failure_costs_nothing(db: Fixture) {
    let batch = db.batch(1..2, BatchState::Ended).await.claim.batch;
    db.store.settle(batch, &[failed(id(1))], LATER).await.unwrap();
    let done = db.deferral(1).await;
    assert_eq!((done.state, done.cost, done.answer.unwrap().status), (State::Failed, None, 400));
    assert_eq!((db.raw.count("outcome").await, db.raw.count("entry").await), (1, 0));
}

async fn an_answer_without_a_price_is_still_in_the_ledger(db: Fixture) {
    let batch = db.batch(1..2, BatchState::Ended).await.claim.batch;
    let mut unpriced = succeeded(id(1));
    if let Verdict::Final { bill: Some(bill), .. } = &mut unpriced.verdict {
        bill.price = None;
    }
    db.store.settle(batch, &[unpriced], LATER).await.unwrap();
    assert_eq!(db.deferral(1).await.cost, None);
    assert_eq!(
        db.raw.count("entry where paid_nanousd is null and live_nanousd is null and uncached_nanousd is null").await,
        1
    );
}

async fn the_ledger_counts_each_class_of_tokens(db: Fixture) {
    let batch = db.batch(1..2, BatchState::Ended).await.claim.batch;
    db.store.settle(batch, &[succeeded(id(1))], LATER).await.unwrap();
    let entry = "select concat_ws(' ', tenant, workload, model, served_by, input_tokens, output_tokens,
        cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, paid_nanousd, live_nanousd, uncached_nanousd)
        from entry";
    assert_eq!(db.raw.texts(entry).await, ["tenant m-1 batch 1 2 3 4 5 10 20 30"]);
}

async fn settling_twice_changes_nothing(db: Fixture) {
    let batch = db.batch(1..4, BatchState::Ended).await.claim.batch;
    let chunk = [succeeded(id(1)), again(id(2), LATER), failed(id(3))];
    let fresh = db.store.settle(batch, &chunk, LATER).await.unwrap();
    assert_eq!(fresh.into_iter().collect::<HashSet<_>>(), [id(1), id(3)].into());
    let before = picture(&db).await;
    let much_later = LATER.plus(LEASE);
    assert_eq!(db.store.settle(batch, &chunk, much_later).await.unwrap(), []);
    // Nor does a result that says otherwise.
    let otherwise = [failed(id(1)), succeeded(id(2)), again(id(3), much_later)];
    assert_eq!(db.store.settle(batch, &otherwise, much_later).await.unwrap(), []);
    assert_eq!(picture(&db).await, before);
    assert_eq!(db.deferral(1).await.answer, Some(answer("done")));
    let rows = [db.raw.count("outcome").await, db.raw.count("entry").await, db.raw.count("attempt").await];
    assert_eq!(rows, [2, 1, 1]);
}

async fn of_a_member_that_comes_twice_the_first_word_counts(db: Fixture) {
    let batch = db.batch(1..3, BatchState::Ended).await.claim.batch;
    let chunk = [succeeded(id(1)), again(id(2), LATER), failed(id(1)), succeeded(id(1)), succeeded(id(2))];
    assert_eq!(db.store.settle(batch, &chunk, LATER).await.unwrap(), [id(1)]);
    assert_eq!(db.states(1..3).await, [State::Succeeded, State::Queued]);
    assert_eq!((db.raw.count("outcome").await, db.raw.count("entry").await), (1, 1));
}

async fn members_of_other_batches_are_left_alone(db: Fixture) {
    let batch = db.batch(1..2, BatchState::Ended).await.claim.batch;
    db.batch(2..4, BatchState::Ended).await;
    let strangers = [succeeded(id(2)), again(id(3), LATER), failed(id(99)), succeeded(id(1))];
    assert_eq!(db.store.settle(batch, &strangers, LATER).await.unwrap(), [id(1)]);
    assert_eq!(db.states(1..4).await, [State::Succeeded, State::Batched, State::Batched]);
    assert_eq!((db.raw.count("outcome").await, db.raw.count("attempt").await), (1, 0));
}

async fn another_try_keeps_what_the_last_came_to(db: Fixture) {
    let batch = db.batch(1..2, BatchState::Ended).await.claim.batch;
    db.store.settle(batch, &[again(id(1), NOW)], LATER).await.unwrap();
    let waiting = db.deferral(1).await;
    assert_eq!((waiting.state, waiting.attempts, waiting.provider_batch_id), (State::Queued, 1, None));
    let second = db.build(20, AMPLE).await.unwrap().claim.batch;
    let member = db.store.open_members_among(second, &[id(1), id(2)]).await.unwrap()[0];
    assert_eq!((member.attempts, member.cancel_requested, member.deadline_at), (2, false, waiting.deadline));
    db.store.settle(second, &[again(id(1), NOW)], LATER).await.unwrap();
    let history = db.raw.texts("select concat_ws(' ', number, result, detail) from attempt order by number").await;
    assert_eq!(history, ["1 expired slow", "2 expired slow"]);
    assert_eq!(db.store.settle(batch, &[succeeded(id(1))], LATER).await.unwrap(), [], "the first batch has no say now");
}

async fn settling_at_the_same_time_is_settling_once(db: Fixture) {
    let batch = db.batch(1..101, BatchState::Ended).await.claim.batch;
    let replica = db.replica().await;
    let chunk: Vec<_> = (1..101)
        .map(|number| match number % 3 {
            0 => failed(id(number)),
            1 => succeeded(id(number)),
            _ => again(id(number), LATER),
        })
        .collect();
    let backwards: Vec<_> = chunk.iter().rev().cloned().collect();
    let (one, other) = join(db.store.settle(batch, &chunk, LATER), replica.settle(batch, &backwards, LATER)).await;
    let fresh: Vec<DeferralId> = one.unwrap().into_iter().chain(other.unwrap()).collect();
    assert_eq!((fresh.len(), fresh.iter().collect::<HashSet<_>>().len()), (67, 67));
    let rows = [db.raw.count("outcome").await, db.raw.count("entry").await, db.raw.count("attempt").await];
    assert_eq!(rows, [67, 34, 33]);
    assert_eq!(db.raw.count("deferral where state = 'queued'").await, 33);
}

async fn a_chunk_settles_whole_or_not_at_all(db: Fixture) {
    let batch = db.batch(1..4, BatchState::Ended).await.claim.batch;
    let before = picture(&db).await;
    // The ledger's row comes last of the finals.
    db.raw.run("alter table entry rename to away").await;
    let chunk: Vec<Settlement> = [failed(id(1)), again(id(2), LATER), succeeded(id(3))].into();
    db.store.settle(batch, &chunk, LATER).await.unwrap_err();
    db.raw.run("alter table away rename to entry").await;
    assert_eq!((picture(&db).await, db.raw.count("outcome").await), (before, 0));
    assert_eq!(db.store.settle(batch, &chunk, LATER).await.unwrap().len(), 2);
}

async fn open_members_come_in_portions(db: Fixture) {
    let batch = db.batch(1..8, BatchState::Ended).await.claim.batch;
    db.store.settle(batch, &[succeeded(id(2))], LATER).await.unwrap();
    let mut seen = Vec::new();
    while let portion = db.store.open_members(batch, seen.last().copied(), 2).await.unwrap()
        && !portion.is_empty()
    {
        assert!(portion.len() <= 2);
        seen.extend(portion.into_iter().map(|member| member.id));
    }
    assert_eq!(seen, [1, 3, 4, 5, 6, 7].map(id));
    assert!(db.store.open_members(batch_id(99), None, 9).await.unwrap().is_empty());
}
