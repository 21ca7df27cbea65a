//! Waits: how long a caller keeps its connection open for the result.

use std::time::Duration;

/// How long to hold the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// So long; zero is not at all.
    For(Duration),
    /// Until the deadline.
    UntilDeadline,
}
