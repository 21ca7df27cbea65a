//! Settings of what is observed.

/// What reading may take unless a test wants otherwise: of what a call costs anyway, too little to be noticed.
pub const TIME_PERMILLE: u32 = 15;

/// Whether calls are recorded, and what is kept of their prompts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether they are.
    pub enabled: bool,
    /// The share of its cores' time that reading what was seen may take, in thousandths. Nobody needs to set it, but tests do.
    pub time_permille: u32,
    /// Characters of a system prompt that are kept to recognise a workload.
    pub prompt_preview: usize,
}
