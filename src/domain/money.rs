//! Money: whole billionths of a US dollar, so that half the price of one cached token is still a whole number.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Digits behind the point.
const DECIMALS: usize = 9;

/// An amount in billionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct NanoUsd(pub i64);

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads dollars as they are written: `12`, `0.125`, `-3.50`; at most nine decimals, and none but zeros behind them.
    pub fn parse_dollars(text: &str) -> Option<Self> {
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let (kept, beyond) = fraction.split_at_checked(DECIMALS).unwrap_or((fraction, ""));
        if !plain(whole) || !plain(fraction) || beyond.bytes().any(|byte| byte != b'0') {
            return None;
        }
        let nanos: i64 = format!("{kept:0<DECIMALS$}").parse().ok()?;
        whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos).map(|nanos| Self(sign * nanos))
    }

    /// Part `of` a whole, in tenths of a percent and rounded; none of nothing.
    pub fn permille_of(self, whole: Self) -> Option<i64> {
        let (part, whole) = (i128::from(self.0) * 1_000, i128::from(whole.0));
        if whole == 0 {
            return None;
        }
        let half = if (part < 0) == (whole < 0) { whole / 2 } else { -whole / 2 };
        i64::try_from((part + half) / whole).ok()
    }

    /// This amount times a fraction, rounded towards nothing.
    pub fn times(self, by: i64, over: i64) -> Self {
        let product = i128::from(self.0) * i128::from(by) / i128::from(over.max(1));
        Self(i64::try_from(product).unwrap_or(if product < 0 { i64::MIN } else { i64::MAX }))
    }
}

/// Written as dollars, exactly: `0.0123`.
impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (dollars, nanos) = (self.0.unsigned_abs() / 1_000_000_000, self.0.unsigned_abs() % 1_000_000_000);
        let fraction = format!("{nanos:09}");
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{sign}{dollars}.0"),
            digits => write!(f, "{sign}{dollars}.{digits}"),
        }
    }
}

/// A JSON number in dollars that no float has touched.
impl Serialize for NanoUsd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// Read from the digits of the number, for the same reason.
impl<'de> Deserialize<'de> for NanoUsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse_dollars(raw.get()).ok_or_else(|| D::Error::custom("an amount is not in dollars"))
    }
}

impl Add for NanoUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for NanoUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for NanoUsd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self(0), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_written_exactly_and_read_back() {
        for (nanos, text) in [(0, "0.0"), (5, "0.000000005"), (12_300_000, "0.0123"), (-2_500_000_000, "-2.5")] {
            assert_eq!(NanoUsd(nanos).to_string(), text);
            assert_eq!(serde_json::to_string(&NanoUsd(nanos)).unwrap(), text);
            assert_eq!(serde_json::from_str::<NanoUsd>(text).unwrap(), NanoUsd(nanos));
        }
        assert_eq!(
            serde_json::from_str::<NanoUsd>("9007199254.740993001").unwrap(),
            NanoUsd(9_007_199_254_740_993_001)
        );
    }

    #[test]
    fn what_is_no_amount_is_not_read() {
        for (text, nanos) in [("12", 12_000_000_000), ("0.1250000000", 125_000_000), ("-0.5", -500_000_000)] {
            assert_eq!(NanoUsd::parse_dollars(text), Some(NanoUsd(nanos)), "{text}");
        }
        for wrong in ["", ".5", "5.", "1e3", "+1", "--1", "1,5", "$1", "0.0000000001", "99999999999"] {
            assert_eq!(NanoUsd::parse_dollars(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn parts_are_rounded_to_tenths_of_a_percent() {
        let part = |part, whole| NanoUsd(part).permille_of(NanoUsd(whole));
        assert_eq!([part(1, 2), part(2, 3), part(-2, 3), part(3, 2)], [Some(500), Some(667), Some(-667), Some(1_500)]);
        assert_eq!(part(1, 0), None);
        assert_eq!(NanoUsd(i64::MAX).times(30, 1), NanoUsd(i64::MAX));
        assert_eq!(NanoUsd(100).times(365, 12), NanoUsd(3_041));
    }
}
