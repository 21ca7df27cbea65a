//! Reading: one deferral, pages in both directions, and canceling in each state.

use offpeak::domain::batch::BatchState;
use offpeak::domain::deferral::{Answer, Deferral, State};
use offpeak::store::{Filter, NewDeferral, Page, PageCursor, Scope, Settlement, Verdict};

use super::fixture::{AMPLE, Fixture, LEASE, NOW, batch_id, call, failed, id, lane_of, succeeded};

on_both_engines! {
    a_deferral_is_seen_by_its_tenant_and_the_operator,
    a_page_shows_its_scope_newest_first,
    filters_narrow_and_combine,
    pages_lead_back_and_forth_without_gaps,
    a_page_of_large_answers_ends_early,
    a_queued_call_is_canceled_at_once,
    a_call_whose_batch_was_not_sent_is_canceled_at_once,
    a_call_on_its_way_is_canceled_only_by_request,
    a_final_call_stays_as_it_is,
    nobody_cancels_a_strangers_call,
    a_canceled_call_goes_into_no_batch,
    batches_are_listed_newest_first,
}

fn tenant(name: &str) -> Scope {
    Scope::Tenant(name.to_owned())
}

fn numbers(page: &Page) -> Vec<u128> {
    page.deferrals.iter().map(|deferral| deferral.id.0.as_u128()).collect()
}

async fn page(db: &Fixture, scope: &Scope, cursor: PageCursor, limit: u32) -> (Vec<u128>, bool) {
    let page = db.store.page(scope, &Filter::default(), cursor, limit).await.unwrap();
    (numbers(&page), page.has_more)
}

/// Cancels call `number` as its tenant.
async fn cancel(db: &Fixture, number: u128) -> Deferral {
    let answer = Answer::canceled(id(number));
    db.store.cancel(id(number), &tenant("tenant"), &answer, NOW.plus(LEASE)).await.unwrap().expect("a deferral")
}

async fn a_deferral_is_seen_by_its_tenant_and_the_operator(db: Fixture) {
    db.accept([call(1)]).await;
    for (scope, seen) in [(tenant("tenant"), true), (tenant("other"), false), (tenant(""), false), (Scope::All, true)] {
        assert_eq!(db.store.deferral(id(1), &scope).await.unwrap().is_some(), seen, "{scope:?}");
        assert!(db.store.deferral(id(2), &scope).await.unwrap().is_none());
    }
}

async fn a_page_shows_its_scope_newest_first(db: Fixture) {
    let other = |number| NewDeferral { lane: lane_of("other"), ..call(number) };
    db.accept([call(1), other(2), call(3), other(4), call(5)]).await;
    assert_eq!(page(&db, &tenant("tenant"), PageCursor::Newest, 9).await, (vec![5, 3, 1], false));
    assert_eq!(page(&db, &tenant("other"), PageCursor::Newest, 9).await, (vec![4, 2], false));
    assert_eq!(page(&db, &tenant("nobody"), PageCursor::Newest, 9).await, (vec![], false));
    assert_eq!(page(&db, &Scope::All, PageCursor::Newest, 9).await, (vec![5, 4, 3, 2, 1], false));
}

async fn filters_narrow_and_combine(db: Fixture) {
    let named = |number, workload: &str, group: &str| NewDeferral {
        workload: Some(workload.to_owned()),
        group: Some(group.to_owned()),
        ..call(number)
    };
    db.accept([named(1, "w", "g"), named(2, "w", "h"), named(3, "v", "g"), call(4), named(5, "w", "g")]).await;
    cancel(&db, 5).await;
    let text = |text: &str| Some(text.to_owned());
    for (filter, expected) in [
        (Filter { workload: text("w"), ..Filter::default() }, vec![5, 2, 1]),
        (Filter { group: text("g"), ..Filter::default() }, vec![5, 3, 1]),
        (Filter { state: Some(State::Canceled), ..Filter::default() }, vec![5]),
        (Filter { state: Some(State::Queued), workload: text("w"), group: text("g") }, vec![1]),
        (Filter { state: Some(State::Batched), workload: text("w"), group: None }, vec![]),
    ] {
        for scope in [tenant("tenant"), Scope::All] {
            let page = db.store.page(&scope, &filter, PageCursor::Newest, 9).await.unwrap();
            assert_eq!((numbers(&page), page.has_more), (expected.clone(), false), "{filter:?}");
        }
    }
}

async fn pages_lead_back_and_forth_without_gaps(db: Fixture) {
    db.accept((1..=7).map(call)).await;
    for scope in [tenant("tenant"), Scope::All] {
        let (after, before) = (|number| PageCursor::After(id(number)), |number| PageCursor::Before(id(number)));
        for (cursor, limit, expected) in [
            (PageCursor::Newest, 3, (vec![7, 6, 5], true)),
            (after(5), 3, (vec![4, 3, 2], true)),
            (after(2), 3, (vec![1], false)),
            (after(4), 3, (vec![3, 2, 1], false)),
            (after(1), 3, (vec![], false)),
            (before(1), 3, (vec![4, 3, 2], true)),
            (before(4), 3, (vec![7, 6, 5], false)),
            (before(5), 3, (vec![7, 6], false)),
            (before(7), 3, (vec![], false)),
            (PageCursor::Newest, 7, (vec![7, 6, 5, 4, 3, 2, 1], false)),
        ] {
            assert_eq!(page(&db, &scope, cursor, limit).await, expected, "{cursor:?}");
        }
    }
}

async fn a_page_of_large_answers_ends_early(db: Fixture) {
    // Large as they came; packed, one kind is next to nothing.
    let dense: String = (0..300_000_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let even = "x".repeat(dense.len());
    for (first, text) in [(1, dense), (20, even)] {
        let batch = db.batch(first..first + 9, BatchState::Ended).await.claim.batch;
        for number in first..first + 9 {
            let answer = Answer { status: 200, body: format!("\"{text}\"") };
            let verdict = Verdict::Final { state: State::Succeeded, answer, bill: None };
            db.store.settle(batch, &[Settlement { id: id(number), verdict }], NOW).await.unwrap();
        }
    }
    let mut seen = Vec::new();
    let mut cursor = PageCursor::Newest;
    loop {
        let page = db.store.page(&Scope::All, &Filter::default(), cursor, 100).await.unwrap();
        let bytes: usize = page.deferrals.iter().filter_map(|it| it.answer.as_ref()).map(|it| it.body.len()).sum();
        assert!(bytes < 16_000_000, "{bytes} bytes at once");
        seen.extend(numbers(&page));
        if !page.has_more {
            break;
        }
        cursor = PageCursor::After(page.deferrals.last().expect("a page that is not the last has something").id);
    }
    assert_eq!(seen, (1..10).chain(20..29).rev().collect::<Vec<_>>());
}

async fn a_queued_call_is_canceled_at_once(db: Fixture) {
    db.accept([call(1)]).await;
    let canceled = cancel(&db, 1).await;
    assert_eq!((canceled.state, canceled.cancel_requested), (State::Canceled, true));
    assert_eq!((canceled.completed_at, canceled.served_by), (Some(NOW.plus(LEASE)), None));
    assert_eq!(canceled.answer, Some(Answer::canceled(id(1))));
    let again =
        db.store.cancel(id(1), &Scope::All, &Answer::canceled(id(1)), NOW.plus(LEASE * 2)).await.unwrap().unwrap();
    assert_eq!(again.completed_at, canceled.completed_at);
    assert_eq!(db.raw.count("outcome").await, 1);
}

async fn a_call_whose_batch_was_not_sent_is_canceled_at_once(db: Fixture) {
    let batch = db.batch(1..3, BatchState::Building).await;
    let canceled = cancel(&db, 1).await;
    assert_eq!((canceled.state, canceled.cancel_requested, canceled.attempts), (State::Canceled, true, 0));
    assert_eq!(canceled.answer, Some(Answer::canceled(id(1))));
    let (items, _) = db.store.batch_sending(batch.claim, NOW).await.unwrap().unwrap();
    assert_eq!(items, 1);

    let batch = db.batch(11..12, BatchState::Building).await;
    assert_eq!(cancel(&db, 11).await.state, State::Canceled);
    assert_eq!(db.store.batch_sending(batch.claim, NOW).await.unwrap(), None);
    assert!(db.store.batch_void(batch.claim).await.unwrap());
}

async fn a_call_on_its_way_is_canceled_only_by_request(db: Fixture) {
    for (first, state) in [(11, BatchState::Uncertain), (21, BatchState::Submitted), (31, BatchState::Ended)] {
        let batch = db.batch(first..first + 2, state).await.claim.batch;
        let asked = cancel(&db, first).await;
        assert_eq!((asked.state, asked.cancel_requested, asked.answer), (State::Batched, true, None), "{state:?}");
        let members = db.store.open_members(batch, None, 9).await.unwrap();
        assert_eq!(members.iter().map(|member| member.cancel_requested).collect::<Vec<_>>(), [true, false]);
    }
}

async fn a_final_call_stays_as_it_is(db: Fixture) {
    let batch = db.batch(1..3, BatchState::Ended).await.claim.batch;
    db.store.settle(batch, &[succeeded(id(1)), failed(id(2))], NOW).await.unwrap();
    for (number, state) in [(1, State::Succeeded), (2, State::Failed)] {
        let before = db.deferral(number).await;
        let after = cancel(&db, number).await;
        assert_eq!((after.state, after.cancel_requested, after.completed_at), (state, false, Some(NOW)));
        assert_eq!(after.answer, before.answer);
    }
}

async fn nobody_cancels_a_strangers_call(db: Fixture) {
    db.accept([call(1)]).await;
    let canceled = db.store.cancel(id(1), &tenant("other"), &Answer::canceled(id(1)), NOW).await.unwrap();
    assert!(canceled.is_none());
    db.batch(2..3, BatchState::Submitted).await;
    let unknown = db.store.cancel(id(3), &Scope::All, &Answer::canceled(id(3)), NOW).await.unwrap();
    assert!(unknown.is_none());
    db.store.cancel(id(2), &tenant("other"), &Answer::canceled(id(2)), NOW).await.unwrap();
    assert!(!db.deferral(1).await.cancel_requested && !db.deferral(2).await.cancel_requested);
    assert_eq!(db.raw.count("outcome").await, 0);
}

async fn a_canceled_call_goes_into_no_batch(db: Fixture) {
    db.accept((1..=3).map(call)).await;
    cancel(&db, 2).await;
    assert_eq!(db.build(1, AMPLE).await.unwrap().item_count, 2);
    assert_eq!(db.states(1..=3).await, [State::Batched, State::Canceled, State::Batched]);
}

async fn batches_are_listed_newest_first(db: Fixture) {
    for number in [1, 2, 3] {
        db.batch(number..number + 1, BatchState::Submitted).await;
    }
    let ids: Vec<_> = db.store.batches(2).await.unwrap().into_iter().map(|batch| batch.id).collect();
    assert_eq!(ids, [batch_id(3), batch_id(2)]);
}
