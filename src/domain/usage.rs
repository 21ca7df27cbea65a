//! Usage: what a Message says that it took, in tokens of each class.

use serde::{Deserialize, Serialize};

/// Tokens by the class that they are billed in; a token is in one class only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Read from the prompt at full price, cached ones left out (as the provider counts them).
    pub input: u64,
    /// Written by the model, thinking included.
    pub output: u64,
    /// Written to the cache for five minutes.
    pub cache_write_5m: u64,
    /// Written to the cache for an hour.
    pub cache_write_1h: u64,
    /// Read from the cache.
    pub cache_read: u64,
}

impl Tokens {
    /// The whole prompt, by which some models' price tiers go.
    pub fn prompt(&self) -> u64 {
        let cached = self.cache_write_5m.saturating_add(self.cache_write_1h).saturating_add(self.cache_read);
        self.input.saturating_add(cached)
    }

    /// Both, class by class.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            cache_write_5m: self.cache_write_5m.saturating_add(other.cache_write_5m),
            cache_write_1h: self.cache_write_1h.saturating_add(other.cache_write_1h),
            cache_read: self.cache_read.saturating_add(other.cache_read),
        }
    }

    /// What is left without the other, class by class.
    pub fn minus(&self, other: &Self) -> Self {
        Self {
            input: self.input.saturating_sub(other.input),
            output: self.output.saturating_sub(other.output),
            cache_write_5m: self.cache_write_5m.saturating_sub(other.cache_write_5m),
            cache_write_1h: self.cache_write_1h.saturating_sub(other.cache_write_1h),
            cache_read: self.cache_read.saturating_sub(other.cache_read),
        }
    }
}

/// What one sampling pass was, and what it took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// The model of a pass that another one served (compaction, advice); `None` for the Message's own.
    pub model: Option<String>,
    /// Its tokens.
    pub tokens: Tokens,
}

/// The bill of one Message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The Message's own totals, and passes that they do not hold.
    pub passes: Vec<Pass>,
    /// Web searches, which cost the same in a batch.
    pub web_searches: u64,
    /// Whether it was bound to run in the United States, at a surcharge.
    pub us_only: bool,
    /// Whether it ran in fast mode.
    pub fast: bool,
}

/// The few members of a Message that its price depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Billed {
    /// The model that answered.
    pub model: String,
    /// What it took.
    pub usage: Usage,
}

impl Billed {
    /// Reads the bill from a Message's text; `None` if it has none that can be read.
    pub fn read(message: &str) -> Option<Self> {
        let wire: WireMessage = serde_json::from_str(message).ok()?;
        let usage = wire.usage?;
        let mut passes = vec![Pass { model: None, tokens: usage.tokens.into() }];
        // Iterations of these types are not in the Message's own totals; the others are.
        let apart = usage
            .iterations
            .into_iter()
            .flatten()
            .filter(|pass| matches!(pass.kind.as_deref(), Some("compaction" | "advisor_message")));
        passes.extend(apart.map(|pass| Pass { model: pass.model, tokens: pass.tokens.into() }));
        Some(Self {
            model: wire.model,
            usage: Usage {
                passes,
                web_searches: usage.server_tool_use.and_then(|tools| tools.web_search_requests).unwrap_or(0),
                us_only: usage.inference_geo.as_deref() == Some("us"),
                fast: usage.speed.as_deref() == Some("fast"),
            },
        })
    }

    /// The tokens of all passes together, for counting rather than for pricing.
    pub fn tokens(&self) -> Tokens {
        self.usage.passes.iter().fold(Tokens::default(), |sum, pass| sum.plus(&pass.tokens))
    }

    /// The passes that the Message's own totals do not hold, as JSON; `None` where there are none.
    pub fn passes_apart(&self) -> Option<String> {
        let apart = self.usage.passes.get(1..).filter(|apart| !apart.is_empty())?;
        serde_json::to_string(apart).ok()
    }

    /// Puts together what was kept of a bill: the tokens of all passes, and those passes that are apart.
    pub fn restore(model: String, all: &Tokens, apart: Option<&str>, rest: Usage) -> Self {
        let apart: Vec<Pass> = apart.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let own = apart.iter().fold(*all, |left, pass| left.minus(&pass.tokens));
        let passes = [Pass { model: None, tokens: own }].into_iter().chain(apart).collect();
        Self { model, usage: Usage { passes, ..rest } }
    }

    /// The same work without any caching: every token of the prompt read afresh.
    pub fn uncached(&self) -> Self {
        let mut afresh = self.clone();
        for pass in &mut afresh.usage.passes {
            pass.tokens = Tokens { input: pass.tokens.prompt(), output: pass.tokens.output, ..Tokens::default() };
        }
        afresh
    }
}

#[derive(Deserialize)]
struct WireMessage {
    model: String,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(flatten)]
    tokens: WireTokens,
    server_tool_use: Option<WireTools>,
    inference_geo: Option<String>,
    speed: Option<String>,
    iterations: Option<Vec<WirePass>>,
}

#[derive(Deserialize)]
struct WirePass {
    #[serde(rename = "type")]
    kind: Option<String>,
    model: Option<String>,
    #[serde(flatten)]
    tokens: WireTokens,
}

#[derive(Deserialize)]
struct WireTools {
    web_search_requests: Option<u64>,
}

#[derive(Deserialize)]
struct WireTokens {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation: Option<WireCacheCreation>,
}

#[derive(Deserialize)]
struct WireCacheCreation {
    ephemeral_5m_input_tokens: Option<u64>,
    ephemeral_1h_input_tokens: Option<u64>,
}

impl From<WireTokens> for Tokens {
    fn from(wire: WireTokens) -> Self {
        let written = wire.cache_creation_input_tokens.unwrap_or(0);
        let long = wire.cache_creation.as_ref().and_then(|split| split.ephemeral_1h_input_tokens).unwrap_or(0);
        let short = wire.cache_creation.and_then(|split| split.ephemeral_5m_input_tokens);
        Self {
            input: wire.input_tokens.unwrap_or(0),
            output: wire.output_tokens.unwrap_or(0),
            // Without the split all that was written is taken for the default of five minutes.
            cache_write_5m: short.unwrap_or_else(|| written.saturating_sub(long)),
            cache_write_1h: long,
            cache_read: wire.cache_read_input_tokens.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_do_not_overlap() {
        let message = r#"{"model":"m","usage":{"input_tokens":10,"output_tokens":5,"cache_creation_input_tokens":30,
            "cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"cache_read_input_tokens":7,
            "server_tool_use":{"web_search_requests":2},"inference_geo":"us","new_field":{}}}"#;
        let billed = Billed::read(message).unwrap();
        let tokens = Tokens { input: 10, output: 5, cache_write_5m: 10, cache_write_1h: 20, cache_read: 7 };
        assert_eq!(billed.usage.passes, [Pass { model: None, tokens }]);
        assert_eq!((billed.usage.web_searches, billed.usage.us_only, tokens.prompt()), (2, true, 47));
    }

    #[test]
    fn passes_outside_the_totals_are_added() {
        let message = r#"{"model":"m","usage":{"input_tokens":1,"output_tokens":1,"iterations":[
            {"type":"message","input_tokens":1,"output_tokens":1},
            {"type":"advisor_message","model":"n","input_tokens":4,"output_tokens":2},
            {"type":"compaction","input_tokens":8,"output_tokens":3}]}}"#;
        let billed = Billed::read(message).unwrap();
        assert_eq!(billed.tokens(), Tokens { input: 13, output: 6, ..Tokens::default() });
        assert_eq!(billed.usage.passes[1].model.as_deref(), Some("n"));
    }

    #[test]
    fn a_bill_is_put_together_again_as_it_was() {
        let message = r#"{"model":"m","usage":{"input_tokens":1,"output_tokens":1,"inference_geo":"us","iterations":[
            {"type":"advisor_message","model":"n","input_tokens":4,"cache_read_input_tokens":9,"output_tokens":2},
            {"type":"compaction","input_tokens":8,"output_tokens":3}]}}"#;
        for message in [message, r#"{"model":"m","usage":{"input_tokens":1,"output_tokens":1}}"#] {
            let billed = Billed::read(message).unwrap();
            let rest = Usage { passes: Vec::new(), ..billed.usage.clone() };
            let apart = billed.passes_apart();
            assert_eq!(Billed::restore("m".into(), &billed.tokens(), apart.as_deref(), rest), billed);
        }
    }

    #[test]
    fn a_message_without_usage_has_no_bill() {
        assert_eq!(Billed::read(r#"{"model":"m"}"#), None);
        assert_eq!(Billed::read("[]"), None);
    }
}
