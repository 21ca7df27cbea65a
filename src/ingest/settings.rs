//! Settings of how answers come home.

use std::time::Duration;

/// How often a call is tried, and who looks after a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often a call may be submitted before its last error stands.
    pub max_attempts: u32,
    /// After this silence another replica takes over.
    pub lease: Duration,
}
