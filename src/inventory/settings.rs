//! Settings of what is observed.

/// Whether calls are recorded, and what is kept of their prompts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether they are.
    pub enabled: bool,
    /// Characters of a system prompt that are kept to recognise a workload.
    pub prompt_preview: usize,
}
