//! What the inventory keeps of a call, live or deferred: its shape and its measures, never its text.

use crate::clock::Timestamp;
use crate::domain::money::NanoUsd;
use crate::domain::usage::Tokens;

/// One call as the inventory has it. What is not known is 0, `false` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallRecord {
    /// When it arrived.
    pub at: Timestamp,
    /// Who called.
    pub tenant: String,
    /// The workload: the name that a header or a rule gave it, else a fingerprint (`wkl_` and 16 hex digits).
    pub workload: String,
    /// What became of it.
    pub way: Way,
    /// The rule that decided, if one did.
    pub rule: Option<String>,
    /// Why the Batches API could not take it, in the word that `blocked-by` has for it.
    pub blocked_by: Option<String>,
    /// The model that was asked for.
    pub model: String,
    /// What it took, from the final usage.
    pub tokens: Tokens,
    /// What it cost, and what it would have cost live; none for a model without a known price.
    pub cost: Option<(NanoUsd, NanoUsd)>,
    /// The part of either that no batch lowers: fees, such as that for searching the web.
    pub fees: NanoUsd,
    /// The HTTP status that the caller saw; 0 if none.
    pub status: u16,
    /// The length of the request's body, in bytes.
    pub request_bytes: u64,
    /// The length of the answer's body as far as it was sent, in bytes.
    pub answer_bytes: u64,
    /// From arrival to the end of the answer, in milliseconds.
    pub duration_ms: u64,
    /// From arrival to the first byte of the answer, in milliseconds.
    pub first_byte_ms: u64,
    /// How long the answer stood still because its reader did not take it, in milliseconds.
    pub reader_wait_ms: u64,
    /// Whether the client left before the answer's end.
    pub hung_up: bool,
    /// How often the client says that it has tried before.
    pub retries: u32,
    /// What calls: its `user-agent`, cut to a limit.
    pub client: String,
    /// Whether it asked for a stream.
    pub stream: bool,
    /// Its `max_tokens`.
    pub max_tokens: u64,
    /// How many messages it carries.
    pub messages: u32,
    /// How many tools it offers.
    pub tools: u32,
    /// Whether its last message brings the result of a tool: a turn within a tool loop.
    pub tool_turn: bool,
    /// Whether the answer stopped to use a tool.
    pub tool_stop: bool,
    /// A hash of its system prompt; 0 without one.
    pub system_hash: u64,
    /// A hash of its tools; 0 without any.
    pub tools_hash: u64,
    /// A hash of its first message: turns of one conversation share it.
    pub opening_hash: u64,
    /// The length of its tools and system prompt, which is what calls of a workload may share, in bytes.
    pub prefix_bytes: u64,
}

/// What became of a call that was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Way {
    /// It was served live.
    #[default]
    Live,
    /// It was deferred, and served by a batch.
    Batch,
    /// It was deferred, and served live in the end.
    Rescued,
    /// It was refused, or came to nothing.
    None,
}

impl Way {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Batch => "batch",
            Self::Rescued => "rescued",
            Self::None => "none",
        }
    }
}
