//! The inventory behind a long history of calls and of hours.

use std::collections::BTreeMap;

use offpeak::clock::Timestamp;
use offpeak::domain::record::CallRecord;
use offpeak::domain::tally::{Recorded, last_seen, tally};
use offpeak::domain::workload::{NewWorkload, WorkloadId, WorkloadKind};
use offpeak::store::{Bundle, RecordCursor, WorkloadFilter};

use super::{Overhearing, heard};
use crate::it::store::fixture::{NOW, Raw};

/// 100 workloads with 20,000 calls, a second apart, and as many sums, an hour apart.
const HISTORY_SQLITE: &str = "
    insert into workload (id, tenant, name, kind, family, client, first_seen_at, last_seen_at, changed_at)
    with recursive number (n) as (select 1 union all select n + 1 from number where n < 100)
    select n, 'big', 'wkl' || n, 'named', '', '', 1700000000000, 1700020000000, 1700020000000 from number;
    insert into call_record (at, id, workload_id, way, model, client, status, retries, stream, hung_up, tool_turn,
        tool_stop, messages, tools, max_tokens, input_tokens, output_tokens, cache_write_5m_tokens,
        cache_write_1h_tokens, cache_read_tokens, request_bytes, answer_bytes, prefix_bytes, duration_ms, first_byte_ms,
        reader_wait_ms, system_hash, tools_hash, opening_hash)
    with recursive number (n) as (select 1 union all select n + 1 from number where n < 20000)
    select 1700000000000 + n * 1000, n, 1 + n % 100, 'live', 'm', 'c', 200, 0, 0, 0, 0, 0, 1, 0, 9, 9, 9, 0, 0, 0, 9, 9, 0, 9,
        9, 0, 0, 0, 0 from number;
    insert into call_hour (workload_id, hour, model, way, blocked_by, tenant, calls, unread, unpriced, succeeded, limited,
        refused, broken, unanswered, streamed, hung_up, retried, tool_turns, tool_stops, slowly_read, input_tokens,
        output_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, paid_nanousd, live_nanousd,
        request_bytes, answer_bytes, prefix_bytes, duration_ms, first_byte_ms, reader_wait_ms)
    with recursive number (n) as (select 1 union all select n + 1 from number where n < 20000)
    select 1 + n % 100, 1700000000000 + n * 3600000, 'm', 'live', '', 'big', 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 0, 0,
        0, 9, 9, 9, 9, 0, 9, 9, 0 from number";

const HISTORY_POSTGRES: &str = "
    create table call_record_20231114 partition of call_record for values from ('2023-11-14') to ('2023-11-15');
    create table call_record_20231115 partition of call_record for values from ('2023-11-15') to ('2023-11-16');
    insert into workload (id, tenant, name, kind, family, client, first_seen_at, last_seen_at, changed_at)
    select n, 'big', 'wkl' || n, 'named', '', '', to_timestamp(1700000000), to_timestamp(1700020000), to_timestamp(1700020000)
    from generate_series(1, 100) as n;
    insert into call_record (at, id, workload_id, way, model, client, status, retries, stream, hung_up, tool_turn,
        tool_stop, messages, tools, max_tokens, input_tokens, output_tokens, cache_write_5m_tokens,
        cache_write_1h_tokens, cache_read_tokens, request_bytes, answer_bytes, prefix_bytes, duration_ms, first_byte_ms,
        reader_wait_ms, system_hash, tools_hash, opening_hash)
    select to_timestamp(1700000000 + n), n, 1 + n % 100, 'live', 'm', 'c', 200, 0, false, false, false, false, 1, 0, 9, 9, 9, 0,
        0, 0, 9, 9, 0, 9, 9, 0, 0, 0, 0 from generate_series(1, 20000) as n;
    insert into call_hour (workload_id, hour, model, way, blocked_by, tenant, calls, unread, unpriced, succeeded, limited,
        refused, broken, unanswered, streamed, hung_up, retried, tool_turns, tool_stops, slowly_read, input_tokens,
        output_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, paid_nanousd, live_nanousd,
        request_bytes, answer_bytes, prefix_bytes, duration_ms, first_byte_ms, reader_wait_ms)
    select 1 + n % 100, to_timestamp(1700000000 + n::bigint * 3600), 'm', 'live', '', 'big', 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 9, 9, 0, 0, 0, 9, 9, 9, 9, 0, 9, 9, 0 from generate_series(1, 20000) as n;
    analyze";

pub(super) async fn inventory(ear: &Overhearing) {
    ear.db.raw.run(if matches!(ear.db.raw, Raw::Sqlite(_)) { HISTORY_SQLITE } else { HISTORY_POSTGRES }).await;
    heard();
    writing(ear).await;
    reading(ear).await;
    following(ear).await;
}

async fn writing(ear: &Overhearing) {
    let store = &ear.store;
    let new = |id, kind| NewWorkload {
        id: WorkloadId(id),
        tenant: "tenant".into(),
        name: format!("w{id}"),
        kind,
        family: String::new(),
        client: String::new(),
        sketch: None,
        preview: None,
        seen_at: NOW,
    };
    assert!(store.add_workloads("tenant", 0, &[new(-1, WorkloadKind::Alike)]).await.unwrap());
    assert!(!store.add_workloads("tenant", 0, &[new(-3, WorkloadKind::Alike)]).await.unwrap());
    store.name_workloads(&[new(-2, WorkloadKind::Named)]).await.unwrap();
    heard();
    let call = |number: i64| Recorded {
        record: CallRecord { at: NOW, tenant: "tenant".into(), ..CallRecord::default() },
        id: number,
        workload: WorkloadId(-1),
        is_unread: false,
        charges: Vec::new(),
    };
    let calls: Vec<Recorded> = (1..=10).map(call).collect();
    let (hours, seen) = (tally(&calls), last_seen(&calls));
    let bundle = Bundle { calls: &calls, hours: &hours, seen: &seen, charges: &BTreeMap::new(), now: NOW };
    store.record(bundle).await.unwrap();
    // Once more, as after a commit that was not heard of.
    store.record(bundle).await.unwrap();
    ear.expect("recording", "call_record_pkey|call_record_20270115_pkey|call_record USING PRIMARY KEY").await;
    let sums = store.workload_sums(&[WorkloadId(-1)], Timestamp::from_millis(0)).await.unwrap();
    assert_eq!((sums.len(), sums[0].sum.calls), (1, 10));
    heard();
}

async fn reading(ear: &Overhearing) {
    let store = &ear.store;
    let start = RecordCursor::before(Timestamp::from_millis(1_700_010_000_000));
    let page = store.records(None, start, 100).await.unwrap();
    assert_eq!(page.records.len(), 100);
    ear.expect("records of all", "_pkey|call_record USING PRIMARY KEY").await;
    let next = page.next.expect("more");
    assert_eq!(store.records(None, next, 100).await.unwrap().records.len(), 100);
    ear.expect("the next records", "_pkey|call_record USING PRIMARY KEY").await;
    let of_one = store.records(Some(WorkloadId(7)), start, 20).await.unwrap();
    assert!(of_one.records.len() == 20 && of_one.records.iter().all(|record| record.workload == "wkl7"));
    ear.expect("records of one workload", "call_record_workload|workload_id_at_id_idx").await;
    let since = Timestamp::from_millis(1_700_000_000_000 + 19_000 * 3_600_000);
    let sums = store.workload_sums(&[WorkloadId(7), WorkloadId(8)], since).await.unwrap();
    let calls: BTreeMap<i64, i64> = sums.iter().map(|sum| (sum.workload.0, sum.sum.calls)).collect();
    assert_eq!(calls, BTreeMap::from([(7, 10), (8, 10)]));
    // By the workloads or by the hours, whichever are fewer.
    ear.expect("sums of workloads", "call_hour_pkey|call_hour_hour|call_hour USING PRIMARY KEY").await;
    assert_eq!(store.workload_hours(WorkloadId(7), since).await.unwrap().len(), 10);
    ear.expect("hours of a workload", "call_hour_pkey|call_hour USING PRIMARY KEY").await;
    store.first_hour().await.unwrap().expect("an hour");
    ear.expect("the first hour", "call_hour_hour").await;
    let filter = WorkloadFilter { since: Timestamp::from_millis(0), ..WorkloadFilter::default() };
    assert_eq!(store.workloads(&filter, 50).await.unwrap().len(), 50);
    heard();
}

async fn following(ear: &Overhearing) {
    let (from, reach, found) = ear.store.unrecorded().await.unwrap();
    assert!(found.len() > 9 && reach.is_some_and(|to| to > from));
    ear.expect("deferrals that are not recorded", "feed_pkey|feed USING INTEGER PRIMARY KEY").await;
    if matches!(ear.db.raw, Raw::Sqlite(_)) {
        let before = Timestamp::from_millis(1_700_000_011_000);
        assert_eq!(ear.store.forget_records(before, 100).await.unwrap(), 10);
        ear.expect("forgetting records", "call_record USING PRIMARY KEY").await;
    } else {
        assert_eq!(ear.store.forget_records(Timestamp::from_millis(1_700_010_000_000), 100).await.unwrap(), 1);
    }
}
