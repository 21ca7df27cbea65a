//! Why a call is not queued.

use crate::domain::body::NotDeferrable;
use crate::domain::budget::Spent;
use crate::domain::decision::LiveReason;
use crate::intake::asking::Promise;

/// Why a call is not queued; nothing was queued or sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A header of ours does not parse: which, and what is allowed.
    InvalidHeader {
        /// The header's name.
        name: String,
        /// What is allowed.
        allowed: String,
    },
    /// A batch cannot take this call.
    NotDeferrable(NotDeferrable),
    /// There is nothing to act as upstream.
    MissingCredential,
    /// The idempotency key belongs to a call with another body.
    IdempotencyMismatch,
    /// The body is longer than this many bytes.
    TooLarge(u64),
    /// Its webhook may not go there: why, and what is allowed.
    CallbackForbidden(String),
    /// Its group takes no more members.
    GroupClosed,
    /// As much is queued as may be; room is likely after this many seconds.
    QueueFull {
        /// How long to wait.
        retry_after_seconds: u64,
    },
    /// It goes beyond a budget that is spent; the next one begins after this many seconds.
    BudgetExceeded {
        /// The budget.
        spent: Box<Spent>,
        /// How long to wait.
        retry_after_seconds: u64,
    },
    /// It cannot be made durable.
    StoreUnavailable,
}

impl Refusal {
    /// Why a call is served live that a rule chose to defer and that cannot be, since its caller did not ask for it; none if
    /// a header of the caller's own is to blame, which would be lost without a word, or it may not be served live either.
    pub fn live_reason(&self, promise: &Promise) -> Option<LiveReason> {
        let blocked_by = match self {
            Self::TooLarge(_) => return Some(LiveReason::TooLarge),
            Self::InvalidHeader { .. } | Self::CallbackForbidden(_) if !promise.callback => return None,
            Self::BudgetExceeded { .. } => return None,
            Self::NotDeferrable(no) => no.blocked_by,
            Self::InvalidHeader { .. } | Self::CallbackForbidden(_) => "callback-forbidden",
            Self::MissingCredential => "credential",
            Self::IdempotencyMismatch => "idempotency-mismatch",
            Self::GroupClosed => "group-closed",
            Self::QueueFull { .. } => "queue-full",
            Self::StoreUnavailable => "store-unavailable",
        };
        Some(LiveReason::NotDeferrable(blocked_by))
    }

    pub(super) fn not_deferrable(blocked_by: &'static str, message: impl Into<String>) -> Self {
        Self::NotDeferrable(NotDeferrable { blocked_by, message: message.into() })
    }
}
