//! Tallies: what the calls of one hour add up to, which is kept for good when the calls themselves are forgotten.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::domain::charge::Charge;
use crate::domain::record::{CallRecord, Way};
use crate::domain::workload::WorkloadId;

/// An answer that stood still for less than this, in milliseconds, was not read slowly; it met a busy machine.
pub const SLOWLY_MILLIS: u64 = 250;

/// A call as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What is kept of it.
    pub record: CallRecord,
    /// Which call of its instant it is.
    pub id: i64,
    /// Its workload.
    pub workload: WorkloadId,
    /// Whether its body or its answer went unread, for want of time or room.
    pub is_unread: bool,
    /// What it is in the ledger with; nothing if it was deferred, since then it has an entry there already.
    pub charges: Vec<Charge>,
}

/// Which calls a tally is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TallyKey {
    /// Their workload.
    pub workload: WorkloadId,
    /// When their hour began.
    pub hour: Timestamp,
    /// The model that they asked for.
    pub model: String,
    /// What became of them.
    pub way: Way,
    /// Why the Batches API could not take them; empty if it could.
    pub blocked_by: String,
}

/// What they add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Tally {
    /// Who called.
    pub tenant: String,
    /// All of them.
    pub calls: i64,
    /// Those that went unread, so that what they took is not known.
    pub unread: i64,
    /// Those without a known price.
    pub unpriced: i64,
    /// Those with a status below 300.
    pub succeeded: i64,
    /// Those with a 429.
    pub limited: i64,
    /// Those with another status below 500.
    pub refused: i64,
    /// Those with a status from 500 on.
    pub broken: i64,
    /// Those without a status.
    pub unanswered: i64,
    /// Those that asked for a stream.
    pub streamed: i64,
    /// Those whose client left before the answer's end.
    pub hung_up: i64,
    /// Those that say that they have been tried before.
    pub retried: i64,
    /// Turns within a tool loop.
    pub tool_turns: i64,
    /// Answers that stopped to use a tool.
    pub tool_stops: i64,
    /// Those whose answer stood still because its reader did not take it.
    pub slowly_read: i64,
    /// Tokens by class.
    pub input_tokens: i64,
    /// Written by the model.
    pub output_tokens: i64,
    /// Written to the cache for five minutes.
    pub cache_write_5m_tokens: i64,
    /// Written to the cache for an hour.
    pub cache_write_1h_tokens: i64,
    /// Read from the cache.
    pub cache_read_tokens: i64,
    /// What was paid, in billionths of a dollar.
    pub paid_nanousd: i64,
    /// What it costs live, in billionths of a dollar.
    pub live_nanousd: i64,
    /// The part of either that no batch lowers, in billionths of a dollar.
    pub fees_nanousd: i64,
    /// Bytes of requests.
    pub request_bytes: i64,
    /// Bytes of answers.
    pub answer_bytes: i64,
    /// Bytes of tools and system prompts.
    pub prefix_bytes: i64,
    /// From arrival to the end of the answer, in milliseconds.
    pub duration_ms: i64,
    /// From arrival to the first byte of the answer, in milliseconds.
    pub first_byte_ms: i64,
    /// How long answers stood still because of their reader, in milliseconds.
    pub reader_wait_ms: i64,
}

/// Adds calls up, hour by hour, always in the same order.
pub fn tally<'a>(calls: impl IntoIterator<Item = &'a Recorded>) -> BTreeMap<TallyKey, Tally> {
    let mut hours = BTreeMap::new();
    for call in calls {
        let sum: &mut Tally = hours.entry(TallyKey::of(call)).or_default();
        sum.add(call);
    }
    hours
}

impl TallyKey {
    fn of(call: &Recorded) -> Self {
        let record = &call.record;
        Self {
            workload: call.workload,
            hour: record.at.hour(),
            model: record.model.clone(),
            way: record.way,
            blocked_by: record.blocked_by.clone().unwrap_or_default(),
        }
    }
}

impl Tally {
    /// Adds another to it.
    pub fn plus(&mut self, more: &Self) {
        self.calls += more.calls;
        self.unread += more.unread;
        self.unpriced += more.unpriced;
        self.succeeded += more.succeeded;
        self.limited += more.limited;
        self.refused += more.refused;
        self.broken += more.broken;
        self.unanswered += more.unanswered;
        self.streamed += more.streamed;
        self.hung_up += more.hung_up;
        self.retried += more.retried;
        self.tool_turns += more.tool_turns;
        self.tool_stops += more.tool_stops;
        self.slowly_read += more.slowly_read;
        self.input_tokens += more.input_tokens;
        self.output_tokens += more.output_tokens;
        self.cache_write_5m_tokens += more.cache_write_5m_tokens;
        self.cache_write_1h_tokens += more.cache_write_1h_tokens;
        self.cache_read_tokens += more.cache_read_tokens;
        self.paid_nanousd += more.paid_nanousd;
        self.live_nanousd += more.live_nanousd;
        self.fees_nanousd += more.fees_nanousd;
        self.request_bytes += more.request_bytes;
        self.answer_bytes += more.answer_bytes;
        self.prefix_bytes += more.prefix_bytes;
        self.duration_ms += more.duration_ms;
        self.first_byte_ms += more.first_byte_ms;
        self.reader_wait_ms += more.reader_wait_ms;
    }

    fn add(&mut self, call: &Recorded) {
        let record = &call.record;
        let (tokens, one) = (&record.tokens, i64::from);
        if self.tenant.is_empty() {
            self.tenant.clone_from(&record.tenant);
        }
        self.calls += 1;
        self.unread += one(call.is_unread);
        self.unpriced += one(record.cost.is_none());
        *match record.status {
            0 => &mut self.unanswered,
            1..300 => &mut self.succeeded,
            429 => &mut self.limited,
            300..429 | 430..500 => &mut self.refused,
            _ => &mut self.broken,
        } += 1;
        self.streamed += one(record.stream);
        self.hung_up += one(record.hung_up);
        self.retried += one(record.retries > 0);
        self.tool_turns += one(record.tool_turn);
        self.tool_stops += one(record.tool_stop);
        self.slowly_read += one(record.reader_wait_ms >= SLOWLY_MILLIS);
        self.input_tokens += whole(tokens.input);
        self.output_tokens += whole(tokens.output);
        self.cache_write_5m_tokens += whole(tokens.cache_write_5m);
        self.cache_write_1h_tokens += whole(tokens.cache_write_1h);
        self.cache_read_tokens += whole(tokens.cache_read);
        let (paid, live) = record.cost.unwrap_or_default();
        self.paid_nanousd += paid.0;
        self.live_nanousd += live.0;
        self.fees_nanousd += record.fees.0;
        self.request_bytes += whole(record.request_bytes);
        self.answer_bytes += whole(record.answer_bytes);
        self.prefix_bytes += whole(record.prefix_bytes);
        self.duration_ms += whole(record.duration_ms);
        self.first_byte_ms += whole(record.first_byte_ms);
        self.reader_wait_ms += whole(record.reader_wait_ms);
    }
}

/// When the last call of each workload came.
pub fn last_seen<'a>(calls: impl IntoIterator<Item = &'a Recorded>) -> BTreeMap<WorkloadId, Timestamp> {
    let mut seen = BTreeMap::new();
    for call in calls {
        let last = seen.entry(call.workload).or_insert(call.record.at);
        *last = call.record.at.max(*last);
    }
    seen
}

/// A count as the database has it. A provider that says nonsense must not make a sum of an hour overflow.
pub fn whole(count: u64) -> i64 {
    /// A thousand times what the largest call comes to.
    const MAX: u64 = 1_000_000_000_000;
    i64::try_from(count.min(MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::NanoUsd;
    use crate::domain::usage::Tokens;

    const HOUR_MILLIS: i64 = 3_600_000;

    fn call(at: i64, status: u16, way: Way) -> Recorded {
        let record = CallRecord {
            at: Timestamp::from_millis(at),
            tenant: "t".into(),
            status,
            way,
            model: "m".into(),
            tokens: Tokens { input: 7, ..Tokens::default() },
            cost: Some((NanoUsd(2), NanoUsd(4))),
            fees: NanoUsd(1),
            reader_wait_ms: 250,
            retries: 1,
            ..CallRecord::default()
        };
        Recorded { record, id: 0, workload: WorkloadId(1), is_unread: false, charges: Vec::new() }
    }

    #[test]
    fn calls_are_added_up_by_hour_and_way() {
        let calls = [
            call(HOUR_MILLIS, 200, Way::Live),
            call(2 * HOUR_MILLIS - 1, 429, Way::Live),
            call(2 * HOUR_MILLIS, 529, Way::Live),
            call(HOUR_MILLIS, 0, Way::Batch),
        ];
        let hours = tally(&calls);
        let of = |hour: i64, way| {
            let found = hours.iter().find(|(key, _)| key.hour.as_millis() == hour * HOUR_MILLIS && key.way == way);
            found.unwrap().1.clone()
        };
        assert_eq!(hours.len(), 3);
        let first = of(1, Way::Live);
        assert_eq!((first.calls, first.succeeded, first.limited, first.refused), (2, 1, 1, 0));
        assert_eq!((first.input_tokens, first.paid_nanousd, first.live_nanousd, first.fees_nanousd), (14, 4, 8, 2));
        assert_eq!((first.slowly_read, first.reader_wait_ms, first.retried), (2, 500, 2));
        assert_eq!((of(2, Way::Live).broken, of(1, Way::Batch).unanswered), (1, 1));
        assert_eq!(first.tenant, "t");
    }

    #[test]
    fn nonsense_does_not_overflow() {
        let mut odd = call(0, 200, Way::Live);
        odd.record.tokens.input = u64::MAX;
        let hours = tally(&vec![odd; 1_000]);
        assert!(hours.values().all(|sum| sum.input_tokens > 0));
    }
}
