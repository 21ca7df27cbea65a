//! Which lanes are due: the oldest call has lingered, or a batch is full, or somebody asked.

use crate::clock::Timestamp;
use crate::flush::Settings;
use crate::provider::Envelope;
use crate::store::{Backlog, LaneId};

/// The lanes to be put into batches now, those that wait longest first.
pub(super) fn due(
    backlogs: &[Backlog],
    settings: &Settings,
    flush_mark: Option<Timestamp>,
    now: Timestamp,
) -> Vec<LaneId> {
    let is_due = |backlog: &&Backlog| {
        backlog.oldest.plus(settings.linger) <= now
            || backlog.count >= settings.max_requests as u64
            || Envelope::length(backlog.count, backlog.bytes) >= settings.max_bytes
            || flush_mark.is_some_and(|mark| backlog.oldest <= mark)
    };
    let mut due: Vec<&Backlog> = backlogs.iter().filter(is_due).collect();
    due.sort_by_key(|backlog| backlog.oldest);
    due.into_iter().map(|backlog| backlog.lane).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: i64 = 1_000_000;

    fn is_due(count: u64, bytes: u64, waited: i64, flush_mark: Option<i64>) -> bool {
        let settings = Settings {
            linger: Duration::from_secs(60),
            max_requests: 100,
            max_bytes: 10_000,
            reconcile_wait: Duration::from_secs(120),
            lease: Duration::from_secs(30),
        };
        let oldest = Timestamp::from_millis(NOW - waited);
        let backlog = Backlog { lane: LaneId::test(1), count, bytes, oldest };
        let mark = flush_mark.map(Timestamp::from_millis);
        !due(&[backlog], &settings, mark, Timestamp::from_millis(NOW)).is_empty()
    }

    #[test]
    fn a_lane_is_due_when_its_oldest_call_has_lingered() {
        assert!(!is_due(1, 10, 59_999, None));
        assert!(is_due(1, 10, 60_000, None));
    }

    #[test]
    fn a_lane_is_due_when_a_batch_is_full() {
        assert!(!is_due(99, 10, 0, None));
        assert!(is_due(100, 10, 0, None));
        assert!(!is_due(1, 9_900, 0, None));
        assert!(is_due(1, 9_990, 0, None));
    }

    #[test]
    fn a_flush_makes_due_what_was_queued_before_it() {
        assert!(is_due(1, 10, 5, Some(NOW - 5)));
        assert!(!is_due(1, 10, 5, Some(NOW - 6)));
    }

    #[test]
    fn the_longest_waiting_lane_comes_first() {
        let backlog = |lane, oldest| Backlog {
            lane: LaneId::test(lane),
            count: 100,
            bytes: 0,
            oldest: Timestamp::from_millis(oldest),
        };
        let settings = Settings {
            linger: Duration::ZERO,
            max_requests: 100,
            max_bytes: 10_000,
            reconcile_wait: Duration::ZERO,
            lease: Duration::ZERO,
        };
        let lanes = due(&[backlog(1, 9), backlog(2, 3)], &settings, None, Timestamp::from_millis(NOW));
        assert_eq!(lanes, [LaneId::test(2), LaneId::test(1)]);
    }
}
