//! Gathering what is known of a workload for its assessment: sums and hours from the store, and a sample of its calls.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::money::NanoUsd;
use crate::domain::record::{CallRecord, Way};
use crate::domain::usage::Tokens;
use crate::inventory::sample::Sample;
use crate::inventory::workload::{Blocked, Hour, ModelSums, Profile, Share, Sums, Window, Workload};
use crate::store::{RecordCursor, Store, StoreError, StoredWorkload, WorkloadSum};

/// So many calls of a workload are looked at. A month of a call every ten minutes is looked at whole.
const CALLS_MAX: u64 = 4_608;

/// Of more calls so many runs are looked at, from all over the window, each long enough to see what follows on what.
const RUNS: u64 = CALLS_MAX / RUN;
const RUN: u64 = 64;

/// Records on one page.
const PAGE: u32 = 1_000;

const HOUR: Duration = Duration::from_hours(1);

/// Values of one kind that a profile names.
const SHARES_MAX: usize = 16;

/// Everything that the assessment of a workload looks at.
pub(super) async fn gather(store: &Store, stored: &StoredWorkload, window: Window) -> Result<Workload, StoreError> {
    let sums = add_up(&store.workload_sums(&[stored.id], window.from).await?);
    let hours = store.workload_hours(stored.id, window.from).await?;
    let hours: Vec<Hour> = hours.into_iter().map(|(at, calls)| Hour { at, calls }).collect();
    let runs = if sums.calls <= CALLS_MAX {
        vec![all(store, stored, window).await?]
    } else {
        some(store, stored, &hours).await?
    };
    let seen: u64 = runs.iter().map(|run| run.len() as u64).sum();
    let sample = Sample::of(runs.iter().map(Vec::as_slice), seen >= sums.calls);
    Ok(Workload { profile: profile(stored, &sums, &runs), window, sums, hours, sample })
}

/// All calls, in order.
async fn all(store: &Store, stored: &StoredWorkload, window: Window) -> Result<Vec<CallRecord>, StoreError> {
    let mut calls = Vec::new();
    let mut next = Some(RecordCursor::before(window.from));
    while let Some(cursor) = next {
        let page = store.records(Some(stored.id), cursor, PAGE).await?;
        calls.extend(page.records);
        next = page.next.filter(|_| (calls.len() as u64) < CALLS_MAX);
    }
    Ok(calls)
}

/// Runs that begin after as many calls each.
async fn some(store: &Store, stored: &StoredWorkload, hours: &[Hour]) -> Result<Vec<Vec<CallRecord>>, StoreError> {
    let mut runs: Vec<Vec<CallRecord>> = Vec::new();
    let mut end = Timestamp::from_millis(i64::MIN);
    for start in starts(hours, RUNS) {
        // Where records are kept no longer, the first that are come again and again.
        let start = start.max(end.plus(Duration::from_millis(1)));
        let page = store.records(Some(stored.id), RecordCursor::before(start), RUN as u32).await?;
        let Some(last) = page.records.last() else { break };
        end = last.at;
        runs.push(page.records);
    }
    Ok(runs)
}

/// Instants between which as many calls came each, as far as the hours tell.
fn starts(hours: &[Hour], count: u64) -> Vec<Timestamp> {
    let total: u64 = hours.iter().map(|hour| hour.calls).sum();
    let mut starts = Vec::new();
    let mut before = 0;
    for hour in hours {
        let after = before + hour.calls;
        while let place = starts.len() as u64 * total / count
            && place < after
            && (starts.len() as u64) < count
        {
            let into = HOUR.mul_f64((place - before) as f64 / hour.calls as f64);
            starts.push(hour.at.plus(into));
        }
        before = after;
    }
    starts
}

fn profile(stored: &StoredWorkload, sums: &Sums, runs: &[Vec<CallRecord>]) -> Profile {
    let calls = || runs.iter().flatten();
    let mut clients: Vec<Share> = Vec::new();
    for call in calls().filter(|call| !call.client.is_empty()) {
        match clients.iter().position(|share| share.name == call.client) {
            Some(place) => clients[place].calls += 1,
            None if clients.len() < SHARES_MAX => clients.push(Share { name: call.client.clone(), calls: 1 }),
            None => {}
        }
    }
    clients.sort_by_key(|share| std::cmp::Reverse(share.calls));
    let models = sums.models.iter().map(|of| Share { name: of.model.clone(), calls: of.calls });
    let tools = |pick: fn(u32, u32) -> u32| calls().map(|call| call.tools).reduce(pick).unwrap_or(0);
    Profile {
        workload: stored.name.clone(),
        tenants: vec![Share { name: stored.tenant.clone(), calls: sums.calls }],
        models: models.take(SHARES_MAX).collect(),
        clients,
        system_prefix: stored.preview.clone(),
        is_imported: false,
        tools: (tools(u32::min), tools(u32::max)),
    }
}

/// The sums of a workload, from those by model, way and what is in the way.
fn add_up(parts: &[WorkloadSum]) -> Sums {
    let mut sums = Sums::default();
    for WorkloadSum { model, way, blocked_by, sum, .. } in parts {
        let count = |figure: i64| figure.unsigned_abs();
        let (calls, live) = (count(sum.calls), NanoUsd(sum.live_nanousd));
        sums.calls += calls;
        sums.failed += if *way == Way::None { calls } else { calls - count(sum.succeeded).min(calls) };
        sums.unpriced += count(sum.unpriced);
        sums.streamed += count(sum.streamed);
        sums.hung_up += count(sum.hung_up);
        sums.retried += count(sum.retried);
        sums.tool_turns += count(sum.tool_turns);
        sums.tool_stops += count(sum.tool_stops);
        sums.slowly_read += count(sum.slowly_read);
        sums.reader_wait_ms += count(sum.reader_wait_ms);
        sums.duration_ms += count(sum.duration_ms);
        sums.paid += NanoUsd(sum.paid_nanousd);
        sums.live_price += live;
        if *way == Way::Batch {
            sums.batched += calls;
        } else {
            sums.served_live_price += live;
            if blocked_by.is_empty() {
                sums.fees += NanoUsd(sum.fees_nanousd);
            }
        }
        let tokens = tokens_of(sum);
        sums.tokens = sums.tokens.plus(&tokens);
        add_model(&mut sums.models, model, calls, &tokens);
        add_blocked(&mut sums.blocked, blocked_by, calls, live);
    }
    sums.models.sort_by_key(|of| std::cmp::Reverse(of.calls));
    sums
}

/// The tokens of a sum.
pub(super) fn tokens_of(sum: &crate::domain::tally::Tally) -> Tokens {
    Tokens {
        input: sum.input_tokens.unsigned_abs(),
        output: sum.output_tokens.unsigned_abs(),
        cache_write_5m: sum.cache_write_5m_tokens.unsigned_abs(),
        cache_write_1h: sum.cache_write_1h_tokens.unsigned_abs(),
        cache_read: sum.cache_read_tokens.unsigned_abs(),
    }
}

fn add_model(models: &mut Vec<ModelSums>, model: &str, calls: u64, tokens: &Tokens) {
    match models.iter_mut().find(|of| of.model == model) {
        Some(of) => (of.calls, of.tokens) = (of.calls + calls, of.tokens.plus(tokens)),
        None => models.push(ModelSums { model: model.to_owned(), calls, tokens: *tokens }),
    }
}

fn add_blocked(blocked: &mut Vec<Blocked>, reason: &str, calls: u64, live_price: NanoUsd) {
    match blocked.iter_mut().find(|one| one.reason == reason) {
        _ if reason.is_empty() => {}
        Some(one) => (one.calls, one.live_price) = (one.calls + calls, one.live_price + live_price),
        None => blocked.push(Blocked { reason: reason.to_owned(), calls, live_price }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_begin_where_calls_are() {
        let at = |hour: i64| Timestamp::from_millis(hour * 3_600_000);
        let hours = [Hour { at: at(0), calls: 10 }, Hour { at: at(5), calls: 30 }];
        let starts = starts(&hours, 8);
        assert_eq!(starts.len(), 8);
        assert_eq!(starts[..3], [at(0), at(0).plus(HOUR / 2), at(5)]);
        assert!(starts.is_sorted() && starts[7] < at(6));
        assert!(super::starts(&[], 8).is_empty());
    }

    #[test]
    fn ways_and_what_blocks_are_told_apart() {
        let part = |way, blocked_by: &str| WorkloadSum {
            workload: crate::domain::workload::WorkloadId(1),
            model: "m".into(),
            way,
            blocked_by: blocked_by.into(),
            sum: crate::domain::tally::Tally {
                calls: 3,
                succeeded: 2,
                live_nanousd: 10,
                fees_nanousd: 1,
                input_tokens: 4,
                ..Default::default()
            },
        };
        let sums = add_up(&[part(Way::Live, ""), part(Way::Live, "thread"), part(Way::Batch, ""), part(Way::None, "")]);
        assert_eq!((sums.calls, sums.failed, sums.batched, sums.tokens.input), (12, 6, 3, 16));
        assert_eq!((sums.live_price, sums.served_live_price), (NanoUsd(40), NanoUsd(30)));
        // Of the call that is live and of that which came to nothing.
        assert_eq!(sums.fees, NanoUsd(2));
        assert_eq!(sums.blocked, [Blocked { reason: "thread".into(), calls: 3, live_price: NanoUsd(10) }]);
        assert_eq!(sums.models.len(), 1);
    }
}
