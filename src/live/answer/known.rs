//! The heads that an upstream sent last: nearly every answer of one kind has the same status and the same names in the
//! same order, and to see that it has costs far less than to read it for the first time.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use hyper::ext::ReasonPhrase;
use memchr::memchr;

use super::Head;

/// Heads that are remembered: an upstream answers streams with one kind, and the rest with another.
const HEADS: usize = 2;

/// Longer heads are read as for the first time, so that what is remembered weighs little beside a connection.
const BYTES_MAX: usize = 1_024;

/// Heads that were read on a connection, the last one first.
#[derive(Debug, Default)]
pub struct Known([Option<Box<Outline>>; HEADS]);

/// A head without its values.
#[derive(Debug)]
struct Outline {
    status_line: Box<[u8]>,
    status: StatusCode,
    reason: Option<ReasonPhrase>,
    version: Version,
    /// Each name as it was written, with its colon, by its place.
    names: Box<[u8]>,
    ends: Box<[u16]>,
    /// The names, with an empty value each.
    headers: HeaderMap,
}

impl Known {
    /// The head in `block`, if one that was read before differs from it in its values only.
    ///
    /// `block` ends in an empty line, and all its lines end in CR and LF.
    pub(super) fn read(&mut self, block: &Bytes) -> Option<Head> {
        let (place, head) =
            self.0.iter().enumerate().find_map(|(place, known)| Some((place, known.as_ref()?.read(block)?)))?;
        self.0[..=place].rotate_right(1);
        Some(head)
    }

    /// Remembers a head that was read from `block`, with its names as they are written there.
    pub(super) fn remember<'a>(&mut self, block: &[u8], head: &Head, names: impl Iterator<Item = &'a str>) {
        if let Some(outline) = Outline::of(block, head, names) {
            self.0.rotate_right(1);
            self.0[0] = Some(Box::new(outline));
        }
    }
}

impl Outline {
    fn of<'a>(block: &[u8], head: &Head, names: impl Iterator<Item = &'a str>) -> Option<Self> {
        let line_feed = memchr(b'\n', block)?;
        let (mut raw, mut ends) = (Vec::new(), Vec::new());
        let mut placed = head.headers.keys();
        for name in names {
            // A map that gives names back in another order, as it may where one is repeated, takes no values by place.
            placed.next().filter(|placed| placed.as_str().eq_ignore_ascii_case(name))?;
            raw.extend_from_slice(name.as_bytes());
            raw.push(b':');
            ends.push(u16::try_from(raw.len()).ok()?);
        }
        let mut headers = head.headers.clone();
        headers.values_mut().for_each(|value| *value = HeaderValue::from_static(""));
        (headers.len() == ends.len() && line_feed + raw.len() <= BYTES_MAX).then(|| Self {
            status_line: block[..=line_feed].into(),
            status: head.status,
            reason: head.reason.clone(),
            version: head.version,
            names: raw.into(),
            ends: ends.into(),
            headers,
        })
    }

    fn read(&self, block: &Bytes) -> Option<Head> {
        let mut rest = block.strip_prefix(&*self.status_line)?;
        let mut headers = self.headers.clone();
        let mut begin = 0;
        for (value, end) in headers.values_mut().zip(&self.ends) {
            let end = usize::from(*end);
            let after = rest.strip_prefix(self.names.get(begin..end)?)?;
            let line_feed = memchr(b'\n', after)?;
            let (line, next) = after.split_at_checked(line_feed + 1)?;
            *value =
                HeaderValue::from_maybe_shared(block.slice_ref(without_blanks(line.strip_suffix(b"\r\n")?))).ok()?;
            (begin, rest) = (end, next);
        }
        let (status, reason, version) = (self.status, self.reason.clone(), self.version);
        (rest == b"\r\n").then_some(Head { status, reason, headers, version })
    }
}

/// A value without the blanks that may stand around it, as RFC 9110 has them.
fn without_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::super::head::read_anew;
    use super::*;

    fn shown(head: Option<Head>) -> Option<String> {
        head.map(|head| format!("{head:?}"))
    }

    /// Reads heads one after another, knowing those before each; says how many were known.
    fn known_of(heads: &[String]) -> usize {
        let (mut known, mut count) = (Known::default(), 0);
        for head in heads {
            let block = Bytes::from(head.clone());
            let anew = read_anew(&block, &mut Known::default()).ok();
            match known.read(&block) {
                Some(read) => {
                    assert_eq!(shown(Some(read)), shown(anew), "{head:?}");
                    count += 1;
                }
                None => drop(read_anew(&block, &mut known)),
            }
        }
        count
    }

    fn heads(heads: &[&str]) -> Vec<String> {
        heads.iter().map(|head| format!("HTTP/1.1 {}\r\n\r\n", head.replace('|', "\r\n"))).collect()
    }

    #[test]
    fn a_head_with_the_same_names_is_known() {
        assert_eq!(
            known_of(&heads(&["200 OK|Date: 1|x-a:2", "200 OK|Date: \t3 |x-a:", "200 OK|Date:|x-a: \u{e9}"])),
            2
        );
        let kinds = ["200 OK|a: 1", "200 OK|b: 1"];
        assert_eq!(known_of(&heads(&[kinds[0], kinds[1], kinds[0], kinds[0], kinds[1]])), 3);
        // The one that was used longest ago is given up.
        assert_eq!(known_of(&heads(&[kinds[0], kinds[1], kinds[0], "200 OK|c: 1", kinds[1], "200 OK|c: 2"])), 2);
    }

    #[test]
    fn what_differs_in_more_than_its_values_is_not() {
        let first = "200 OK|a: 1|b: 2";
        for other in [
            "201 Created|a: 1|b: 2",
            "200 Fine|a: 1|b: 2",
            "200 OK|a: 1",
            "200 OK|a: 1|b: 2|c: 3",
            "200 OK|b: 1|a: 2",
            "200 OK|A: 1|b: 2",
            "200 OK|a : 1|b: 2",
            "200 OK|a: 1| fold|b: 2",
            "200 OK|a: 1\u{1}|b: 2",
            "200 OK|a: 1\r|b: 2",
            "200 OK|a: 1\0|b: 2",
        ] {
            assert_eq!(known_of(&heads(&[first, other])), 0, "{other}");
        }
        assert_eq!(known_of(&heads(&["200 OK|a: 1|b: 2|a: 3", "200 OK|a: 1|b: 2|a: 3"])), 0, "a name is repeated");
    }

    proptest! {
        #[test]
        fn a_known_head_is_what_it_would_be_anew(
            some in prop::collection::vec(
                (
                    select(&["200 OK", "200", "529 Overloaded"][..]),
                    subsequence(&["Date", "x-a", "set-cookie", "Connection", "content-length", "x-a"][..], 0..=6),
                    "[ \t]?[ -~\u{e9}]{0,8}[ \t]?",
                ),
                1..12,
            ),
        ) {
            let heads: Vec<String> = some
                .iter()
                .map(|(status, names, value)| {
                    let lines: String = names.iter().map(|name| format!("{name}:{value}\r\n")).collect();
                    format!("HTTP/1.1 {status}\r\n{lines}\r\n")
                })
                .collect();
            known_of(&heads);
        }
    }
}
