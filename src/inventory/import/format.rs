//! Formats: which there are, and how each is recognised.

use serde::Serialize;

use super::claude_code::ClaudeCode;
use super::row::Row;
use super::{Item, claude_code, helicone, litellm, own, provider};

/// A format that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Calls that Offpeak has recorded.
    Offpeak,
    /// LiteLLM's spend logs.
    LiteLlm,
    /// Helicone's requests.
    Helicone,
    /// What the provider's Console exports: tokens by day.
    UsageTable,
    /// The same, in dollars.
    CostTable,
    /// Answers of the provider's usage and cost reports.
    Report,
    /// Claude Code's events.
    ClaudeCode,
}

impl Format {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 7] = [
        Self::Offpeak,
        Self::LiteLlm,
        Self::Helicone,
        Self::UsageTable,
        Self::CostTable,
        Self::Report,
        Self::ClaudeCode,
    ];

    /// What it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offpeak => "Offpeak's own export",
            Self::LiteLlm => "LiteLLM spend logs",
            Self::Helicone => "Helicone export",
            Self::UsageTable => "the provider's usage export",
            Self::CostTable => "the provider's cost export",
            Self::Report => "the provider's usage and cost API",
            Self::ClaudeCode => "Claude Code telemetry",
        }
    }

    /// What it is called, and what it is known by, for whoever has a file that is none.
    pub fn recognised_by(self) -> &'static str {
        match self {
            Self::Offpeak => "Offpeak's own export (JSON Lines with at, workload, input_tokens)",
            Self::LiteLlm => "LiteLLM_SpendLogs (JSON or CSV with request_id, startTime, prompt_tokens)",
            Self::Helicone => "a Helicone export (JSON or CSV with response_id, request_created_at, prompt_tokens)",
            Self::UsageTable => "the provider's usage CSV (usage_date_utc, usage_input_tokens_no_cache)",
            Self::CostTable => "its cost CSV (usage_date_utc, token_type, cost_usd)",
            Self::Report => {
                "answers of its usage_report and cost_report APIs (JSON with data, or starting_at and results)"
            }
            Self::ClaudeCode => {
                "Claude Code's OpenTelemetry events (OTLP JSON with resourceLogs, or flat with event.name)"
            }
        }
    }

    /// The format that a row is of.
    pub(super) fn of(row: &Row<'_>) -> Option<Self> {
        Self::ALL.into_iter().find(|format| match format {
            Self::Offpeak => row.has(&["at", "workload", "input_tokens"]),
            Self::LiteLlm => row.has(&["request_id", "startTime", "prompt_tokens"]),
            Self::Helicone => {
                row.has(&["prompt_tokens"])
                    && (row.has(&["request_created_at"]) || row.has(&["response_id", "created_at"]))
            }
            Self::UsageTable => row.has(&["usage_date_utc", "usage_input_tokens_no_cache"]),
            Self::CostTable => row.has(&["usage_date_utc", "token_type", "cost_usd"]),
            Self::Report => row.has(&["data", "has_more"]) || row.has(&["starting_at", "results"]),
            Self::ClaudeCode => row.has(&["resourceLogs"]) || claude_code::is_event(row),
        })
    }
}

/// Reads rows of one format.
pub(super) struct Reader {
    pub(super) format: Format,
    claude_code: ClaudeCode,
}

impl Reader {
    pub(super) fn new(format: Format) -> Self {
        Self { format, claude_code: ClaudeCode::default() }
    }

    /// Gives what a row holds, or says why it does not read.
    pub(super) fn read(&mut self, row: &Row<'_>, give: &mut dyn FnMut(Item)) -> Result<(), String> {
        match self.format {
            Format::Offpeak => own::read(row).map(give),
            Format::LiteLlm => litellm::read(row).map(give),
            Format::Helicone => helicone::read(row).map(give),
            Format::UsageTable => provider::usage_line(row).map(give),
            Format::CostTable => provider::cost_line(row).map(give),
            Format::Report => provider::report(row, give),
            Format::ClaudeCode => self.claude_code.read(row, give),
        }
    }
}
