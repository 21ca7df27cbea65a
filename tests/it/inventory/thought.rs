//! What is thought of some calls.

use offpeak::domain::price::PriceTable;
use offpeak::domain::record::CallRecord;
use offpeak::inventory::{Assessment, Collector, Workload, assess};

use super::month;

/// The workloads that the month's calls make, each with what is thought of it.
pub(super) fn assessed<'a>(calls: impl IntoIterator<Item = &'a CallRecord>) -> Vec<(Workload, Assessment)> {
    let prices = PriceTable::built_in().unwrap();
    let now = month::window().to;
    let mut collector = Collector::new(&prices, now);
    for call in calls {
        collector.add(call);
    }
    let workloads = collector.finish(Some(month::window()));
    workloads
        .into_iter()
        .map(|workload| {
            let assessment = assess(&workload, &prices, now);
            (workload, assessment)
        })
        .collect()
}

/// A call as the export of a program has it that sees no bodies.
pub(super) fn without_shape(call: &CallRecord) -> CallRecord {
    CallRecord {
        request_bytes: 0,
        answer_bytes: 0,
        reader_wait_ms: 0,
        hung_up: false,
        retries: 0,
        messages: 0,
        tools: 0,
        tool_turn: false,
        tool_stop: false,
        system_hash: 0,
        tools_hash: 0,
        prefix_bytes: 0,
        ..call.clone()
    }
}
