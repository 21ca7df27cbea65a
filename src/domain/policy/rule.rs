//! Rules: which calls are meant, and what is to become of them.

use std::sync::Arc;
use std::time::Duration;

use super::{Condition, Variable};

/// The longest name of a rule.
const NAME_MAX: usize = 64;

/// What a rule's name may look like, for error texts: it stands in a header, in quotes.
pub const NAME_FORM: &str = "a name of 1 to 64 visible ASCII characters or blanks, without \" and \\";

/// One entry of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name; unique.
    pub name: Arc<str>,
    /// Which calls it matches.
    pub when: Condition,
    /// What becomes of them.
    pub action: Action,
    /// Of how many in a hundred.
    pub rollout: u8,
    /// Within what time the result is wanted; without one, within the default.
    pub deadline: Option<Duration>,
    /// What a caller gets whose call it defers.
    pub reply: Reply,
    /// The workload that its calls belong to.
    pub workload: Option<String>,
    /// Where a webhook goes: a URL, or the name of a receiver.
    pub callback: Option<String>,
    /// Whether the prompts of its calls may be marked for caching.
    pub cache: Cache,
}

/// What becomes of a call that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is served live.
    Live,
    /// It is served live, and counted as one that would have been deferred.
    Observe,
    /// It is served live, to be compared with what a batch would have answered.
    Verify,
    /// It is deferred.
    Defer,
}

/// What a caller gets whose call was deferred without its asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The result, on the connection that waits for it.
    Hold,
    /// The ticket.
    Ticket,
}

/// Whether prompts may be marked for caching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// They stay as they are.
    Off,
    /// Where several queued calls share a beginning.
    Auto,
}

impl Rule {
    /// Whether it may have to see the body of a call: its condition asks for it, or its rollout deals by it.
    pub fn needs_body(&self) -> bool {
        self.when.reads().iter().any(Variable::is_in_body) || (1..100).contains(&self.rollout)
    }
}

/// Whether a rule may have this name.
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && !matches!(byte, b'"' | b'\\');
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(allowed) && text.trim() == text
}

impl Action {
    /// All of them, for settings.
    pub const ALL: [Self; 4] = [Self::Live, Self::Observe, Self::Verify, Self::Defer];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Observe => "observe",
            Self::Verify => "verify",
            Self::Defer => "defer",
        }
    }
}

impl Reply {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Ticket => "ticket",
        }
    }
}

impl Cache {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_stand_in_a_header_in_quotes() {
        for right in ["nightly", "Nightly summaries (eu)", "a=b; c", &"x".repeat(64)] {
            assert!(is_name(right), "{right}");
        }
        for wrong in ["", " ", " a", "a ", "a\"b", "a\\b", "a\nb", "nächtlich", &"x".repeat(65)] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
