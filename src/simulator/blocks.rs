//! The blocks of an answer, each from a seed and from what the prompt asks for.

use serde_json::value::RawValue;

use super::error::json;
use super::message::Block;

/// A block that no client knows, written as no serialiser would.
pub(super) const HOLOGRAM: &str = r#"{"type":"hologram","depth":1.0,"scale":1e5,"tiny":-0.5E-7,"big":123456789012345678901234567890,"name":"caf\u00e9 \ud83d\ude00 \/","nested":{"a":[ 1, 2.50 ,{"b" : null}],"empty":{}},"flag":true}"#;

/// What a reader of lines may break at, and what may be broken in two: all of it belongs to the text.
const LINES: &str =
    "\n\r\n\r\t\u{b}\u{c}\u{1c}\u{85}\u{2028}\u{2029}\n\n\u{0}\u{1f}\u{7f}\u{feff}👩‍👩‍👧‍👦é\n\ndata: no event\n\n";

const VOCABULARY: [&str; 32] = [
    "a",
    "quiet",
    "batch",
    "of",
    "answers",
    "waits",
    "until",
    "the",
    "night",
    "is",
    "cheap",
    "and",
    "every",
    "token",
    "costs",
    "half",
    "while",
    "nobody",
    "looks",
    "naïve",
    "\"quoted\"",
    "日本語",
    "🙂",
    "back\\slash",
    "so",
    "it",
    "goes",
    "on",
    "line",
    "by",
    "small",
    "steps",
];

/// What comes before the words.
pub(super) fn preamble(seed: &str, asks: &impl Fn(&str) -> bool) -> Vec<Block> {
    let mut blocks = Vec::new();
    if asks("compaction") {
        blocks.push(Block::Compaction { content: words(seed, 10), encrypted_content: format!("Y29tcGFjdA{seed}") });
    }
    if asks("thinking") {
        blocks.push(Block::Thinking { thinking: words(seed, 12), signature: format!("c2ln{seed}=") });
    }
    if asks("redacted") {
        blocks.push(Block::Raw(raw(format!(r#"{{"type":"redacted_thinking","data":"{seed}"}}"#))));
    }
    if asks("server_tool") {
        blocks.extend(web_search(seed));
    }
    if asks("code_execution") {
        blocks.extend(code_execution(seed));
    }
    if asks("mcp") {
        blocks.extend(mcp(seed));
    }
    if asks("unknown-block") {
        blocks.push(Block::Raw(raw(HOLOGRAM.into())));
    }
    blocks
}

fn web_search(seed: &str) -> [Block; 2] {
    let id = format!("srvtoolu_{}", &seed[..24]);
    let result = format!(
        r#"{{"type":"web_search_tool_result","tool_use_id":"{id}","content":[{{"type":"web_search_result","url":"https://example.com/","title":"Example","encrypted_content":"{seed}","page_age":null}}]}}"#
    );
    let input = raw(r#"{"query":"off-peak prices"}"#.into());
    [Block::ServerToolUse { id, name: "web_search".into(), input }, Block::Raw(raw(result))]
}

fn code_execution(seed: &str) -> [Block; 2] {
    let id = format!("srvtoolu_{}", &seed[8..32]);
    let result = format!(
        r#"{{"type":"bash_code_execution_tool_result","tool_use_id":"{id}","content":{{"type":"bash_code_execution_result","content":[],"return_code":0,"stderr":"","stdout":"{seed}\n"}}}}"#
    );
    let input = raw(r#"{"command":"printf '%s\n' \"$SEED\""}"#.into());
    [Block::ServerToolUse { id, name: "bash_code_execution".into(), input }, Block::Raw(raw(result))]
}

fn mcp(seed: &str) -> [Block; 2] {
    let id = format!("mcptoolu_{}", &seed[..24]);
    let result = format!(
        r#"{{"type":"mcp_tool_result","tool_use_id":"{id}","is_error":false,"content":[{{"type":"text","text":"{seed}","citations":null}}]}}"#
    );
    let input = raw(r#"{"table":"prices","hours":[22, 6],"ratio":5.0e-1}"#.into());
    let used = Block::McpToolUse { id, name: "look_up".into(), server_name: "warehouse".into(), input };
    [used, Block::Raw(raw(result))]
}

/// The words themselves.
pub(super) fn text(seed: &str, length: u64, asks: &impl Fn(&str) -> bool) -> Block {
    let citation = |start: u32| {
        raw(format!(
            r#"{{"type":"char_location","cited_text":"{}","document_index":0,"document_title":null,"start_char_index":{start},"end_char_index":{},"file_id":null}}"#,
            &seed[..8],
            start + 8,
        ))
    };
    let text = if asks("json") {
        format!(r#"{{"label":"{}","score":0.{}}}"#, &seed[..6], pick(seed, 1, 100))
    } else if asks("lines") {
        format!("{}{LINES}{}", words(seed, length), words(seed, length))
    } else {
        words(seed, length)
    };
    let citations = match () {
        () if asks("citations") => Some(Some(vec![citation(0), citation(8)])),
        () if asks("unknown-block") => Some(None),
        () => None,
    };
    Block::Text { text, citations }
}

/// A call of the caller's tool, without input or with some.
pub(super) fn tool_use(seed: &str, name: &str, is_bare: bool) -> Block {
    let input = format!(r#"{{"query":{},"limit":{},"ratio":1.0}}"#, json(&words(seed, 4)), pick(seed, 2, 50));
    let input = raw(if is_bare { "{}".to_owned() } else { input });
    Block::ToolUse { id: format!("toolu_{}", &seed[..24]), name: name.to_owned(), input }
}

fn words(seed: &str, count: u64) -> String {
    let start = start(seed);
    let chosen = (0..count).map(|n| VOCABULARY[usize::try_from(mixed(start, n) % 32).unwrap_or(0)]);
    chosen.collect::<Vec<_>>().join(" ")
}

/// The `nth` number below `limit` that the seed gives.
pub(super) fn pick(seed: &str, nth: u64, limit: u64) -> u64 {
    mixed(start(seed), nth) % limit
}

/// Where a seed's numbers start: its first 16 digits.
fn start(seed: &str) -> u64 {
    u64::from_str_radix(&seed[..16], 16).unwrap_or(0)
}

/// The `nth` number after `start`, by splitmix.
fn mixed(start: u64, nth: u64) -> u64 {
    let mut z = start.wrapping_add(nth.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 27)
}

/// Raw JSON from text that this file wrote.
pub(super) fn raw(text: String) -> Box<RawValue> {
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
