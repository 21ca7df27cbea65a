//! Amounts and counts as people read them: all amounts of one report with as many decimals.

use crate::domain::money::NanoUsd;

/// How many decimals dollars are shown with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dollars(usize);

impl Dollars {
    /// As many as the largest amount asks for: a report of cents would show nothing in whole cents.
    pub(super) fn for_largest(amount: NanoUsd) -> Self {
        match amount.0.unsigned_abs() / 1_000_000_000 {
            0 => Self(6),
            1..100 => Self(4),
            _ => Self(2),
        }
    }

    /// `$1,234.56`, rounded.
    pub(super) fn show(self, amount: NanoUsd) -> String {
        let step = 10u64.pow(9 - u32::try_from(self.0).unwrap_or(9));
        let rounded = (amount.0.unsigned_abs() + step / 2) / step * step;
        let sign = if amount.0 < 0 && rounded > 0 { "-" } else { "" };
        let fraction = format!("{:09}", rounded % 1_000_000_000);
        let dollars = grouped(rounded / 1_000_000_000);
        format!("{sign}${dollars}.{}", fraction.get(..self.0).unwrap_or(&fraction))
    }
}

/// Digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// So many of something.
pub(super) fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Tenths of a percent.
pub(super) fn percent(permille: Option<i64>) -> String {
    permille.map_or_else(
        || "-".to_owned(),
        |permille| {
            let sign = if permille < 0 { "-" } else { "" };
            format!("{sign}{}.{}%", permille.unsigned_abs() / 10, permille.unsigned_abs() % 10)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_amounts_have_the_decimals_that_the_largest_asks_for() {
        let show = |largest: i64, amount: i64| Dollars::for_largest(NanoUsd(largest)).show(NanoUsd(amount));
        assert_eq!(show(999_999_999, 1_499), "$0.000001");
        assert_eq!(show(1_000_000_000, 12_345_678), "$0.0123");
        assert_eq!(show(-1_234_567_895_000_000, -1_234_567_895_000_000), "-$1,234,567.90");
        assert_eq!(show(1_000_000_000_000, 999_995_000_000), "$1,000.00");
        assert_eq!(show(1_000_000_000_000, -1), "$0.00");
    }

    #[test]
    fn counts_are_grouped_and_percents_have_a_decimal() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([Some(-1), Some(499), None].map(percent), ["-0.1%", "49.9%", "-"]);
    }
}
