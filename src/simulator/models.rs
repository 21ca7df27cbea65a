//! The models that the stand-in offers: the provider's, and one that cannot batch.

use serde_json::{Value, json};

/// A model, and what of it matters to a caller.
#[derive(Debug)]
pub(super) struct Model {
    /// The id that answers carry.
    pub(super) id: &'static str,
    /// An undated id that means the same model.
    alias: Option<&'static str>,
    line: Option<&'static str>,
    created: &'static str,
    retires: Option<&'static str>,
    /// The most output tokens that a live call may ask for.
    pub(super) max_tokens: u64,
    /// Whether it can be used in a batch.
    pub(super) batch: bool,
    /// Whether the extended-output beta lifts its limit in batches.
    pub(super) extended_output: bool,
}

/// The invented model that cannot batch.
pub(super) const LIVE_ONLY: &str = "claude-livonly-1";

/// All models, newest first.
pub(super) static MODELS: [Model; 19] = [
    model("claude-fable-5-2", "fable", "2026-11-09", 128_000, false),
    model("claude-mythos-5-2", "mythos", "2026-11-09", 128_000, false),
    model("claude-haiku-5-5", "haiku", "2026-10-07", 64_000, true),
    model("claude-opus-5-5", "opus", "2026-10-06", 128_000, true),
    model("claude-sonnet-5-5", "sonnet", "2026-10-05", 64_000, true),
    model("claude-fable-5-1", "fable", "2026-09-01", 128_000, false),
    model("claude-mythos-5-1", "mythos", "2026-09-01", 128_000, false),
    model("claude-fable-5", "fable", "2026-07-20", 128_000, false),
    model("claude-mythos-5", "mythos", "2026-07-20", 128_000, false),
    model("claude-opus-5", "opus", "2026-07-10", 128_000, true),
    model("claude-sonnet-5", "sonnet", "2026-06-20", 64_000, true),
    model("claude-opus-4-8", "opus", "2026-05-20", 128_000, true),
    model("claude-opus-4-7", "opus", "2026-04-10", 128_000, true),
    model("claude-sonnet-4-6", "sonnet", "2026-02-17", 64_000, true),
    model("claude-opus-4-6", "opus", "2026-02-04", 128_000, true),
    dated("claude-opus-4-5-20251101", "claude-opus-4-5", "opus", "2025-11-01"),
    dated("claude-haiku-4-5-20251001", "claude-haiku-4-5", "haiku", "2025-10-01"),
    Model {
        retires: Some("2026-11-30"),
        ..dated("claude-sonnet-4-5-20250929", "claude-sonnet-4-5", "sonnet", "2025-09-29")
    },
    Model { line: None, batch: false, ..model(LIVE_ONLY, "", "2025-01-01", 64_000, false) },
];

/// The model of this id or alias.
pub(super) fn find(id: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.id == id || model.alias == Some(id))
}

impl Model {
    /// The model as the Models API shows it.
    pub(super) fn info(&self) -> Value {
        let midnight = |day: &str| format!("{day}T00:00:00Z");
        json!({
            "type": "model",
            "id": self.id,
            "display_name": self.display_name(),
            "created_at": midnight(self.created),
            "lifecycle": if self.retires.is_some() { "deprecated" } else { "active" },
            "deprecated_at": self.retires.map(|_| midnight(self.created)),
            "retires_at": self.retires.map(midnight),
            "line": self.line,
            "max_input_tokens": 1_000_000,
            "max_tokens": self.max_tokens,
            "capabilities": self.capabilities(),
        })
    }

    fn capabilities(&self) -> Value {
        let is = |supported: bool| json!({ "supported": supported });
        json!({
            "batch": is(self.batch),
            "citations": is(true),
            "code_execution": is(true),
            "context_management": {
                "supported": true,
                "clear_thinking_20251015": is(true),
                "clear_tool_uses_20250919": is(true),
                "compact_20260112": is(true),
            },
            "effort": {
                "supported": true, "low": is(true), "medium": is(true), "high": is(true), "xhigh": is(true), "max": is(true),
            },
            "image_input": is(true),
            "pdf_input": is(true),
            "server_tools": { "supported": true, "code_execution": is(true), "web_search": is(true) },
            "structured_outputs": is(true),
            "thinking": {
                "supported": true,
                "types": { "adaptive": is(true), "between_tools": is(true), "disabled": is(true), "enabled": is(true) },
            },
        })
    }

    fn display_name(&self) -> String {
        let words = self.alias.unwrap_or(self.id).split('-').map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_ascii_uppercase() + rest
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

const fn model(
    id: &'static str,
    line: &'static str,
    created: &'static str,
    max_tokens: u64,
    extended_output: bool,
) -> Model {
    Model { id, alias: None, line: Some(line), created, retires: None, max_tokens, batch: true, extended_output }
}

const fn dated(id: &'static str, alias: &'static str, line: &'static str, created: &'static str) -> Model {
    Model { alias: Some(alias), ..model(id, line, created, 64_000, false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_means_the_dated_model() {
        assert_eq!(find("claude-haiku-4-5").map(|model| model.id), Some("claude-haiku-4-5-20251001"));
        assert_eq!(find("claude-haiku-4-5-20251001").map(|model| model.id), Some("claude-haiku-4-5-20251001"));
        assert!(find("claude-2").is_none());
    }

    #[test]
    fn says_which_model_cannot_batch() {
        let batch = |id: &str| find(id).unwrap().info()["capabilities"]["batch"]["supported"].clone();
        assert_eq!(batch(LIVE_ONLY), Value::Bool(false));
        assert_eq!(batch("claude-opus-5-5"), Value::Bool(true));
    }
}
