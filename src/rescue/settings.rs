//! Settings of what happens when a deadline comes near.

use std::time::Duration;

/// What to do with a call whose deadline is near, and what near is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What to do.
    pub on_deadline: OnDeadline,
    /// How long before the deadline.
    pub lead: Duration,
}

/// What becomes of a call without a result when its deadline comes near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDeadline {
    /// It is sent live.
    Live,
    /// It goes on waiting for its batch.
    Wait,
    /// It expires.
    Expire,
}
