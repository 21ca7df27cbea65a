//! The time: one clock for the whole process, which a test can hold still and move by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Serialize, Serializer};

/// An instant in whole milliseconds since the Unix epoch; shown as RFC 3339 in UTC.
///
/// Milliseconds, because that is what a UUIDv7 orders by and what both database engines keep exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads an RFC 3339 time with an offset; finer digits than milliseconds are dropped.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        // RFC 3339 wants a full date, a time with seconds, and an offset; the parser alone is more lenient.
        let bytes = text.as_bytes();
        let shaped = bytes.len() >= 20
            && bytes[4] == b'-'
            && bytes[7] == b'-'
            && matches!(bytes[10], b'T' | b't' | b' ')
            && bytes[13] == b':'
            && bytes[16] == b':'
            && !text.contains('[');
        if !shaped {
            return None;
        }
        text.parse::<jiff::Timestamp>().ok().map(|at| Self(at.as_millisecond()))
    }

    /// This instant and `duration`, held at the end of time where it would overflow.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This instant less `duration`, held at the beginning of time where it would overflow.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The beginning of its hour, in UTC.
    pub fn hour(self) -> Self {
        const HOUR_MILLIS: i64 = 3_600_000;
        Self(self.0.saturating_sub(self.0.rem_euclid(HOUR_MILLIS)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => f.write_str(if self.0 < 0 { "-infinity" } else { "infinity" }),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Tells the time: the machine's, or one that is moved by hand.
#[derive(Clone, Debug)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still until [`Clock::advance`] moves it; its clones move with it.
    pub fn manual(start: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicI64::new(start.0))))
    }

    /// Now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else asks")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Some(held) => Timestamp(held.load(Ordering::SeqCst)),
            None => Timestamp(jiff::Timestamp::now().as_millisecond()),
        }
    }

    /// Moves a manual clock on; does nothing to the machine's.
    pub fn advance(&self, by: Duration) {
        if let Some(held) = &self.0 {
            held.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// Sets a manual clock back, as an operator might the machine's; does nothing to the machine's.
    pub fn set_back(&self, by: Duration) {
        if let Some(held) = &self.0 {
            held.fetch_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_milliseconds_in_utc() {
        assert_eq!(Timestamp::from_millis(1_795_350_000_000).to_string(), "2026-11-22T12:20:00.000Z");
        assert_eq!(Timestamp::from_millis(1).to_string(), "1970-01-01T00:00:00.001Z");
    }

    #[test]
    fn reads_rfc3339_and_nothing_else() {
        let at = |text| Timestamp::parse_rfc3339(text).map(Timestamp::as_millis);
        assert_eq!(at("1970-01-01T00:00:01Z"), Some(1_000));
        assert_eq!(at("1970-01-01T01:00:01.5+01:00"), Some(1_500));
        for wrong in ["1970-01-01", "1970-01-01T00:00:01", "1970-01-01T00:00Z", "1970-13-01T00:00:00Z", "now", ""] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Clock::manual(Timestamp::from_millis(5));
        let twin = clock.clone();
        clock.advance(Duration::from_secs(1));
        assert_eq!(twin.now(), Timestamp::from_millis(1_005));
        clock.set_back(Duration::from_secs(1));
        assert_eq!(twin.now(), Timestamp::from_millis(5));
    }
}
