//! Tests of glances: the facts are those of the JSON text, however it arrives, and no more is read than they need.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The facts after the whole of a body.
fn facts_of(text: &str) -> BodyFacts {
    let mut glance = Glance::default();
    glance.read(text.as_bytes());
    glance.end();
    glance.facts().clone()
}

/// All facts but the length, in the order of the contract.
type Shown<'a> = (Option<&'a str>, Option<bool>, Option<i64>, Option<i64>, Option<i64>, Option<&'a str>);

fn shown(facts: &BodyFacts) -> Shown<'_> {
    let (messages, tools) = (facts.messages(), facts.tools());
    (facts.model(), facts.stream(), facts.max_tokens(), messages, tools, facts.system_prefix())
}

#[test]
fn facts_are_found_where_they_stand() {
    let text = r#" { "model" : "claude-haiku-4-5", "max_tokens":64 ,"stream": true, "system":"Be brief.",
        "messages":[{"role":"user","content":[{"type":"text","text":"model"}]},{"role":"assistant","content":"[,]"}],
        "tools":[{"name":"a","input_schema":{"messages":[1,2,3]}}], "metadata":{"model":"other"} } "#;
    let expected = (Some("claude-haiku-4-5"), Some(true), Some(64), Some(2), Some(1), Some("Be brief."));
    assert_eq!(shown(&facts_of(text)), expected);
}

#[test]
fn what_is_absent_is_empty_once_that_is_known() {
    let mut glance = Glance::default();
    assert!(glance.read(b"{\"model\":\"m\""));
    assert_eq!(shown(glance.facts()), (Some("m"), None, None, None, None, None));
    assert!(glance.read(b"}"));
    assert!(glance.has_ended());
    assert_eq!(shown(glance.facts()), (Some("m"), Some(false), Some(0), Some(0), Some(0), Some("")));
    assert_eq!(glance.facts().bytes(), Some(0));
    assert!(!glance.read(b"{\"stream\":true}"), "nothing is read behind the end");
}

#[test]
fn each_fact_is_known_as_soon_as_it_stands_there() {
    let mut glance = Glance::default();
    for (piece, tells) in [
        ("{\"mod", false),
        ("el\":\"cla", false),
        ("ude\"", true),
        (",\"messages\":[1,{\"a\":[2,3", false),
        ("]},\"x\"", false),
        ("]", true),
        (",\"max_tokens\":12", false),
        ("8", false),
        (",", true),
        ("\"stream\":fal", false),
        ("se ", true),
    ] {
        assert_eq!(glance.read(piece.as_bytes()), tells, "{piece}");
    }
    assert_eq!(shown(glance.facts()), (Some("claude"), Some(false), Some(128), Some(3), None, None));
}

#[test]
fn a_system_prompt_is_read_as_text_or_as_blocks() {
    let of = |system: &str| facts_of(&format!("{{\"system\":{system}}}")).system_prefix().unwrap().to_owned();
    for (system, prefix) in [
        (r#""a\n\u00e9\ud83d\ude00""#, "a\né😀"),
        (
            r#"[{"type":"text","text":"one "},{"type":"text","text":"two","cache_control":{"type":"ephemeral"}}]"#,
            "one two",
        ),
        (r#"[{"text":"a","type":"text","x":{"text":"no"}},{"type":"text"}]"#, "a"),
        (r#"[{"type":"text","tex\u0074":"a"}]"#, "a"),
        (r#"["text"]"#, ""),
        (r#"{"text":"a"}"#, ""),
        ("[]", ""),
        ("null", ""),
        ("5", ""),
        (r#""""#, ""),
    ] {
        assert_eq!(of(system), prefix, "{system}");
    }
    assert_eq!(of(&format!("\"{}\"", "é".repeat(500))), "é".repeat(200));
    assert_eq!(of(&format!("\"{}\"", "\\ud83d\\ude00".repeat(500))), "😀".repeat(200));
    assert_eq!(of(&format!("\"{}\"", "\\\\".repeat(5_000))), "\\".repeat(200));
    let block = |text: &str| format!("{{\"type\":\"text\",\"text\":\"{text}\"}}");
    let blocks = format!("[{},{},{}]", block(&"a".repeat(150)), block(&"b".repeat(150)), block("c"));
    assert_eq!(of(&blocks), format!("{}{}", "a".repeat(150), "b".repeat(50)));
}

#[test]
fn what_is_of_another_form_is_absent_and_does_not_confuse_the_rest() {
    for (member, facts) in [
        (r#""model":5"#, (Some(""), Some(true))),
        (r#""model":null"#, (Some(""), Some(true))),
        (r#""model":["m"]"#, (Some(""), Some(true))),
        (r#""model":{"model":"m"}"#, (Some(""), Some(true))),
        (r#""model":"\ud800""#, (Some(""), Some(true))),
        (r#""max_tokens":"64""#, (Some(""), Some(true))),
        (r#""messages":"x","tools":{"a":[1,2]}"#, (Some(""), Some(true))),
    ] {
        let read = facts_of(&format!("{{{member},\"stream\":true}}"));
        assert_eq!((read.model(), read.stream()), facts, "{member}");
        assert_eq!((read.max_tokens(), read.messages(), read.tools()), (Some(0), Some(0), Some(0)), "{member}");
    }
    let long = format!("{{\"model\":\"{}\",\"{}\":1,\"stream\":true}}", "m".repeat(5_000), "n".repeat(5_000));
    let read = facts_of(&long);
    assert!(read.model().unwrap().len() < 2_000 && read.stream() == Some(true));
}

#[test]
fn of_a_name_that_stands_twice_the_first_counts_however_it_arrives() {
    let text = r#"{"model":"a","model":"b","messages":[1],"messages":[1,2],"stream":true,"stream":false}"#;
    let whole = facts_of(text);
    assert_eq!((whole.model(), whole.messages(), whole.stream()), (Some("a"), Some(1), Some(true)));
}

#[test]
fn what_is_no_object_has_no_facts() {
    for text in ["", "  ", "[{\"model\":\"m\"}]", "\"model\"", "5", "null", "model", "\u{feff}{\"model\":\"m\"}"] {
        assert_eq!(shown(&facts_of(text)), shown(&BodyFacts::default().ended()), "{text}");
    }
}

#[test]
fn depth_costs_no_memory() {
    let mut glance = Glance::default();
    glance.read(b"{\"x\":");
    for _ in 0..1_000 {
        glance.read("[".repeat(1_000).as_bytes());
    }
    assert!(glance.kept.capacity() < 10_000);
    glance.read(format!("{},\"stream\":true", "]".repeat(1_000_000)).as_bytes());
    glance.read(b"}");
    assert_eq!(glance.facts().stream(), Some(true));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<u32>().prop_map(Into::into),
        "\\PC{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = prop_oneof![Just("text".to_owned()), Just("model".to_owned()), "\\PC{0,4}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::hash_map(name, inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn any_body() -> impl Strategy<Value = Value> {
    let names = ["model", "stream", "max_tokens", "messages", "tools", "system", "metadata"];
    let member = (prop::sample::select(names.to_vec()), any_json());
    let text_blocks = prop::collection::vec("\\PC{0,150}", 0..4)
        .prop_map(|texts| texts.iter().map(|text| json!({"type": "text", "text": text})).collect::<Value>());
    let system = prop_oneof![text_blocks, "\\PC{0,300}".prop_map(Value::from), any_json()];
    (prop::collection::vec(member, 0..7), prop::option::of(system)).prop_map(|(members, system)| {
        let mut body: serde_json::Map<String, Value> =
            members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        body.extend(system.map(|system| ("system".to_owned(), system)));
        body.into()
    })
}

/// The facts of a body by another way: from the parsed value.
fn parsed(body: &Value) -> (String, bool, i64, usize, usize, String) {
    let count = |name: &str| body[name].as_array().map_or(0, Vec::len);
    let blocks = || {
        let texts = body["system"].as_array().into_iter().flatten().filter_map(|block| block["text"].as_str());
        texts.collect::<String>()
    };
    let system = body["system"].as_str().map_or_else(blocks, str::to_owned);
    let system = system.chars().take(SYSTEM_PREFIX_CHARS).collect();
    let max_tokens = body["max_tokens"].as_i64().unwrap_or(0);
    let model = body["model"].as_str().unwrap_or_default().to_owned();
    (model, body["stream"] == true, max_tokens, count("messages"), count("tools"), system)
}

proptest! {
    #[test]
    fn facts_agree_with_a_parser_however_the_body_arrives(
        body in any_body(), pretty: bool, cuts in prop::collection::vec(1..40_usize, 0..20)
    ) {
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.unwrap();
        let mut glance = Glance::default();
        let mut rest = text.as_bytes();
        for cut in cuts {
            let (piece, next) = rest.split_at(cut.min(rest.len()));
            glance.read(piece);
            rest = next;
        }
        glance.read(rest);
        prop_assert!(glance.has_ended());
        let facts = glance.facts();
        let (model, stream, max_tokens, messages, tools, system) = parsed(&body);
        prop_assert_eq!((facts.model(), facts.stream()), (Some(model.as_str()), Some(stream)), "{}", text);
        prop_assert_eq!(facts.max_tokens(), Some(max_tokens), "{}", text);
        let counts = (facts.messages(), facts.tools());
        prop_assert_eq!(counts, (Some(messages as i64), Some(tools as i64)), "{}", text);
        prop_assert_eq!(facts.system_prefix(), Some(system.as_str()), "{}", text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in "[\\[\\]{}\",:\\\\ astruem\u{e9}0]{0,80}", at in 0..80_usize) {
        let mut glance = Glance::default();
        let (first, rest) = bytes.as_bytes().split_at(at.min(bytes.len()));
        glance.read(first);
        glance.read(rest);
        glance.end();
        prop_assert!(glance.facts().model().is_some());
    }
}
