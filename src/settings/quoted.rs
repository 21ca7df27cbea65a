//! Quoted text: where a character of a TOML string stands in the file that it was written in.

/// The byte of `raw`, a TOML string with its quotes, at which character `at` of its meaning stands; the end if there are
/// not as many.
pub(super) fn place(raw: &str, at: usize) -> usize {
    let quote = raw.chars().next().unwrap_or_default();
    let is_long = raw.starts_with("\"\"\"") || raw.starts_with("'''");
    let mut here = if is_long { 3 } else { 1 };
    if is_long {
        // A line that ends right behind the quotes is no part of the text.
        here += raw.get(here..).map_or(0, |rest| rest.len() - rest.trim_start_matches('\r').len());
        here += usize::from(raw.get(here..).is_some_and(|rest| rest.starts_with('\n')));
    }
    let mut left = at;
    while let Some(rest) = raw.get(here..).filter(|rest| !rest.is_empty()) {
        let (width, is_character) = match quote {
            '"' => step(rest, is_long),
            _ => (rest.chars().next().map_or(1, char::len_utf8), true),
        };
        if is_character && left == 0 {
            return here;
        }
        left -= usize::from(is_character);
        here += width;
    }
    here.min(raw.len())
}

/// How many bytes the first character of a basic string takes, and whether it is one: a line's end that is escaped is none.
fn step(rest: &str, is_long: bool) -> (usize, bool) {
    let Some(escaped) = rest.strip_prefix('\\') else {
        return (rest.chars().next().map_or(1, char::len_utf8), true);
    };
    let blank = escaped.len() - escaped.trim_start().len();
    let ends_line = escaped.get(..blank).is_some_and(|blank| blank.contains('\n'));
    match escaped.chars().next() {
        _ if is_long && ends_line => (1 + blank, false),
        Some('u') => (6, true),
        Some('U') => (10, true),
        Some('x') => (4, true),
        Some(other) => (1 + other.len_utf8(), true),
        None => (1, true),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use toml::de::{DeTable, DeValue};

    use super::*;

    /// What stands from character `at` of a string's meaning on.
    fn from(raw: &str, at: usize) -> &str {
        &raw[place(raw, at)..]
    }

    #[test]
    fn characters_are_found_in_every_kind_of_string() {
        for (raw, at, rest) in [
            ("'a == b'", 2, "== b'"),
            ("\"a == \\\"b\\\"\"", 5, "\\\"b\\\"\""),
            ("\"a == \\\"b\\\"\"", 6, "b\\\"\""),
            ("\"\\u00e9\\U0001F600\\tx\"", 3, "x\""),
            ("'é🙂x'", 2, "x'"),
            ("'''\na\nb'''", 2, "b'''"),
            ("'''ab'''", 1, "b'''"),
            ("\"\"\"\r\nab\"\"\"", 1, "b\"\"\""),
            ("\"\"\"a \\\n   b\"\"\"", 2, "b\"\"\""),
            ("'ab'", 9, ""),
            ("", 0, ""),
        ] {
            assert_eq!(from(raw, at), rest, "{raw} {at}");
        }
    }

    proptest! {
        #[test]
        fn what_follows_the_place_means_the_rest(text in "[ab \"'\\\\é🙂\n\t]{0,12}", at in 0..14_usize, long: bool) {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\t', "\\t");
            let quotes = if long { "\"\"\"" } else { "\"" };
            let escaped = if long { format!("\n{escaped}") } else { escaped.replace('\n', "\\n") };
            let raw = format!("{quotes}{escaped}{quotes}");
            let rest = format!("x = {quotes}{}{}", if long { "\n" } else { "" }, from(&raw, at));
            let expected: String = text.chars().skip(at).collect();
            if at < text.chars().count() {
                let table = DeTable::parse(&rest).unwrap();
                let DeValue::String(read) = table.get_ref()["x"].get_ref() else { panic!("a string") };
                prop_assert_eq!(read.as_ref(), expected);
            }
        }
    }
}
