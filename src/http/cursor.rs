//! Cursors: places in the feed, as consumers keep them.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::store::Position;

const PREFIX: &str = "cur_";
const DIGITS: usize = 16;

/// A place in the feed as a text, which means nothing to whoever keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor(pub(super) Position);

impl Cursor {
    /// Reads a cursor as [`fmt::Display`] writes it, and no other form of the same number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let canonical =
            digits.len() == DIGITS && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        canonical.then(|| i64::from_str_radix(digits, 16).ok().map(|position| Self(Position(position))))?
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:0DIGITS$x}", self.0.0)
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back() {
        for position in [0, 1, 255, i64::MAX] {
            let cursor = Cursor(Position(position));
            assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        }
        assert_eq!(Cursor(Position(255)).to_string(), "cur_00000000000000ff");
    }

    #[test]
    fn only_the_written_form_is_a_cursor() {
        for wrong in [
            "",
            "0",
            "cur_",
            "cur_ff",
            "cur_00000000000000fF",
            "cur_+0000000000000ff",
            "cur_ffffffffffffffff",
            "dfr_00000000000000ff",
        ] {
            assert_eq!(Cursor::parse(wrong), None, "{wrong}");
        }
    }
}
