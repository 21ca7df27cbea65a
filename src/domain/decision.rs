//! Decisions: what the gateway chose for a call, and why, as the `x-defer-decision` header says it.

use std::fmt;

use crate::domain::id::DeferralId;

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It was served live.
    Live(LiveReason),
    /// It was queued because its header asked for it.
    Deferred(DeferralId),
    /// It was refused with this error code; nothing was queued or sent.
    Refused(&'static str),
}

/// Why a call was served live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveReason {
    /// Nothing asked for anything else.
    NoRule,
    /// Its `x-defer` header said so.
    Header,
    /// Its result is wanted sooner than a batch could bring it.
    DeadlineTooClose,
}

impl LiveReason {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRule => "no-rule",
            Self::Header => "header",
            Self::DeadlineTooClose => "deadline-too-close",
        }
    }
}

impl Decision {
    /// What was decided and why, in a word each.
    pub fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::Live(reason) => ("live", reason.as_str()),
            Self::Deferred(_) => ("deferred", "header"),
            Self::Refused(code) => ("refused", code),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live(reason) => write!(f, "live; reason={}", reason.as_str()),
            Self::Deferred(id) => write!(f, "deferred; reason=header; id={id}"),
            Self::Refused(code) => write!(f, "refused; reason={code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_said_in_the_agreed_words() {
        assert_eq!(Decision::Live(LiveReason::NoRule).to_string(), "live; reason=no-rule");
        assert_eq!(Decision::Live(LiveReason::DeadlineTooClose).to_string(), "live; reason=deadline-too-close");
        assert_eq!(Decision::Refused("too-large").to_string(), "refused; reason=too-large");
        let id = DeferralId(uuid::Uuid::nil());
        assert_eq!(Decision::Deferred(id).to_string(), format!("deferred; reason=header; id={id}"));
    }
}
