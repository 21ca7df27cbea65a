//! What the stand-in answers: decided by what the call says, so that live and batched twins get the same words.
//!
//! Words in square brackets in the last user message steer it:
//!
//! | word | effect |
//! | --- | --- |
//! | `[thinking]` | a thinking block with a signature comes first |
//! | `[redacted]` | a redacted thinking block comes first |
//! | `[citations]` | the text has citations |
//! | `[json]` | the text is a JSON object |
//! | `[server_tool]` | a web search and its result come before the text |
//! | `[code_execution]` | a command and its output come before the text, and the message names their container |
//! | `[mcp]` | a tool of an MCP server and its result come before the text |
//! | `[compaction]` | a compaction comes first, and the message says which edits of the context were made |
//! | `[unknown-block]` | a block, a member and a usage field that no client knows, with oddly written numbers and escapes |
//! | `[lines]` | the text has every kind of line break, and characters that take several bytes or escapes |
//! | `[tool_use]` | ends in a call of the first tool that the request offers |
//! | `[bare_tool]` | nothing but a call of that tool, without any input |
//! | `[refusal]`, `[pause_turn]`, `[stop_sequence]` | ends for that reason |
//! | `[long:N]` | N words of text, a token each, at most [`LONG_MAX`] |
//! | `[differ]` | the words are not the same live and in a batch |
//! | `[error:TYPE]` | no answer but this error, such as `[error:overloaded_error]` |

use super::blocks::{self, pick, raw};
use super::cache::CacheUsage;
use super::call::Fields;
use super::digest::{hex, hex_of};
use super::error::ApiError;
use super::message::{CacheCreation, Message, OutputDetails, ServerTools, Usage};
use super::validate::Facts;

/// The most words that `[long:N]` gives: the provider's largest output.
pub(super) const LONG_MAX: u64 = 300_000;

/// How a call is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// At once.
    Standard,
    /// In a batch.
    Batch,
}

/// The error that the call asks for, if it does.
pub(super) fn failure(facts: &Facts) -> Option<ApiError> {
    let kind = steered(&facts.prompt, "error")?;
    Some(ApiError::of(kind.to_owned(), "The simulator was asked to fail"))
}

/// The answer to a valid call.
pub(super) fn answer(call: &Fields<'_>, facts: &Facts, tier: Tier, cached: CacheUsage) -> Message {
    let steers = facts.prompt.contains('[');
    let asks = |word: &str| steers && facts.prompt.contains(&format!("[{word}]"));
    let said = call.said();
    let mut seed = hex(&said.digest);
    if asks("differ") && tier == Tier::Batch {
        seed = hex_of(&seed);
    }
    let thinking = if asks("thinking") { 12 } else { 0 };
    let length = steered(&facts.prompt, "long").and_then(|n| n.parse().ok()).unwrap_or_else(|| 8 + pick(&seed, 0, 24));
    let length = length.min(LONG_MAX).min(facts.max_tokens.saturating_sub(thinking));
    let cut = facts.max_tokens <= thinking + length;
    let is_bare = asks("bare_tool");
    let tool = facts.tool.clone().filter(|_| asks("tool_use") || is_bare);

    let mut content = blocks::preamble(&seed, &asks);
    if length > 0 && !(is_bare && tool.is_some()) {
        content.push(blocks::text(&seed, length, &asks));
    }
    content.extend(tool.iter().map(|name| blocks::tool_use(&seed, name, is_bare)));
    let stop_reason = match () {
        () if asks("refusal") => "refusal",
        () if cut => "max_tokens",
        () if tool.is_some() => "tool_use",
        () if asks("pause_turn") => "pause_turn",
        () if asks("stop_sequence") && facts.stop_sequence.is_some() => "stop_sequence",
        () => "end_turn",
    };
    let tier_name = if tier == Tier::Batch { "batch" } else { "standard" };
    Message {
        model: facts.model.id,
        id: format!("msg_{}", &hex_of(&format!("{seed}{tier_name}"))[..24]),
        kind: "message",
        role: "assistant",
        content,
        stop_reason: Some(stop_reason),
        stop_sequence: facts.stop_sequence.clone().filter(|_| stop_reason == "stop_sequence"),
        stop_details: (stop_reason == "refusal").then(|| raw(REFUSAL.into())),
        usage: Usage {
            input_tokens: said.prompt_tokens.saturating_sub(cached.total()),
            cache_creation_input_tokens: cached.written_5m + cached.written_1h,
            cache_read_input_tokens: cached.read,
            cache_creation: CacheCreation {
                ephemeral_5m_input_tokens: cached.written_5m,
                ephemeral_1h_input_tokens: cached.written_1h,
            },
            output_tokens: if facts.max_tokens == 0 { 0 } else { thinking + length + u64::from(tool.is_some()) * 16 },
            output_tokens_details: OutputDetails { thinking_tokens: thinking },
            server_tool_use: asks("server_tool")
                .then_some(ServerTools { web_search_requests: 1, web_fetch_requests: 0 }),
            service_tier: tier_name,
            inference_geo: facts.geo.clone().unwrap_or_else(|| "global".into()),
            speed: facts.speed.clone().unwrap_or_else(|| "standard".into()),
            hologram_tokens: asks("unknown-block").then(|| raw("1e2".into())),
        },
        container: asks("code_execution").then(|| raw(container(&seed))),
        context_management: asks("compaction").then(|| raw(EDITS.into())),
        hologram_session: asks("unknown-block").then(|| raw(r#"{"depth":1.0, "big":98765432109876543210}"#.into())),
    }
}

const REFUSAL: &str =
    r#"{"type":"refusal","category":"general_harms","explanation":"The simulator was asked to refuse."}"#;

/// What was done to the context, as a message says that compacts it.
const EDITS: &str =
    r#"{"applied_edits":[{"type":"clear_tool_uses_20250919","cleared_tool_uses":2,"cleared_input_tokens":512}]}"#;

/// Where a command was run.
fn container(seed: &str) -> String {
    format!(r#"{{"id":"container_{}","expires_at":"2040-01-01T00:00:00Z","skills":null}}"#, &seed[..24])
}

/// The value of a steering word: `N` of `[name:N]`.
fn steered<'p>(prompt: &'p str, name: &str) -> Option<&'p str> {
    let (_, rest) = prompt.split_once(&format!("[{name}:"))?;
    rest.split_once(']').map(|(value, _)| value)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::simulator::auth::{Caller, Version};
    use crate::simulator::blocks::HOLOGRAM;
    use crate::simulator::error::json;
    use crate::simulator::message::Block;
    use crate::simulator::validate;

    /// The answer to a call with this prompt, some members more, and one tool.
    pub(in super::super) fn answered(prompt: &str, more: &str, tier: Tier) -> Message {
        let body = format!(
            r#"{{"model":"claude-haiku-4-5","max_tokens":1000,"tools":[{{"name":"look","input_schema":{{}}}}],"stop_sequences":["END"],"messages":[{{"role":"user","content":"{prompt}"}}]{more}}}"#
        );
        let caller =
            Caller { workspace: "w".into(), version: Version::V2023, betas: Default::default(), user_profile: None };
        let call = Fields::parse(body.as_bytes()).unwrap();
        let facts = validate::live(&call, &caller).unwrap();
        answer(&call, &facts, tier, CacheUsage::default())
    }

    fn kinds(message: &Message) -> Vec<String> {
        let blocks =
            message.content.iter().map(|block| serde_json::from_str::<serde_json::Value>(&json(block)).unwrap());
        blocks.map(|block| block["type"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn live_and_batched_twins_get_the_same_words() {
        let content = |prompt, more, tier| json(&answered(prompt, more, tier).content);
        let live = content("Hi", r#","stream":true"#, Tier::Standard);
        assert_eq!(live, content("Hi", "", Tier::Batch));
        assert_ne!(live, content("Ho", "", Tier::Batch));
        assert_ne!(content("[differ]", "", Tier::Standard), content("[differ]", "", Tier::Batch));
        let (live, batched) = (answered("Hi", "", Tier::Standard).usage, answered("Hi", "", Tier::Batch).usage);
        assert_eq!((live.service_tier, batched.service_tier), ("standard", "batch"));
        assert_eq!((live.input_tokens, live.output_tokens), (batched.input_tokens, batched.output_tokens));
    }

    #[test]
    fn steering_words_choose_the_blocks() {
        for (prompt, expected) in [
            ("Hi", vec!["text"]),
            ("[thinking]", vec!["thinking", "text"]),
            ("[redacted]", vec!["redacted_thinking", "text"]),
            ("[tool_use]", vec!["text", "tool_use"]),
            ("[server_tool]", vec!["server_tool_use", "web_search_tool_result", "text"]),
            ("[code_execution]", vec!["server_tool_use", "bash_code_execution_tool_result", "text"]),
            ("[mcp]", vec!["mcp_tool_use", "mcp_tool_result", "text"]),
            ("[compaction]", vec!["compaction", "text"]),
            ("[unknown-block]", vec!["hologram", "text"]),
            ("[bare_tool]", vec!["tool_use"]),
        ] {
            assert_eq!(kinds(&answered(prompt, "", Tier::Standard)), expected, "{prompt}");
        }
    }

    #[test]
    fn steering_words_choose_how_it_ends() {
        for (prompt, expected) in [
            ("Hi", "end_turn"),
            ("[tool_use]", "tool_use"),
            ("[bare_tool]", "tool_use"),
            ("[refusal]", "refusal"),
            ("[pause_turn]", "pause_turn"),
            ("[stop_sequence]", "stop_sequence"),
            ("[long:2000]", "max_tokens"),
        ] {
            assert_eq!(answered(prompt, "", Tier::Standard).stop_reason, Some(expected), "{prompt}");
        }
        let long = answered("[long:700]", "", Tier::Standard);
        assert_eq!((long.usage.output_tokens, long.stop_reason), (700, Some("end_turn")));
    }

    #[test]
    fn a_call_for_no_tokens_gets_none() {
        let message = answered("Hi", r#","max_tokens":0"#, Tier::Standard);
        assert_eq!((message.content.len(), message.usage.output_tokens), (0, 0));
        assert_eq!(message.stop_reason, Some("max_tokens"));
    }

    #[test]
    fn odd_json_stays_as_it_is_written() {
        let text = json(&answered("[unknown-block]", "", Tier::Batch));
        assert!(text.contains(HOLOGRAM));
        assert!(text.contains(r#""hologram_tokens":1e2"#));
        assert!(text.contains(r#""hologram_session":{"depth":1.0, "big":98765432109876543210}"#));
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }

    #[test]
    fn json_is_what_was_asked_for() {
        let message = answered("[json]", "", Tier::Standard);
        let Some(Block::Text { text, .. }) = message.content.first() else { panic!("no text") };
        assert!(serde_json::from_str::<serde_json::Value>(text).unwrap().is_object());
    }
}
