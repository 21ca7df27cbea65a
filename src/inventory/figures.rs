//! Figures for people: shares, counts, amounts and lengths of time.

use crate::domain::money::NanoUsd;

/// A share between 0 and 1 in whole percent.
pub(super) fn percent(share: f64) -> u8 {
    (share.clamp(0.0, 1.0) * 100.0).round() as u8
}

/// One number as a share of another; 0 of nothing.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A length of time for people, in one unit or two.
pub(super) fn span(millis: f64) -> String {
    let seconds = millis / 1_000.0;
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1_000.0),
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5_400.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

/// A count for people: `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An amount for people, in whole cents: `$1,344.04`. What is less than one is said to be.
pub fn dollars(amount: NanoUsd) -> String {
    let cents = amount.0.unsigned_abs().saturating_add(5_000_000) / 10_000_000;
    let sign = if amount.0 < 0 { "-" } else { "" };
    match cents {
        0 if amount.0 > 0 => "< $0.01".to_owned(),
        cents => format!("{sign}${}.{:02}", count(cents / 100), cents % 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_people_write_them() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(count(number), text);
        }
        for (nanos, text) in [
            (0, "$0.00"),
            (1, "< $0.01"),
            (4_999_999, "< $0.01"),
            (5_000_000, "$0.01"),
            (1_344_035_272_000, "$1,344.04"),
            (-2_500_000_000, "-$2.50"),
        ] {
            assert_eq!(dollars(NanoUsd(nanos)), text);
        }
        for (millis, text) in [(40.0, "40 ms"), (62_000.0, "62 s"), (600_000.0, "10 min"), (7_200_000.0, "2 h")] {
            assert_eq!(span(millis), text);
        }
        assert_eq!((percent(0.005), percent(1.7), share(1, 4), share(1, 0)), (1, 100, 0.25, 0.0));
    }
}
