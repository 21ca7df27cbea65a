//! Marking: the one change that is made to an item, spliced into its own text.

use crate::cache_plan::prompt::Prompt;
use crate::domain::caching::{MARK_BYTES, Place};

/// The text of a call with a mark for an hour at `place`; `None` where none may stand there.
///
/// Only `cache_control` of that tool or system block is set; a plain system prompt becomes a block of the same text.
pub fn marked(text: &str, place: Place) -> Option<String> {
    let (range, new) = Prompt::read(text)?.change(place)?;
    let mut out = String::with_capacity(text.len() + usize::from(MARK_BYTES));
    out.push_str(&text[..range.start]);
    out.push_str(&new);
    out.push_str(&text[range.end..]);
    Some(out)
}

/// The text, marked where it may be, and blanks up to [`MARK_BYTES`] more than it has unmarked.
pub fn padded(text: &str, place: Place) -> Vec<u8> {
    let length = text.len() + usize::from(MARK_BYTES);
    let mut out = marked(text, place).map_or_else(|| text.as_bytes().to_vec(), String::into_bytes);
    out.resize(length, b' ');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const MARK: &str = r#""cache_control":{"type":"ephemeral","ttl":"1h"}"#;

    fn at_system(system: &str) -> Option<String> {
        let text = format!(r#"{{"model":"m","system":{system}}}"#);
        let marked = marked(&text, Place::System(0))?;
        Some(marked.strip_prefix(r#"{"model":"m","system":"#)?.strip_suffix('}')?.to_owned())
    }

    #[test]
    fn a_mark_goes_where_it_is_asked_for() {
        let expected = format!(r#"[{{"type":"text","text":"a\u0062",{MARK}}}]"#);
        assert_eq!(at_system(r#""a\u0062""#).unwrap(), expected);
        assert_eq!(
            at_system(r#"[ {"text":"a", "type":"text" } ,{"type":"text","text":"b"}]"#).unwrap(),
            format!(r#"[ {{"text":"a", "type":"text",{MARK} }} ,{{"type":"text","text":"b"}}]"#)
        );
        let text = r#"{"tools":[{"name":"a"},{"name":"b","input_schema":{"cache_control":1}}]}"#;
        let expected = r#"{"tools":[{"name":"a"},{"name":"b","input_schema":{"cache_control":1},MARK}]}"#;
        assert_eq!(marked(text, Place::Tools).unwrap(), expected.replace("MARK", MARK));
    }

    #[test]
    fn a_short_mark_is_lengthened_and_a_long_one_stays() {
        let short = |mark: &str| at_system(&format!(r#"[{{"type":"text","text":"a","cache_control":{mark},"x":1}}]"#));
        let long = format!(r#"[{{"type":"text","text":"a",{MARK},"x":1}}]"#);
        for mark in ["null", r#"{"type":"ephemeral"}"#, r#"{"ttl":"5m","type":"ephemeral"}"#] {
            assert_eq!(short(mark).unwrap(), long, "{mark}");
        }
        let spaced = r#"{ "type": "ephemeral", "ttl": "1h" }"#;
        assert!(short(spaced).unwrap().contains(spaced));
        // Of a name that stands twice the last counts.
        let twice = at_system(r#"[{"type":"text","text":"a","cache_control":1,"cache_control":null}]"#);
        assert_eq!(twice.unwrap(), format!(r#"[{{"type":"text","text":"a","cache_control":1,{MARK}}}]"#));
    }

    #[test]
    fn where_no_mark_may_stand_there_is_none() {
        for system in [
            "null",
            "7",
            "[]",
            r#""""#,
            r#"" \n""#,
            r#"["a"]"#,
            "[{}]",
            r#"[{"type":"image","text":"a"}]"#,
            r#"[{"type":"text","text":"a","cache_control":{"type":"lasting"}}]"#,
            r#"[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"2h"}}]"#,
            r#"[{"type":"text","text":"a","cache_control":{"type":"ephemeral","scope":"all"}}]"#,
        ] {
            assert_eq!(at_system(system), None, "{system}");
        }
        assert_eq!(marked(r#"{"tools":[{"name":"a","defer_loading":true}]}"#, Place::Tools), None);
        assert_eq!(marked(r#"{"tools":[]}"#, Place::Tools), None);
        assert_eq!(marked(r#"{"system":"a"}"#, Place::System(1)), None);
    }

    #[test]
    fn longer_marks_come_first_and_four_are_all() {
        let tool = |mark: &str| format!(r#"{{"name":"t"{mark}}}"#);
        let (short, long) = (r#","cache_control":{"type":"ephemeral"}"#, format!(",{MARK}"));
        let call = |first: &str, behind: usize| {
            let block = format!(r#"{{"type":"text","text":"x"{short}}}"#);
            let blocks = vec![block; behind].join(",");
            format!(r#"{{"tools":[{}],"system":"s","messages":[{{"role":"user","content":[{blocks}]}}]}}"#, tool(first))
        };
        assert!(marked(&call("", 3), Place::System(0)).is_some());
        assert!(marked(&call("", 4), Place::System(0)).is_none());
        assert!(marked(&call(&long, 2), Place::System(0)).is_some());
        assert!(marked(&call(&long, 3), Place::System(0)).is_none());
        assert!(marked(&call(short, 0), Place::System(0)).is_none(), "a short one before it");
        assert!(marked(&call(short, 0), Place::Tools).is_some(), "the short one itself");
        let automatic = r#"{"cache_control":{"type":"ephemeral"},"system":"s","messages":[{"content":[{"type":"tool_result",
            "content":[{"cache\u005fcontrol":{}},{"cache_control":{}},{"cache_control":{}}]}]}]}"#;
        assert!(marked(automatic, Place::System(0)).is_none());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<i64>().prop_map(Into::into), "\\PC{0,8}".prop_map(Into::into)];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::vec((name(), inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![Just("cache_control".to_owned()), Just("text".to_owned()), "\\PC{0,6}"]
    }

    fn any_mark() -> impl Strategy<Value = Option<Value>> {
        prop_oneof![
            3 => Just(None),
            1 => Just(Some(json!({"type": "ephemeral"}))),
            1 => Just(Some(json!({"type": "ephemeral", "ttl": "1h"}))),
            1 => any_json().prop_map(Some),
        ]
    }

    fn any_block() -> impl Strategy<Value = Value> {
        (any_mark(), any_json(), "\\PC{0,8}", any::<bool>()).prop_map(|(mark, other, text, first)| {
            let mut block = if first { json!({"type": "text", "text": text}) } else { json!({"name": text}) };
            block["input_schema"] = other;
            if let Some(mark) = mark {
                block["cache_control"] = mark;
            }
            block
        })
    }

    fn any_list() -> impl Strategy<Value = Value> {
        prop_oneof![
            4 => prop::collection::vec(any_block(), 0..4).prop_map(Value::from),
            1 => "\\PC{0,8}".prop_map(Value::from),
            1 => any_json(),
        ]
    }

    fn any_call() -> impl Strategy<Value = Value> {
        let parts = (any_list(), any_list(), prop::collection::vec(any_block(), 0..3), any_mark(), any_json());
        parts.prop_map(|(tools, system, content, mark, other)| {
            let mut call = json!({
                "model": "m", "tools": tools, "system": system, "other": other,
                "messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "x"}],
            });
            if let Some(mark) = mark {
                call["cache_control"] = mark;
            }
            call
        })
    }

    /// The call without marks on tools and system blocks, and its system prompt as a list.
    fn unmarked(text: &str) -> Value {
        let mut call: Value = serde_json::from_str(text).unwrap();
        if let Some(plain) = call["system"].as_str() {
            call["system"] = json!([{"type": "text", "text": plain}]);
        }
        for list in ["tools", "system"] {
            for block in call[list].as_array_mut().into_iter().flatten() {
                block.as_object_mut().map(|block| block.remove("cache_control"));
            }
        }
        call
    }

    /// Marks that the provider counts: of tools, system blocks and content blocks, and the one of the call.
    fn count(text: &str) -> usize {
        let call: Value = serde_json::from_str(text).unwrap();
        let contents = call["messages"].as_array().into_iter().flatten().map(|message| &message["content"]);
        let lists = [&call["tools"], &call["system"]].into_iter().chain(contents);
        let blocks = lists.flat_map(|list| list.as_array().into_iter().flatten());
        blocks.chain([&call]).filter(|block| block.get("cache_control").is_some_and(|mark| !mark.is_null())).count()
    }

    proptest! {
        #[test]
        fn nothing_but_marks_is_changed(call in any_call(), pretty: bool, number in 0i16..5) {
            let text = if pretty { serde_json::to_string_pretty(&call) } else { serde_json::to_string(&call) }.unwrap();
            let place = Place::of(number).unwrap();
            if let Some(marked) = marked(&text, place) {
                prop_assert_eq!(unmarked(&marked), unmarked(&text));
                prop_assert!(count(&marked) <= 4);
                prop_assert!(marked.contains("\"1h\""));
            }
            let padded = padded(&text, place);
            prop_assert_eq!(padded.len(), text.len() + usize::from(MARK_BYTES));
            prop_assert_eq!(unmarked(std::str::from_utf8(&padded).unwrap()), unmarked(&text));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\",:\\\\ aus0-9]{0,40}", number in 0i16..4) {
            let _ = marked(&text, Place::of(number).unwrap());
            let _ = marked(&format!(r#"{{"system":{text},"tools":{text}}}"#), Place::of(number).unwrap());
        }
    }
}
