//! Batches: one provider Message Batch of ours, from intent to its last result.

use crate::clock::Timestamp;
use crate::domain::id::BatchId;
use crate::domain::ledger::Bill;
use crate::domain::money::NanoUsd;

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
    /// What the provider's prompt cache did for it.
    pub cache: CacheEffect,
}

/// What the prompt cache did for some calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheEffect {
    /// Tokens read from it.
    pub read_tokens: u64,
    /// Tokens written to it.
    pub write_tokens: u64,
    /// What the calls would have cost more without it; below nothing where it cost more than it spared.
    pub gain: NanoUsd,
}

impl CacheEffect {
    /// For one call, by its bill; without a price nothing is known of the gain.
    pub fn of(bill: &Bill) -> Self {
        let tokens = bill.billed.tokens();
        let write_tokens = tokens.cache_write_5m.saturating_add(tokens.cache_write_1h);
        // Prices are known as live ones: what is paid of those is paid of the difference.
        let gain =
            bill.price.map_or(NanoUsd::ZERO, |price| (price.uncached - price.live).times(price.paid.0, price.live.0));
        Self { read_tokens: tokens.cache_read, write_tokens, gain }
    }

    /// For both.
    pub fn plus(self, other: Self) -> Self {
        Self {
            read_tokens: self.read_tokens.saturating_add(other.read_tokens),
            write_tokens: self.write_tokens.saturating_add(other.write_tokens),
            gain: self.gain + other.gain,
        }
    }
}
