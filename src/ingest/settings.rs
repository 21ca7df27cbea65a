//! Settings of bringing results home.

use std::time::Duration;

use crate::domain::deferral::OnDeadline;

/// When a call that came back without a Message is tried again, and what otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often a call may be submitted before its last error stands.
    pub max_attempts: u32,
    /// What becomes of a call that may not be tried again.
    pub on_deadline: OnDeadline,
    /// After this silence another replica takes over.
    pub lease: Duration,
}
