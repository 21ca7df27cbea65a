//! The normal form of a prompt: lower case, one blank between words, and a mark in the place of whatever changes from one
//! call to the next: numbers, dates, ids, addresses and what stands in quotes.

/// What stands in the place of something that changes.
const MARK: &str = "#";

/// What stands in quotes is taken for a value that was filled in, unless it is longer than this: then a quote was left open.
const QUOTED_MAX: usize = 200;

/// A word of letters alone that is all hex digits is taken for an id from this length on: `decade` is a word.
const HEX_MIN: usize = 8;

/// Names of months and days, as they stand in dates.
const CALENDAR: [&str; 38] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "jan",
    "feb",
    "mar",
    "apr",
    "jun",
    "jul",
    "aug",
    "sep",
    "sept",
    "oct",
    "nov",
    "dec",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "mon",
    "tue",
    "wed",
    "thu",
    "fri",
    "sat",
    "sun",
];

/// The normal form.
pub(super) fn normal(text: &str) -> String {
    let mut form = String::with_capacity(text.len());
    for word in without_quoted(text).split_whitespace() {
        let word = word.to_lowercase();
        let plain = word.trim_matches(|letter: char| !letter.is_alphanumeric());
        let kept = if word == MARK || changes(&word) || CALENDAR.contains(&plain) { MARK } else { plain };
        // Several that change in a row are one: a date has one word, or four.
        if kept.is_empty() || (kept == MARK && form.ends_with(MARK)) {
            continue;
        }
        if !form.is_empty() {
            form.push(' ');
        }
        form.push_str(kept);
    }
    form
}

/// Whether a word is likely to be another one in the next call.
fn changes(word: &str) -> bool {
    let is_hex =
        |word: &str| word.len() >= HEX_MIN && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    word.bytes().any(|byte| byte.is_ascii_digit())
        || word.contains('@')
        || word.contains("://")
        || is_hex(word.trim_matches(|letter: char| !letter.is_alphanumeric()))
}

/// The text with a mark in the place of each value in quotes. An apostrophe is none.
fn without_quoted(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::with_capacity(text.len());
    while let Some(open) = rest.find(['"', '“', '«', '`']) {
        let (before, quoted) = rest.split_at(open);
        let quote = quoted.chars().next().unwrap_or('"');
        let inner = &quoted[quote.len_utf8()..];
        let close = match quote {
            '“' => '”',
            '«' => '»',
            same => same,
        };
        kept.push_str(before);
        match inner.find(close).filter(|end| (1..=QUOTED_MAX).contains(end) && !inner[..*end].contains('\n')) {
            Some(end) => {
                kept.push_str(" 0 ");
                rest = &inner[end + close.len_utf8()..];
            }
            None => {
                kept.push(' ');
                rest = inner;
            }
        }
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_changes_is_a_mark() {
        for (text, expected) in [
            ("You  are\na Helper.", "you are a helper"),
            ("Today is Wednesday, 25 November 2026, 10:15.", "today is # "),
            ("Ticket 7c9e6679-7425-40de-944b-e07fc1f90ae7 of ann@corp.example", "ticket # of #"),
            ("See https://a.example/x?y for deadbeefcafe", "see # for #"),
            (r#"Write to "Ann Smith" about `x`, don't wait"#, "write to # about # don't wait"),
            ("Name: “Jörg”, «Zoë»; “open", "name # open"),
            ("a decade of facades", "a decade of facades"),
            ("", ""),
        ] {
            assert_eq!(normal(text), expected.trim_end(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own(text in "\\PC{0,200}") {
            let once = normal(&text);
            prop_assert_eq!(normal(&once), once);
        }
    }
}
