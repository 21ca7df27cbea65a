//! Other people's JSON, read where it stands: the members of an object as ranges of its own text.

use std::borrow::Cow;
use std::ops::Range;

/// One member of an object, as ranges of the text that it was found in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name with its escapes resolved.
    pub name: Cow<'a, str>,
    /// From the opening quote of the name to the end of the value.
    pub whole: Range<usize>,
    /// The value's own text.
    pub value: &'a str,
}

impl Member<'_> {
    /// Where the value stands.
    pub fn value_range(&self) -> Range<usize> {
        self.whole.end - self.value.len()..self.whole.end
    }
}

/// Whether `text` is one valid JSON value with nothing behind it.
pub fn is_valid(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// The members of the object that `text` holds, in order, repeated names included; `None` if it holds no object.
///
/// `text` must be valid JSON (see [`is_valid`]); for other text the ranges mean nothing, but nothing panics.
pub fn members(text: &str) -> Option<Vec<Member<'_>>> {
    let bytes = text.as_bytes();
    let mut at = skip_space(bytes, 0);
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    let mut found = Vec::new();
    at = skip_space(bytes, at + 1);
    while bytes.get(at) == Some(&b'"') {
        let name_end = skip_string(bytes, at);
        let name = unescape(text.get(at..name_end)?)?;
        let value_start = skip_space(bytes, skip_space(bytes, name_end) + 1);
        let value_end = skip_value(bytes, value_start);
        found.push(Member { name, whole: at..value_end, value: text.get(value_start..value_end)? });
        at = skip_space(bytes, value_end);
        if bytes.get(at) == Some(&b',') {
            at = skip_space(bytes, at + 1);
        }
    }
    Some(found)
}

/// Where the elements of the array stand that `text` holds; `None` if it holds no array.
///
/// As with [`members`], `text` must be valid JSON.
pub fn elements(text: &str) -> Option<Vec<Range<usize>>> {
    let bytes = text.as_bytes();
    let mut at = skip_space(bytes, 0);
    if bytes.get(at) != Some(&b'[') {
        return None;
    }
    let mut found = Vec::new();
    at = skip_space(bytes, at + 1);
    while !matches!(bytes.get(at), None | Some(b']' | b',')) {
        let end = skip_value(bytes, at);
        if end == at {
            break;
        }
        found.push(at..end);
        at = skip_space(bytes, end);
        if bytes.get(at) == Some(&b',') {
            at = skip_space(bytes, at + 1);
        }
    }
    Some(found)
}

/// How much of JSON text, from its beginning, is at most `most` bytes and cuts no character, no escape and no pair of
/// escapes that is one character; more only where the first of these is longer alone.
pub fn piece(text: &[u8], most: usize) -> usize {
    let mut end = 0;
    while end < text.len() {
        let next = end + unit(&text[end..]);
        if next > most && end > 0 {
            break;
        }
        end = next;
    }
    end.min(text.len())
}

/// The bytes of the first character, however it is written.
fn unit(text: &[u8]) -> usize {
    let escaped = |at: usize| (text.get(at..at + 2) == Some(b"\\u")).then(|| text.get(at + 2..at + 4)).flatten();
    let is_surrogate = |code: Option<&[u8]>, second: [u8; 4]| {
        code.is_some_and(|code| matches!(code[0], b'd' | b'D') && second.contains(&code[1].to_ascii_lowercase()))
    };
    match text {
        [b'\\', b'u', ..] => {
            let is_pair = is_surrogate(escaped(0), *b"89ab") && is_surrogate(escaped(6), *b"cdef");
            if is_pair { 12 } else { 6 }
        }
        [b'\\', ..] => 2,
        [0xf0..=0xff, ..] => 4,
        [0xe0..=0xef, ..] => 3,
        [0xc0..=0xdf, ..] => 2,
        _ => 1,
    }
}

/// The text of `object` without the members called `name`, each of which goes with one comma; every other byte stays.
pub fn without<'a>(object: &'a str, members: &[Member<'_>], name: &str) -> Cow<'a, str> {
    let (Some(first), Some(last)) = (members.first(), members.last()) else { return Cow::Borrowed(object) };
    if members.iter().all(|member| member.name != name) {
        return Cow::Borrowed(object);
    }
    let mut kept = String::with_capacity(object.len());
    kept.push_str(&object[..first.whole.start]);
    let mut is_first = true;
    for (index, member) in members.iter().enumerate().filter(|(_, member)| member.name != name) {
        if !is_first {
            kept.push_str(&object[members[index - 1].whole.end..member.whole.start]);
        }
        kept.push_str(&object[member.whole.clone()]);
        is_first = false;
    }
    kept.push_str(&object[last.whole.end..]);
    Cow::Owned(kept)
}

/// A JSON string's meaning.
pub fn unescape(quoted: &str) -> Option<Cow<'_, str>> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(quoted).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

fn skip_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        at += match byte {
            b'"' => return at + 1,
            b'\\' => 2,
            _ => 1,
        };
    }
    bytes.len()
}

fn skip_value(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = skip_string(bytes, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return if depth == 1 { at + 1 } else { at },
            b'}' | b']' => depth -= 1,
            b',' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn without_stream(text: &str) -> String {
        without(text, &members(text).unwrap(), "stream").into_owned()
    }

    #[test]
    fn members_are_found_with_their_text() {
        let text = r#" { "a" : 1.0 , "b\u0063":[1,{"}":"]"}], "a":"\"" } "#;
        let found = members(text).unwrap();
        let seen: Vec<_> = found.iter().map(|m| (m.name.as_ref(), m.value)).collect();
        assert_eq!(seen, [("a", "1.0"), ("bc", r#"[1,{"}":"]"}]"#), ("a", r#""\"""#)]);
        assert_eq!(members("{}"), Some(vec![]));
        assert_eq!(members("[1]"), None);
    }

    #[test]
    fn values_and_elements_are_found_where_they_stand() {
        let text = r#"{"a" : [1, {"x":[2]} ,"]" ], "b":[ ]}"#;
        let found = members(text).unwrap();
        assert!(found.iter().all(|member| &text[member.value_range()] == member.value));
        let shown = |list: &str| Some(elements(list)?.into_iter().map(|at| list[at].to_owned()).collect::<Vec<_>>());
        assert_eq!(shown(found[0].value).unwrap(), ["1", r#"{"x":[2]}"#, r#""]""#]);
        assert_eq!(shown(found[1].value), Some(vec![]));
        assert_eq!(shown("{}"), None);
    }

    #[test]
    fn a_piece_cuts_nothing_that_belongs_together() {
        fn pieces(mut text: &str, most: usize) -> Vec<&str> {
            let mut pieces = Vec::new();
            while !text.is_empty() {
                let (first, rest) = text.split_at(piece(text.as_bytes(), most));
                pieces.push(first);
                text = rest;
            }
            pieces
        }
        assert_eq!(pieces(r"ab\n\u00e9c", 3), ["ab", r"\n", r"\u00e9", "c"]);
        assert_eq!(pieces(r"x\ud83d\uDE00y", 8), ["x", r"\ud83d\uDE00", "y"]);
        assert_eq!(pieces(r"\ud83d\u0041\ude00", 6), [r"\ud83d", r"\u0041", r"\ude00"]);
        assert_eq!(pieces("aé日🙂b", 3), ["aé", "日", "🙂", "b"]);
        assert_eq!(pieces(r"\\\\u", 2), [r"\\", r"\\", "u"]);
        assert_eq!(pieces("abc", 0), ["a", "b", "c"]);
        assert_eq!(piece(b"\\ud8", 10), 4);
    }

    #[test]
    fn a_member_goes_with_one_comma() {
        for (text, expected) in [
            (r#"{"stream":true}"#, "{}"),
            (r#"{"stream":true,"a":1}"#, r#"{"a":1}"#),
            (r#"{"a":1,"stream":true}"#, r#"{"a":1}"#),
            (r#"{"a":1, "stream" : true , "b":2}"#, r#"{"a":1 , "b":2}"#),
            (r#"{"a":1,"stream":true,"stream":false}"#, r#"{"a":1}"#),
            (r#"{"stream":1,"a":1,"stream":2,"b":{"stream":3},"stream":4 }"#, r#"{"a":1,"b":{"stream":3} }"#),
            (r#"{"\u0073tream":1,"a":1}"#, r#"{"a":1}"#),
            (r#"{"stream":1,"stream":2}"#, "{}"),
            ("{\n  \"a\": 1\n}", "{\n  \"a\": 1\n}"),
        ] {
            assert_eq!(without_stream(text), expected, "{text}");
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "\\PC{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                object_of(inner).prop_map(serde_json::Value::Object),
            ]
        })
    }

    fn object_of(
        values: impl Strategy<Value = serde_json::Value>,
    ) -> impl Strategy<Value = serde_json::Map<String, serde_json::Value>> {
        let name = prop_oneof![Just("stream".to_owned()), "\\PC{0,6}"];
        prop::collection::vec((name, values), 0..6).prop_map(|pairs| pairs.into_iter().collect())
    }

    proptest! {
        #[test]
        fn dropping_a_member_changes_nothing_else(mut object in object_of(any_json()), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
            let left: serde_json::Value = serde_json::from_str(&without_stream(&text)).unwrap();
            object.remove("stream");
            prop_assert_eq!(left, serde_json::Value::Object(object));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\",:\\\\ au0-9]{0,40}") {
            if let Some(found) = members(&text) {
                let _ = without(&text, &found, "a");
            }
            let _ = elements(&text);
            prop_assert!(piece(text.as_bytes(), 5) <= text.len());
        }
    }
}
