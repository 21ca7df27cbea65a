//! Rows of the price table, which may say less than all: what they leave open, the row beneath them says.

use crate::clock::Timestamp;
use crate::domain::usage::Tokens;

/// From when to when something holds, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) from_millis: i64,
    pub(super) until_millis: i64,
    /// It is for prompts of more than so many tokens; 0 is for all.
    pub(super) prompt_above: u64,
    pub(super) rates: Rates,
}

impl Row {
    pub(super) fn holds(&self, at: Timestamp) -> bool {
        (self.from_millis..self.until_millis).contains(&at.as_millis())
    }
}

/// Nano-dollars for a million tokens, and percentages of them; none where a row does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rates {
    pub(super) input: Option<i128>,
    pub(super) output: Option<i128>,
    pub(super) cache_write_5m: Option<i128>,
    pub(super) cache_write_1h: Option<i128>,
    pub(super) cache_read: Option<i128>,
    pub(super) us: Option<i128>,
    pub(super) fast: Option<i128>,
}

impl Rates {
    /// These, and where they say nothing those beneath.
    pub(super) fn over(self, beneath: Self) -> Self {
        Self {
            input: self.input.or(beneath.input),
            output: self.output.or(beneath.output),
            cache_write_5m: self.cache_write_5m.or(beneath.cache_write_5m),
            cache_write_1h: self.cache_write_1h.or(beneath.cache_write_1h),
            cache_read: self.cache_read.or(beneath.cache_read),
            us: self.us.or(beneath.us),
            fast: self.fast.or(beneath.fast),
        }
    }

    /// All that pricing needs; `None` where a price is missing.
    pub(super) fn complete(self) -> Option<Tariff> {
        Some(Tariff {
            input: self.input?,
            output: self.output?,
            cache_write_5m: self.cache_write_5m?,
            cache_write_1h: self.cache_write_1h?,
            cache_read: self.cache_read?,
            us: self.us.unwrap_or(100),
            fast: self.fast,
        })
    }
}

/// What a model costs at one time and for one length of prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tariff {
    input: i128,
    output: i128,
    cache_write_5m: i128,
    cache_write_1h: i128,
    cache_read: i128,
    /// In percent; 100 where the place makes no difference.
    pub(super) us: i128,
    /// In percent; none where there is no fast mode.
    pub(super) fast: Option<i128>,
}

impl Tariff {
    /// The price of these tokens, a million times too high; `None` if it is more than can be counted.
    pub(super) fn of(&self, tokens: &Tokens) -> Option<i128> {
        let classes = [
            (self.input, tokens.input),
            (self.output, tokens.output),
            (self.cache_write_5m, tokens.cache_write_5m),
            (self.cache_write_1h, tokens.cache_write_1h),
            (self.cache_read, tokens.cache_read),
        ];
        classes.into_iter().try_fold(0i128, |sum, (rate, count)| sum.checked_add(rate.checked_mul(count.into())?))
    }
}

/// What a contract takes off the token prices of some models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Discount {
    pub(super) models: Vec<String>,
    pub(super) from_millis: i64,
    pub(super) until_millis: i64,
    /// What is left to pay, in hundredths of a percent.
    pub(super) left: i128,
}

impl Discount {
    /// All is left to pay.
    pub(super) const NONE_OFF: i128 = 10_000;

    /// Whether it is for this model at this time.
    pub(super) fn holds(&self, model: &str, at: Timestamp) -> bool {
        let in_force = (self.from_millis..self.until_millis).contains(&at.as_millis());
        in_force && self.models.iter().any(|pattern| matches(pattern, model))
    }
}

/// Whether a name, or the beginning of one before a `*`, means this model.
pub(super) fn matches(pattern: &str, model: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == model, |beginning| model.starts_with(beginning))
}
