//! The provider's Message: what an answer is made of.

use serde::Serialize;
use serde_json::value::RawValue;

/// A finished Message.
#[derive(Clone, Serialize)]
pub(super) struct Message {
    pub(super) model: &'static str,
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) role: &'static str,
    pub(super) content: Vec<Block>,
    pub(super) stop_reason: Option<&'static str>,
    pub(super) stop_sequence: Option<String>,
    pub(super) stop_details: Option<Box<RawValue>>,
    pub(super) usage: Usage,
    /// Where the provider's tools were run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) container: Option<Box<RawValue>>,
    /// What was done to the context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context_management: Option<Box<RawValue>>,
    /// A member that no client knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hologram_session: Option<Box<RawValue>>,
}

/// A block of content.
#[derive(Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block {
    /// Words, with their sources.
    Text {
        text: String,
        /// Absent, null or a list: the provider writes any of them.
        #[serde(skip_serializing_if = "Option::is_none")]
        citations: Option<Option<Vec<Box<RawValue>>>>,
    },
    /// What the model thought.
    Thinking { thinking: String, signature: String },
    /// A tool to be run by the caller.
    ToolUse { id: String, name: String, input: Box<RawValue> },
    /// A tool that the provider runs.
    ServerToolUse { id: String, name: String, input: Box<RawValue> },
    /// A tool of an MCP server, which the provider asks.
    McpToolUse { id: String, name: String, server_name: String, input: Box<RawValue> },
    /// What a long conversation was made shorter by.
    Compaction { content: String, encrypted_content: String },
    /// A block that has no deltas, as it is written.
    #[serde(untagged)]
    Raw(Box<RawValue>),
}

/// What the call used.
#[derive(Clone, Serialize)]
pub(super) struct Usage {
    pub(super) input_tokens: u64,
    pub(super) cache_creation_input_tokens: u64,
    pub(super) cache_read_input_tokens: u64,
    pub(super) cache_creation: CacheCreation,
    pub(super) output_tokens: u64,
    pub(super) output_tokens_details: OutputDetails,
    pub(super) server_tool_use: Option<ServerTools>,
    pub(super) service_tier: &'static str,
    pub(super) inference_geo: String,
    pub(super) speed: String,
    /// A member that no client knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hologram_tokens: Option<Box<RawValue>>,
}

/// What was written into the prompt cache, by how long it stays.
#[derive(Clone, Serialize)]
pub(super) struct CacheCreation {
    pub(super) ephemeral_5m_input_tokens: u64,
    pub(super) ephemeral_1h_input_tokens: u64,
}

/// A part of the output tokens.
#[derive(Clone, Copy, Serialize)]
pub(super) struct OutputDetails {
    pub(super) thinking_tokens: u64,
}

/// How often the provider's own tools were used.
#[derive(Clone, Copy, Serialize)]
pub(super) struct ServerTools {
    pub(super) web_search_requests: u64,
    pub(super) web_fetch_requests: u64,
}
