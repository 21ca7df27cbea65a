//! Backing off: when a webhook that was not taken is tried again, and when it is given up.

use std::time::{Duration, UNIX_EPOCH};

use crate::clock::Timestamp;

/// The waits between attempts: a receiver that restarts misses nothing, and one that is down over a weekend neither.
const WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
    Duration::from_hours(24),
];

/// Up to this part of a wait is added by chance, so that those that failed together do not come back together.
const JITTER: f64 = 0.2;

/// A receiver that asks for more patience than this is tried again all the same.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// How long to wait after this attempt, counted from 1; none if it was the last. A receiver that asks for a longer wait
/// has it, within [`RETRY_AFTER_MAX`]; one that asks for a shorter one would have used up all attempts in no time.
/// `chance` is from 0 to 1.
pub(super) fn wait(attempt: u32, asked: Option<Duration>, chance: f64) -> Option<Duration> {
    let index = usize::try_from(attempt).ok()?.checked_sub(1)?;
    let usual = WAITS.get(index)?;
    let wait = asked.unwrap_or_default().min(RETRY_AFTER_MAX).max(*usual);
    Some(wait.mul_f64(1.0 + JITTER * chance))
}

/// Reads a `retry-after`: seconds, or a date.
pub(super) fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let since_epoch = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let date = Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).ok()?);
    Some(date.since(now))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(784_111_777_000);

    #[test]
    fn ten_attempts_are_made_over_three_days() {
        let waits: Vec<_> = (1..).map_while(|attempt| wait(attempt, None, 0.0)).collect();
        let seconds: Vec<_> = waits.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]);
        assert_eq!([wait(0, None, 0.0), wait(10, None, 0.0), wait(u32::MAX, None, 0.0)], [None; 3]);
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_wait() {
        let asked = |attempt, seconds| wait(attempt, Some(Duration::from_secs(seconds)), 0.0).unwrap().as_secs();
        assert_eq!([asked(1, 60), asked(1, 1), asked(2, 299), asked(2, 301)], [60, 5, 300, 301]);
        assert_eq!([asked(1, 86_401), asked(1, u64::MAX)], [86_400; 2]);
        assert_eq!(wait(10, Some(Duration::from_mins(1)), 0.0), None);
    }

    proptest! {
        #[test]
        fn chance_only_adds(attempt in 1..=9_u32, asked: Option<u32>, chance in 0.0..=1.0) {
            let asked = asked.map(|seconds| Duration::from_secs(seconds.into()));
            let (least, wait) = (wait(attempt, asked, 0.0).unwrap(), wait(attempt, asked, chance).unwrap());
            prop_assert!(wait >= least && wait <= least.mul_f64(1.2001) && wait <= Duration::from_hours(29));
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let read = |text| retry_after(text, NOW).map(|wait| wait.as_secs());
        for (text, seconds) in [
            ("0", 0),
            (" 120 ", 120),
            ("99999999999999999999", u64::MAX),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
            ("Sun, 06 Nov 1994 08:50:37 GMT", 60),
            ("Sunday, 06-Nov-94 08:50:37 GMT", 60),
            ("Sun Nov  6 08:50:37 1994", 60),
            ("Sun, 06 Nov 1994 08:00:00 GMT", 0),
        ] {
            assert_eq!(read(text), Some(seconds), "{text}");
        }
        for wrong in
            ["", "soon", "-1", "1.5", "1m", "Sun, 06 Nov 1994", "1994-11-06T08:49:37Z", "Thu, 01 Jan 1900 00:00:00 GMT"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
