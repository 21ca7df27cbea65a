//! Values as exports write them: times, amounts and counts.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::clock::Timestamp;
use crate::domain::money::NanoUsd;

/// A time: RFC 3339, the same without an offset (which is UTC), a day, or a number of seconds, milliseconds,
/// microseconds or nanoseconds since the epoch.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.len() >= 9 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return epoch(text);
    }
    if let Some(at) = Timestamp::parse_rfc3339(text) {
        return Some(at);
    }
    match text.len() {
        10 => Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")),
        16 => Timestamp::parse_rfc3339(&format!("{text}:00Z")),
        // As PostgreSQL writes an offset: `2026-11-25 10:00:00+00`.
        22.. if text.as_bytes()[text.len() - 3] == b'+' || text.as_bytes()[text.len() - 3] == b'-' => {
            Timestamp::parse_rfc3339(&format!("{text}:00"))
        }
        19.. => Timestamp::parse_rfc3339(&format!("{}Z", text.trim_end_matches(" UTC"))),
        _ => None,
    }
}

/// A number since the epoch; its size tells its unit.
fn epoch(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    // Of the years that calls can be from, no unit's numbers are another's.
    let digits = whole.checked_ilog10().unwrap_or(0);
    let millis = match digits {
        0..=10 => {
            let thousandths: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
            whole * 1_000 + thousandths
        }
        11..=13 => whole,
        14..=16 => whole / 1_000,
        _ => whole / 1_000_000,
    };
    Some(Timestamp::from_millis(millis))
}

/// A count; fractions are cut, what is negative is 0.
pub(super) fn count(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let number: f64 = text.replace(',', "").parse().ok()?;
    number.is_finite().then_some(number.max(0.0) as u64)
}

/// An amount of dollars, to the billionth, that no float has touched.
pub(super) fn dollars(text: &str) -> Option<NanoUsd> {
    let text = text.trim().trim_start_matches('$');
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, digits) = digits.strip_prefix('-').map_or((1, digits), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all: String = whole.chars().filter(|c| *c != ',').chain(fraction.chars()).collect();
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Where the digits end, in billionths.
    let places = 9 + exponent - i32::try_from(fraction.len()).ok()?;
    let kept = all.len().saturating_sub(usize::try_from(-places).unwrap_or(0));
    let number: i64 = if kept == 0 { 0 } else { all[..kept].parse().ok()? };
    let nanos = number.checked_mul(10i64.checked_pow(u32::try_from(places.max(0)).ok()?)?)?;
    Some(NanoUsd(sign * nanos))
}

/// A hash of something that is to be known again, but not to be kept; never 0, which means that there is none.
pub(super) fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_all_their_forms() {
        let noon = Some(Timestamp::from_millis(1_795_608_000_000));
        for text in [
            "2026-11-25T12:00:00Z",
            "2026-11-25T12:00:00.000+00:00",
            "2026-11-25 12:00:00",
            "2026-11-25T12:00:00.000000",
            "2026-11-25 12:00:00.000000+00",
            "2026-11-25 14:00:00+02",
            "2026-11-25 12:00",
            "2026-11-25 12:00:00.000 UTC",
            "1795608000",
            "1795608000.000",
            "1795608000000",
            "1795608000000000000",
        ] {
            assert_eq!(time(text), noon, "{text}");
        }
        assert_eq!(time("2026-11-25"), Timestamp::parse_rfc3339("2026-11-25T00:00:00Z"));
        for wrong in ["", "yesterday", "25.11.2026", "12:00", "2026-13-01 00:00:00", "äääääääääääääääää+0"]
        {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn amounts_are_exact() {
        for (text, nanos) in [
            ("0", 0),
            ("1", 1_000_000_000),
            ("0.0177072", 17_707_200),
            ("1.095e-05", 10_950),
            ("2E3", 2_000_000_000_000),
            ("-0.5", -500_000_000),
            ("$1,234.50", 1_234_500_000_000),
            ("0.1234567894", 123_456_789),
            ("1e-12", 0),
        ] {
            assert_eq!(dollars(text), Some(NanoUsd(nanos)), "{text}");
        }
        for wrong in ["", "free", "1.2.3", "1e", "--1", "99999999999999999999", "1e99"] {
            assert_eq!(dollars(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn counts_may_be_written_as_fractions() {
        assert_eq!(
            [count("12"), count("12.7"), count("1,200"), count("-3")],
            [Some(12), Some(12), Some(1_200), Some(0)]
        );
        assert_eq!([count(""), count("many"), count("NaN")], [None, None, None]);
    }
}
