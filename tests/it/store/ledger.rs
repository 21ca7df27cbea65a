//! The ledger: its lines are its entries added up, and an entry can be priced again.

use std::collections::BTreeMap;
use std::time::Duration;

use offpeak::clock::Day;
use offpeak::domain::batch::BatchState;
use offpeak::domain::charge::{ChargeKey, ChargeSum, Terms};
use offpeak::domain::ledger::{EntryKind, Line, Sums};
use offpeak::domain::money::NanoUsd;
use offpeak::domain::price::{Price, Tier};
use offpeak::domain::record::{CallRecord, Way};
use offpeak::domain::tally::Recorded;
use offpeak::domain::usage::{Billed, Tokens};
use offpeak::domain::workload::WorkloadId;
use offpeak::store::{Bundle, Repriced, Verdict};

use super::fixture::{Fixture, NOW, Raw, id, succeeded};

on_both_engines! {
    lines_are_the_entries_added_up_by_day,
    days_begin_and_end_in_utc,
    an_entry_keeps_all_that_pricing_it_again_needs,
    entries_come_in_portions_and_in_their_order,
    a_new_price_is_in_the_next_line,
    charges_are_added_up_by_the_hour_and_read_by_the_day,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn lines(db: &Fixture) -> Vec<Line> {
    let today = Day::of(NOW);
    db.store.ledger_lines(today.plus(-10), today.plus(10)).await.unwrap()
}

async fn lines_are_the_entries_added_up_by_day(db: Fixture) {
    let batch = db.batch(1..6, BatchState::Ended).await.claim.batch;
    let mut unpriced = succeeded(id(3));
    if let Verdict::Final { bill: Some(bill), .. } = &mut unpriced.verdict {
        bill.price = None;
    }
    db.store.settle(batch, &[succeeded(id(1)), succeeded(id(2)), unpriced], NOW).await.unwrap();
    db.store.settle(batch, &[succeeded(id(4))], NOW.plus(DAY)).await.unwrap();
    db.store.settle(batch, &[succeeded(id(5))], NOW.plus(DAY + Duration::from_millis(1))).await.unwrap();
    // The last answer is taken for one that came late.
    let last = "(select max(settled_at) from entry)";
    db.raw.run(&format!("update entry set kind = 'late', served_by = 'live' where settled_at = {last}")).await;
    let lines = lines(&db).await;
    let of =
        |day: i64, way: Way| lines.iter().find(|line| line.day == Day::of(NOW).plus(day) && line.way == way).unwrap();
    let tokens = |times: u64| Tokens {
        input: times,
        output: 2 * times,
        cache_write_5m: 3 * times,
        cache_write_1h: 4 * times,
        cache_read: 5 * times,
    };
    let priced = Sums { calls: 3, unpriced: 1, tokens: tokens(3), ..sums(2) };
    assert_eq!(of(0, Way::Batch).sums, priced);
    assert_eq!(of(1, Way::Batch).sums, Sums { tokens: tokens(1), ..sums(1) });
    let late = Sums { late: 1, tokens: tokens(1), paid_twice: NanoUsd(10), ..Sums::default() };
    assert_eq!(of(1, Way::Rescued).sums, late);
    assert_eq!(lines.len(), 3);
}

fn sums(calls: u64) -> Sums {
    let times = |nanos: i64| NanoUsd(nanos * i64::try_from(calls).unwrap());
    Sums { calls, paid: times(10), live: times(20), uncached: times(30), ..Sums::default() }
}

async fn days_begin_and_end_in_utc(db: Fixture) {
    let midnight = Day::of(NOW).plus(1).start();
    let batch = db.batch(1..4, BatchState::Ended).await.claim.batch;
    for (number, at) in [(1, midnight.minus(Duration::from_millis(1))), (2, midnight), (3, midnight.plus(DAY))] {
        db.store.settle(batch, &[succeeded(id(number))], at).await.unwrap();
    }
    let today = Day::of(NOW);
    let days = async |from: i64, until: i64| -> Vec<i64> {
        let lines = db.store.ledger_lines(today.plus(from), today.plus(until)).await.unwrap();
        lines.iter().map(|line| line.day.0 - today.0).collect()
    };
    assert_eq!(days(0, 3).await, [0, 1, 2]);
    assert_eq!((days(1, 2).await, days(0, 1).await, days(3, 9).await), (vec![1], vec![0], vec![]));
}

async fn an_entry_keeps_all_that_pricing_it_again_needs(db: Fixture) {
    let message = r#"{"model":"claude-opus-5-5","usage":{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":7,
        "cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"inference_geo":"us","speed":"fast",
        "server_tool_use":{"web_search_requests":2},"iterations":[
        {"type":"advisor_message","model":"claude-fable-5-2","input_tokens":4,"output_tokens":2},
        {"type":"compaction","input_tokens":8,"output_tokens":3}]}}"#;
    let billed = Billed::read(message).unwrap();
    let batch = db.batch(1..3, BatchState::Ended).await.claim.batch;
    let mut first = succeeded(id(1));
    if let Verdict::Final { bill: Some(bill), .. } = &mut first.verdict {
        bill.billed = billed.clone();
    }
    db.store.settle(batch, &[first, succeeded(id(2))], NOW).await.unwrap();
    let entries = db.store.entries(NOW, NOW.plus(DAY), None, 10).await.unwrap();
    let kept = &entries[0];
    assert_eq!((kept.deferral, kept.kind, kept.at, kept.tier), (id(1), EntryKind::Answer, NOW, Tier::Batch));
    assert_eq!(kept.bill.billed, billed);
    assert_eq!(kept.bill.price, Some(Price { paid: NanoUsd(10), live: NanoUsd(20), uncached: NanoUsd(30) }));
    let Verdict::Final { bill: Some(plain), .. } = succeeded(id(2)).verdict else { panic!("no bill") };
    assert_eq!(entries[1].bill, plain);
}

async fn entries_come_in_portions_and_in_their_order(db: Fixture) {
    let batch = db.batch(1..6, BatchState::Ended).await.claim.batch;
    for (number, after) in [(3, 0), (1, 1), (2, 1), (5, 1), (4, 2)] {
        let at = NOW.plus(Duration::from_millis(after));
        db.store.settle(batch, &[succeeded(id(number))], at).await.unwrap();
    }
    let (mut order, mut after) = (Vec::new(), None);
    loop {
        let some = db.store.entries(NOW, NOW.plus(DAY), after, 2).await.unwrap();
        let Some(last) = some.last() else { break };
        after = Some((last.at, last.deferral, last.kind));
        order.extend(some.iter().map(|entry| entry.deferral));
    }
    assert_eq!(order, [3, 1, 2, 5, 4].map(id));
    let later = NOW.plus(Duration::from_millis(1));
    let some = db.store.entries(later, later.plus(Duration::from_millis(1)), None, 10).await.unwrap();
    assert_eq!(some.iter().map(|entry| entry.deferral).collect::<Vec<_>>(), [1, 2, 5].map(id));
}

async fn a_new_price_is_in_the_next_line(db: Fixture) {
    let batch = db.batch(1..3, BatchState::Ended).await.claim.batch;
    db.store.settle(batch, &[succeeded(id(1)), succeeded(id(2))], NOW).await.unwrap();
    let price = Some(Price { paid: NanoUsd(7), live: NanoUsd(14), uncached: NanoUsd(21) });
    let change = |number, price| Repriced { deferral: id(number), kind: EntryKind::Answer, price };
    db.store.reprice(&[change(1, price), change(2, None)]).await.unwrap();
    let sums = lines(&db).await[0].sums;
    assert_eq!((sums.calls, sums.unpriced), (2, 1));
    assert_eq!((sums.paid, sums.live, sums.uncached), (NanoUsd(7), NanoUsd(14), NanoUsd(21)));
    // An entry from before it was kept is taken to have had no caching.
    db.raw.run("update entry set uncached_nanousd = null").await;
    assert_eq!(lines(&db).await[0].sums.uncached, NanoUsd(14));
}

/// Charges of some hours, added up as they are written.
async fn write_charges(db: &Fixture, sums: &[(ChargeKey, ChargeSum)]) {
    let charges: BTreeMap<ChargeKey, ChargeSum> = sums.iter().cloned().collect();
    let record = CallRecord { at: NOW, ..CallRecord::default() };
    let id = i64::from(rand::random::<u32>());
    let call = Recorded { record, id, workload: WorkloadId(1), is_unread: false, charges: Vec::new() };
    db.store
        .record(Bundle { calls: &[call], hours: &BTreeMap::new(), seen: &BTreeMap::new(), charges: &charges, now: NOW })
        .await
        .unwrap();
}

fn charge(hours: u64, model: &str, calls: u64) -> (ChargeKey, ChargeSum) {
    let hour = Day::of(NOW).start().plus(Duration::from_secs(3_600 * hours));
    let terms = Terms { model: model.to_owned(), ..Terms::default() };
    let tokens = Tokens { input: 10 * calls, output: calls, ..Tokens::default() };
    let (paid, uncached) = (NanoUsd(7 * calls.cast_signed()), NanoUsd(9 * calls.cast_signed()));
    (
        ChargeKey { hour, workload: WorkloadId(1), terms },
        ChargeSum { calls, tokens, paid, uncached, ..Default::default() },
    )
}

async fn charges_are_added_up_by_the_hour_and_read_by_the_day(db: Fixture) {
    db.raw.run(&workload(&db)).await;
    write_charges(&db, &[charge(1, "m", 2), charge(2, "m", 3), charge(2, "n", 1), charge(25, "m", 5)]).await;
    write_charges(&db, &[charge(2, "m", 4)]).await;
    let today = Day::of(NOW);
    let lines = db.store.charge_lines(today, today.plus(1)).await.unwrap();
    let found: Vec<_> = lines.iter().map(|line| (line.model.as_str(), line.sums.calls, line.sums.paid.0)).collect();
    assert_eq!(found, [("m", 9, 63), ("n", 1, 7)]);
    assert_eq!((lines[0].workload.as_deref(), lines[0].tenant.as_str(), lines[0].way), (Some("chat"), "t", Way::Live));
    assert_eq!((lines[0].sums.uncached, lines[0].sums.tokens.input), (NanoUsd(81), 90));
    assert_eq!(db.store.charge_lines(today.plus(1), today.plus(2)).await.unwrap()[0].sums.calls, 5);

    // One after the other, in their order, and each can be priced again unless it has changed meanwhile.
    let (start, end) = (today.start(), today.plus(9).start());
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let some = db.store.charges(start, end, after.as_ref(), 1).await.unwrap();
        let Some((key, sum)) = some.into_iter().next() else { break };
        after = Some(key.clone());
        seen.push((key, sum));
    }
    let order: Vec<_> = seen.iter().map(|(key, sum)| (key.terms.model.as_str(), sum.calls)).collect();
    assert_eq!(order, [("m", 2), ("m", 7), ("n", 1), ("m", 5)]);
    let price = Some((NanoUsd(100), NanoUsd(200)));
    let (key, sum) = seen[1].clone();
    assert_eq!(db.store.reprice_charges(&[(key.clone(), sum, price)]).await.unwrap(), 1);
    assert_eq!(db.store.reprice_charges(&[(key, sum, price)]).await.unwrap(), 0);
    assert_eq!(db.store.charge_lines(today, today.plus(1)).await.unwrap()[0].sums.paid, NanoUsd(14 + 100));
}

/// A workload for charges to be of.
fn workload(db: &Fixture) -> String {
    let now = match db.raw {
        Raw::Sqlite(_) => "0",
        Raw::Postgres(_) => "to_timestamp(0)",
    };
    format!(
        "insert into workload (id, tenant, name, kind, family, client, first_seen_at, last_seen_at,
             changed_at)
         values (1, 't', 'chat', 'named', '', '', {now}, {now}, {now})"
    )
}
