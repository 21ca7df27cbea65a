//! The run rate: what a month costs if the days go on as they were.
//!
//! A month has 30 days. The rate is the mean of the full days; its spread is that of the quietest and the
//! busiest seven days in a row, since a week has all the kinds of days that there are.

use serde::Serialize;

use crate::domain::money::NanoUsd;

/// Days of a month, as the inventory counts them too.
const MONTH: i64 = 30;

/// Days in a row that the spread is taken from.
const WEEK: usize = 7;

/// What a month comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RunRate {
    /// By the mean of the full days.
    pub month: NanoUsd,
    /// By the quietest seven days in a row; none where there are no seven.
    pub low: Option<NanoUsd>,
    /// By the busiest seven days in a row.
    pub high: Option<NanoUsd>,
}

impl RunRate {
    /// From the amount of each full day; none without any.
    pub fn of(days: &[NanoUsd]) -> Option<Self> {
        let month = |some: &[NanoUsd]| {
            let sum: NanoUsd = some.iter().copied().sum();
            sum.times(MONTH, i64::try_from(some.len()).unwrap_or(i64::MAX))
        };
        let weeks = || days.windows(WEEK).map(month);
        (!days.is_empty()).then(|| Self { month: month(days), low: weeks().min(), high: weeks().max() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(days: &[i64]) -> Option<RunRate> {
        RunRate::of(&days.iter().map(|amount| NanoUsd(*amount)).collect::<Vec<_>>())
    }

    #[test]
    fn a_month_is_thirty_such_days() {
        let steady = NanoUsd(1_200 * 30);
        assert_eq!(rate(&[1_200; 7]), Some(RunRate { month: steady, low: Some(steady), high: Some(steady) }));
        assert_eq!(rate(&[1_200; 3]), Some(RunRate { month: steady, low: None, high: None }));
        assert_eq!(rate(&[]), None);
    }

    #[test]
    fn the_spread_is_that_of_the_quietest_and_the_busiest_week() {
        // Weekends do not widen it: each week has one.
        let week = [840, 840, 840, 840, 840, 0, 0];
        let two: Vec<i64> = [week, week].concat();
        let month = NanoUsd(600 * 30);
        assert_eq!(rate(&two), Some(RunRate { month, low: Some(month), high: Some(month) }));
        let growing: Vec<i64> = [week, week.map(|amount| 2 * amount)].concat();
        let RunRate { month, low, high } = rate(&growing).unwrap();
        assert_eq!((low, month, high), (Some(NanoUsd(18_000)), NanoUsd(27_000), Some(NanoUsd(36_000))));
    }
}
