//! A workload as it is listed: what it looks like, what it adds up to, and what is thought of it.

use serde::Serialize;

use crate::inventory::assessment::Assessment;
use crate::inventory::workload::{Profile, Window, Workload};

/// A workload as JSON.
#[derive(Debug, Serialize)]
pub struct Listed<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    profile: &'a Profile,
    window: Window,
    calls: u64,
    input_tokens: u64,
    output_tokens: u64,
    cache_write_tokens: u64,
    cache_read_tokens: u64,
    assessment: &'a Assessment,
}

impl<'a> Listed<'a> {
    /// A workload and what is thought of it.
    pub fn new(workload: &'a Workload, assessment: &'a Assessment) -> Self {
        let tokens = &workload.sums.tokens;
        Self {
            kind: "workload",
            profile: &workload.profile,
            window: workload.window,
            calls: workload.sums.calls,
            input_tokens: tokens.input,
            output_tokens: tokens.output,
            cache_write_tokens: tokens.cache_write_5m + tokens.cache_write_1h,
            cache_read_tokens: tokens.cache_read,
            assessment,
        }
    }
}
