//! Settings of how long things are kept.

use std::time::Duration;

/// How long a final deferral is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Counted from when it became final.
    pub retention: Duration,
}
