//! Settings of how queued calls become batches.

use std::time::Duration;

/// When a batch is sent, and how large it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long the oldest call waits for company.
    pub linger: Duration,
    /// The most calls in one batch.
    pub max_requests: usize,
    /// The most bytes in one batch.
    pub max_bytes: u64,
    /// How long the provider's list may take to show a batch whose creation was not answered.
    pub reconcile_wait: Duration,
    /// After this silence another replica takes over.
    pub lease: Duration,
}
