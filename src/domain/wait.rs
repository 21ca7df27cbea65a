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

impl Wait {
    /// What is left of it after so long.
    pub fn left_after(self, waited: Duration) -> Self {
        match self {
            Self::For(wait) => Self::For(wait.saturating_sub(waited)),
            Self::UntilDeadline => Self::UntilDeadline,
        }
    }
}
