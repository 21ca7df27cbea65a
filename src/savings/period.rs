//! The days that a report is about.

use std::time::Duration;

use crate::clock::{Day, Timestamp};
use crate::domain::units::parse_duration;

/// What is reported on where nothing else is asked for.
const USUAL: &str = "30d";

/// No report is about more days than this: nobody has a gateway for longer.
const DAYS_MAX: i64 = 3_660;

/// Whole days in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first.
    pub from: Day,
    /// The first that is not among them any more.
    pub until: Day,
}

impl Period {
    /// The days that are asked for: `month` as `2026-11`; or from `since` on, which is a day, an instant, or how long ago
    /// that is, to the end of today. The error says what is allowed.
    pub fn read(since: Option<&str>, month: Option<&str>, now: Timestamp) -> Result<Self, String> {
        let until = Day::of(now).plus(1);
        match (since, month) {
            (Some(_), Some(_)) => Err("since and month exclude each other".to_owned()),
            (None, Some(month)) => {
                let days = Day::of_month(month).ok_or("month must be a month such as 2026-11")?;
                Ok(Self { from: days.0, until: days.1 })
            }
            (since, None) => {
                let from = day(since.unwrap_or(USUAL), now).filter(|from| (0..=DAYS_MAX).contains(&(until.0 - from.0)));
                let from =
                    from.ok_or("since must be a duration such as 30d, a day such as 2026-11-01, or an RFC 3339 time")?;
                Ok(Self { from, until })
            }
        }
    }

    /// Its days, in their order.
    pub fn days(self) -> impl Iterator<Item = Day> {
        (self.from.0..self.until.0).map(Day)
    }
}

/// The day that a text means; a duration means the day so long ago.
fn day(text: &str, now: Timestamp) -> Option<Day> {
    let ago = |ago: Duration| Day::of(now.minus(ago));
    let instant = || Timestamp::parse_rfc3339(text).map(Day::of);
    Day::parse(text).or_else(instant).or_else(|| parse_duration(text).map(ago))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(since: Option<&str>, month: Option<&str>) -> Option<(String, String)> {
        let now = Timestamp::parse_rfc3339("2026-11-22T12:20:00Z").unwrap();
        let period = Period::read(since, month, now).ok()?;
        Some((period.from.to_string(), period.until.to_string()))
    }

    #[test]
    fn a_period_is_whole_days() {
        let days = |from: &str, until: &str| Some((from.to_owned(), until.to_owned()));
        assert_eq!(read(None, None), days("2026-10-23", "2026-11-23"));
        assert_eq!(read(Some("7d"), None), days("2026-11-15", "2026-11-23"));
        assert_eq!(read(Some("12h20m"), None), days("2026-11-22", "2026-11-23"));
        assert_eq!(read(Some("2026-11-01"), None), days("2026-11-01", "2026-11-23"));
        assert_eq!(read(Some("2026-11-01T23:30:00-02:00"), None), days("2026-11-02", "2026-11-23"));
        assert_eq!(read(None, Some("2026-02")), days("2026-02-01", "2026-03-01"));
        assert_eq!(read(Some("2026-11-22"), None), days("2026-11-22", "2026-11-23"));
    }

    #[test]
    fn what_is_no_period_is_refused() {
        for since in ["7", "yesterday", "2026-11", "2026-11-24", "3660d", ""] {
            assert_eq!(read(Some(since), None), None, "{since}");
        }
        for month in ["november", "2026-13", "2026-1", ""] {
            assert_eq!(read(None, Some(month)), None, "{month}");
        }
        assert_eq!(read(Some("7d"), Some("2026-11")), None);
    }
}
