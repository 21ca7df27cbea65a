//! Decisions: what the gateway chose for a call, and why, as the `x-defer-decision` header says it.

use std::fmt;
use std::sync::Arc;

use crate::domain::id::DeferralId;

/// The name of the rule that decided, if one did.
pub type ByRule = Option<Arc<str>>;

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It was served live.
    Live(ByRule, LiveReason),
    /// It was queued: because a rule chose it, or because its header asked for it.
    Deferred(ByRule, DeferralId),
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
    /// Its rule says so.
    Rule,
    /// It is not among those that its rule already means.
    Rollout,
    /// Its rule chose to defer it, and this stands in the way.
    NotDeferrable(&'static str),
    /// Its result is wanted sooner than a batch could bring it.
    DeadlineTooClose,
    /// It is longer than what is queued.
    TooLarge,
}

impl LiveReason {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRule => "no-rule",
            Self::Header => "header",
            Self::Rule => "rule",
            Self::Rollout => "rollout",
            Self::NotDeferrable(_) => "not-deferrable",
            Self::DeadlineTooClose => "deadline-too-close",
            Self::TooLarge => "too-large",
        }
    }
}

impl Decision {
    /// What was decided and why, in a word each.
    pub fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::Live(_, reason) => ("live", reason.as_str()),
            Self::Deferred(Some(_), _) => ("deferred", "rule"),
            Self::Deferred(None, _) => ("deferred", "header"),
            Self::Refused(code) => ("refused", code),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live(rule, reason) => {
                f.write_str("live; ")?;
                if let Some(rule) = rule {
                    write!(f, "rule=\"{rule}\"; ")?;
                }
                f.write_str("reason=")?;
                f.write_str(reason.as_str())?;
                match reason {
                    LiveReason::NotDeferrable(blocked_by) => write!(f, "; blocked-by={blocked_by}"),
                    _ => Ok(()),
                }
            }
            Self::Deferred(Some(rule), id) => write!(f, "deferred; rule=\"{rule}\"; id={id}"),
            Self::Deferred(None, id) => write!(f, "deferred; reason=header; id={id}"),
            Self::Refused(code) => write!(f, "refused; reason={code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_said_in_the_agreed_words() {
        let id = DeferralId(uuid::Uuid::nil());
        let nightly = || Some(Arc::from("nightly"));
        for (decision, said) in [
            (Decision::Live(None, LiveReason::NoRule), "live; reason=no-rule"),
            (Decision::Live(None, LiveReason::DeadlineTooClose), "live; reason=deadline-too-close"),
            (Decision::Live(nightly(), LiveReason::Rule), "live; rule=\"nightly\"; reason=rule"),
            (Decision::Live(nightly(), LiveReason::Rollout), "live; rule=\"nightly\"; reason=rollout"),
            (
                Decision::Live(nightly(), LiveReason::NotDeferrable("thread")),
                "live; rule=\"nightly\"; reason=not-deferrable; blocked-by=thread",
            ),
            (Decision::Live(nightly(), LiveReason::TooLarge), "live; rule=\"nightly\"; reason=too-large"),
            (Decision::Refused("too-large"), "refused; reason=too-large"),
            (Decision::Deferred(None, id), "deferred; reason=header; id=dfr_00000000000000000000000000000000"),
            (Decision::Deferred(nightly(), id), "deferred; rule=\"nightly\"; id=dfr_00000000000000000000000000000000"),
        ] {
            assert_eq!(decision.to_string(), said);
        }
    }
}
