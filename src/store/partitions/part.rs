//! What one partition holds, and how it is called.

use crate::clock::Day;
use crate::domain::id::DeferralId;

/// What one partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// All from before a day: what a table held when it was partitioned.
    Until(Day),
    /// One day.
    Day(Day),
}

impl Part {
    /// The first day behind it.
    pub(super) fn end(self) -> Day {
        match self {
            Self::Until(day) => day,
            Self::Day(day) => day.plus(1),
        }
    }

    /// The name of its table: the date is what an operator looks for.
    pub(super) fn name(self, table: &str) -> String {
        let digits = |day: Day| day.to_string().replace('-', "");
        match self {
            Self::Until(day) => format!("{table}_until_{}", digits(day)),
            Self::Day(day) => format!("{table}_{}", digits(day)),
        }
    }

    pub(super) fn of_name(table: &str, name: &str) -> Option<Self> {
        let rest = name.strip_prefix(table)?.strip_prefix('_')?;
        let (kind, digits): (fn(Day) -> Self, &str) = match rest.strip_prefix("until_") {
            Some(digits) => (Self::Until, digits),
            None => (Self::Day, rest),
        };
        let is_date = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let date = is_date.then(|| format!("{}-{}-{}", &digits[..4], &digits[4..6], &digits[6..]))?;
        Day::parse(&date).map(kind)
    }

    /// The ids of the deferrals whose bodies it holds: from the first to before the second.
    pub(super) fn ids(self) -> (DeferralId, DeferralId) {
        let first = match self {
            Self::Until(_) => DeferralId(uuid::Uuid::nil()),
            Self::Day(day) => DeferralId::first_at(day.start()),
        };
        (first, DeferralId::first_at(self.end().start()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_part_reads_back_from_its_name() {
        assert_eq!(Part::Day(Day(20_782)).name("call_record"), "call_record_20261125");
        assert_eq!(Part::Until(Day(20_782)).name("payload"), "payload_until_20261125");
        for day in [0, 1, 20_782, 40_000].map(Day) {
            for part in [Part::Day(day), Part::Until(day)] {
                assert_eq!(Part::of_name("outcome", &part.name("outcome")), Some(part));
            }
        }
        for other in
            ["outcome", "outcome_pkey", "outcome_2026112", "outcome_20261332", "outcome_until_", "payload_20261125"]
        {
            assert_eq!(Part::of_name("outcome", other), None, "{other}");
        }
    }

    #[test]
    fn the_ids_of_a_part_are_those_made_on_its_days() {
        let id = |millis| DeferralId::new(Timestamp::from_millis(millis));
        let (first, end) = Part::Day(Day(1)).ids();
        assert!(id(86_399_999) < first && first <= id(86_400_000));
        assert!(id(172_799_999) < end && end <= id(172_800_000));
        assert_eq!(Part::Until(Day(2)).ids(), (DeferralId(uuid::Uuid::nil()), end));
    }
}
