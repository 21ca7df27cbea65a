//! Batches: one provider Message Batch of ours, from intent to its last result.

use crate::clock::Timestamp;
use crate::domain::id::BatchId;

/// Where a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum BatchState {
    /// Its members are chosen; nothing has been sent.
    Building,
    /// It is being sent, or was sent and the answer is not known.
    Uncertain,
    /// The provider has it.
    Submitted,
    /// The provider is done with it; its results are to be brought home.
    Ended,
    /// Every member has its result or is queued again.
    Ingested,
    /// The provider never had it; its members are queued again.
    Void,
}

impl BatchState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Uncertain => "uncertain",
            Self::Submitted => "submitted",
            Self::Ended => "ended",
            Self::Ingested => "ingested",
            Self::Void => "void",
        }
    }
}

/// A batch as an operator sees it.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Our id.
    pub id: BatchId,
    /// The provider's id, once it is known.
    pub provider_id: Option<String>,
    /// Whose calls it carries.
    pub tenant: String,
    /// Where it stands.
    pub state: BatchState,
    /// How many calls it carries.
    pub item_count: u32,
    /// Their bytes.
    pub item_bytes: u64,
    /// When its members were chosen.
    pub built_at: Timestamp,
    /// When the provider was known to have it.
    pub submitted_at: Option<Timestamp>,
    /// When the provider was seen to be done with it.
    pub ended_at: Option<Timestamp>,
    /// When its last result was home.
    pub ingested_at: Option<Timestamp>,
}
