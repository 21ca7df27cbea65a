//! Settings of how often the provider is asked.

use std::time::Duration;

/// How often a submitted batch is asked for: often while it is young, then less and less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The shortest pause between two questions.
    pub min: Duration,
    /// The longest pause between two questions; never shorter than `min`.
    pub max: Duration,
    /// After this silence another replica takes over.
    pub lease: Duration,
}
