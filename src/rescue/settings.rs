//! Settings of what happens when a deadline comes near.

use std::time::Duration;

use crate::domain::deferral::OnDeadline;

/// What to do with a call whose deadline is near, and what near is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What to do.
    pub on_deadline: OnDeadline,
    /// How long before the deadline.
    pub lead: Duration,
    /// After this silence another replica takes over.
    pub lease: Duration,
}
