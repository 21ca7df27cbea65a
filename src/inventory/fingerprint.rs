//! What a workload is recognised by where nobody names it: model family, kind of client, and a prompt without what
//! changes from call to call.

use crate::inventory::keyed::Keyed;
use crate::inventory::normal::normal;
use crate::inventory::sketch::Sketch;

/// The longest family or kind of client; both are part of a key.
const KIND_MAX: usize = 40;

/// A call's system prompt and tools. It is not to be shown, and not to be kept.
pub(super) struct Prompt {
    pub(super) system: String,
    pub(super) tools: Vec<String>,
}

/// What is left of a prompt.
#[derive(Clone)]
pub(super) struct Traits {
    /// A hash of its normal form and of the names of its tools: the same for each call that fills in the same template.
    pub(super) template: u64,
    /// What it is compared by with others that are not quite the same.
    pub(super) sketch: Sketch,
    /// Its beginning, as far as the operator wants it kept.
    pub(super) preview: Option<String>,
}

impl Traits {
    pub(super) fn of(prompt: &Prompt, preview: usize, keyed: &Keyed) -> Self {
        let mut tools: Vec<&str> = prompt.tools.iter().map(String::as_str).collect();
        tools.sort_unstable();
        let normal = normal(&prompt.system);
        let template = keyed.hash("template", format!("{normal}\n{}", tools.join("\n")).as_bytes());
        let shown = prompt.system.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown: String = shown.chars().filter(|letter| !letter.is_control()).take(preview).collect();
        Self {
            template,
            sketch: Sketch::of(&normal, &tools, keyed),
            preview: Some(shown).filter(|shown| !shown.is_empty()),
        }
    }
}

/// A model's family: its name without what tells one version from another.
pub(super) fn family(model: &str) -> String {
    let is_version = |part: &str| part.is_empty() || part == "latest" || part.bytes().any(|byte| byte.is_ascii_digit());
    let kept: Vec<&str> = model.split(['-', '@', ':']).filter(|part| !is_version(part)).collect();
    kept.join("-").chars().take(KIND_MAX).collect()
}

/// The kind of client that a `user-agent` names: its first product, without a version.
pub(super) fn client_kind(user_agent: &str) -> String {
    let product = user_agent.split([' ', '(', ';']).next().unwrap_or_default();
    let is_version = |part: &str| part.trim_start_matches('v').starts_with(|first: char| first.is_ascii_digit());
    let kept = match product.split_once('/') {
        Some((name, version)) if is_version(version) => name,
        _ => product,
    };
    kept.chars().filter(|letter| letter.is_ascii_graphic()).take(KIND_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_left_out() {
        for (model, expected) in [
            ("claude-haiku-4-5", "claude-haiku"),
            ("claude-haiku-4-5-20251001", "claude-haiku"),
            ("claude-3-5-sonnet-latest", "claude-sonnet"),
            ("claude-opus-4@20250514", "claude-opus"),
            ("anthropic.claude-sonnet-4-20250514-v1:0", "anthropic.claude-sonnet"),
            ("", ""),
        ] {
            assert_eq!(family(model), expected, "{model}");
        }
        for (agent, expected) in [
            ("Anthropic/Python 0.39.0", "Anthropic/Python"),
            ("claude-cli/1.0.44 (external, cli)", "claude-cli"),
            ("python-requests/2.31.0", "python-requests"),
            ("airflow/v2.9 python-httpx/0.27", "airflow"),
            ("", ""),
        ] {
            assert_eq!(client_kind(agent), expected, "{agent}");
        }
    }

    #[test]
    fn a_template_filled_in_otherwise_is_the_same() {
        let traits = |system: &str, tools: &[&str]| {
            let prompt = Prompt { system: system.into(), tools: tools.iter().map(ToString::to_string).collect() };
            Traits::of(&prompt, 12, &Keyed::test())
        };
        let one = traits("Today is 2026-11-25. Answer  customer 4711.", &["a", "b"]);
        let two = traits("Today is 2027-01-02. Answer customer 99.", &["b", "a"]);
        assert_eq!(one.template, two.template);
        assert_eq!(one.preview.as_deref(), Some("Today is 202"));
        assert_ne!(one.template, traits("Today is 2027-01-02. Answer customer 99.", &["b"]).template);
        assert_eq!(traits("", &[]).preview, None);
    }
}
