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

/// A day in UTC, counted from the Unix epoch; shown as `2026-11-22`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i64);

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1_000;

impl Day {
    /// The day of an instant.
    pub const fn of(at: Timestamp) -> Self {
        Self(at.0.div_euclid(DAY_MILLIS))
    }

    /// Its first instant.
    pub const fn start(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(DAY_MILLIS))
    }

    /// Reads `2026-11-22`, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let shaped = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let start = shaped.then(|| Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")))?;
        start.map(Self::of)
    }

    /// The first day of the month that `text` names, as `2026-11`, and that of the next month.
    pub fn of_month(text: &str) -> Option<(Self, Self)> {
        let (year, month) = text.split_once('-').filter(|(year, month)| year.len() == 4 && month.len() == 2)?;
        let (next_year, next_month) = match month.parse::<u32>().ok()? {
            12 => (year.parse::<u32>().ok()? + 1, 1),
            month => (year.parse().ok()?, month + 1),
        };
        Some((Self::parse(&format!("{text}-01"))?, Self::parse(&format!("{next_year:04}-{next_month:02}-01"))?))
    }

    /// So many days later.
    pub const fn plus(self, days: i64) -> Self {
        Self(self.0.saturating_add(days))
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.start().to_string().split('T').next().unwrap_or_default())
    }
}

impl Serialize for Day {
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
    fn days_and_months_are_those_of_utc() {
        let day = Day::parse("2026-11-22").unwrap();
        assert_eq!(
            (day.to_string().as_str(), day.start().to_string().as_str()),
            ("2026-11-22", "2026-11-22T00:00:00.000Z")
        );
        assert_eq!(Day::of(Timestamp(day.start().0 - 1)), day.plus(-1));
        assert_eq!(Day::of(Timestamp(-1)).to_string(), "1969-12-31");
        let month = |text| Day::of_month(text).map(|(first, next)| (first.to_string(), next.to_string()));
        assert_eq!(month("2024-02"), Some(("2024-02-01".into(), "2024-03-01".into())));
        assert_eq!(month("2026-12"), Some(("2026-12-01".into(), "2027-01-01".into())));
        assert_eq!(["2026-13", "2026-1", "26-01", "2026", "2026-11-01"].map(month), [const { None }; 5]);
        for wrong in ["2026-02-30", "2026-2-03", "2026-11-22T", "today", ""] {
            assert_eq!(Day::parse(wrong), None, "{wrong}");
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
