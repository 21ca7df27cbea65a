//! Durations and sizes as people write them: `4m30s`, `200MB`.

use std::time::Duration;

/// The longest duration that can be written: 3650 days.
pub const DURATION_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// What a duration may look like, for error texts.
pub const DURATION_FORM: &str =
    "an integer with ms, s, m, h or d, two of which may be joined (30m, 6h, 1d, 4m30s), at most 3650d";

/// What a size may look like, for error texts.
pub const SIZE_FORM: &str = "an integer with KB, MB or GB (powers of 1000), such as 200MB";

/// Reads a duration: an integer and `ms`, `s`, `m`, `h` or `d`; two may be joined, the larger unit first; `0` needs no unit.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (first, first_unit, rest) = duration_part(text)?;
    let mut millis = first;
    if !rest.is_empty() {
        let (second, second_unit, end) = duration_part(rest)?;
        if !end.is_empty() || second_unit >= first_unit {
            return None;
        }
        millis = millis.checked_add(second)?;
    }
    Some(Duration::from_millis(millis)).filter(|duration| *duration <= DURATION_MAX)
}

/// One number with its unit: its milliseconds, the unit's milliseconds, and what follows.
fn duration_part(text: &str) -> Option<(u64, u64, &str)> {
    let (number, rest) = leading_integer(text)?;
    let letters = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    let unit_millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some((number.checked_mul(unit_millis)?, unit_millis, rest))
}

/// Reads a size in bytes: an integer and `KB`, `MB` or `GB`, powers of 1000 as in the provider's limits.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = leading_integer(text)?;
    let unit_bytes = match unit {
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit_bytes)
}

fn leading_integer(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

/// Writes a duration so that [`parse_duration`] reads it back, in at most two units where it fits.
pub fn format_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0".into();
    }
    let mut parts = String::new();
    for (unit, unit_millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if millis >= unit_millis {
            parts.push_str(&format!("{}{unit}", millis / unit_millis));
            millis %= unit_millis;
        }
    }
    parts
}

/// Writes a size so that [`parse_size`] reads it back, where it is a whole number of kilobytes.
pub fn format_size(bytes: u64) -> String {
    match bytes {
        0 => "0KB".into(),
        b if b % 1_000_000_000 == 0 => format!("{}GB", b / 1_000_000_000),
        b if b % 1_000_000 == 0 => format!("{}MB", b / 1_000_000),
        b if b % 1_000 == 0 => format!("{}KB", b / 1_000),
        b => format!("{b} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let millis = |text| parse_duration(text).map(|d| d.as_millis());
        for (text, expected) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("30m", 1_800_000),
            ("6h", 21_600_000),
            ("1d", 86_400_000),
            ("4m30s", 270_000),
            ("1h1ms", 3_600_001),
            ("3650d", 315_360_000_000),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for wrong in [
            "",
            "1",
            "-1s",
            "+1s",
            "1.5h",
            "1 h",
            "h",
            "1H",
            "1w",
            "30s4m",
            "1m1m",
            "1d1h1m",
            "3651d",
            "99999999999999999999d",
            "1h ",
            "٣s",
        ] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [("1KB", 1_000), ("32MB", 32_000_000), ("2GB", 2_000_000_000), ("0KB", 0)] {
            assert_eq!(parse_size(text), Some(expected), "{text}");
        }
        for wrong in ["", "5", "5B", "1.5MB", "1 MB", "1mb", "1MiB", "-1MB", "99999999999GB"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in ["0", "250ms", "4m30s", "1d", "6h"] {
            assert_eq!(parse_duration(text).map(format_duration).as_deref(), Some(text));
        }
        for text in ["0KB", "32MB", "2GB", "1500KB"] {
            assert_eq!(parse_size(text).map(format_size).as_deref(), Some(text));
        }
    }
}
