//! Prices: the built-in table (`config/prices.toml`), and what a Message costs by it.

use std::collections::HashMap;

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::domain::money::NanoUsd;
use crate::domain::usage::{Billed, Tokens};

const BUILT_IN: &str = include_str!("../../config/prices.toml");

/// How a call was served, which its price depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// At list price.
    Live,
    /// In a batch, at half of it.
    Batch,
}

/// Prices by model.
#[derive(Debug)]
pub struct PriceTable {
    batch_percent: i128,
    fast_percent: i128,
    web_search: i128,
    rows: HashMap<String, Vec<Row>>,
}

/// A price table that does not read.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// Not TOML of the table's form.
    #[error("reading the price table")]
    Form(#[from] toml::de::Error),
    /// A figure or a date that is none.
    #[error("the price table has {0:?} where a price in dollars (\"0.125\") or a date (\"2026-10-07\") belongs")]
    Figure(String),
}

impl PriceTable {
    /// The table that was compiled in.
    ///
    /// # Errors
    /// If it does not read; a test keeps it from coming to that.
    pub fn built_in() -> Result<Self, PriceError> {
        Self::parse(BUILT_IN)
    }

    /// Reads a table of the form of `config/prices.toml`.
    ///
    /// # Errors
    /// Where it is not of that form.
    pub fn parse(text: &str) -> Result<Self, PriceError> {
        let file: File = toml::from_str(text)?;
        let mut rows: HashMap<String, Vec<Row>> = HashMap::new();
        for model in &file.model {
            let row = Row::try_from(model)?;
            for id in &model.id {
                rows.entry(id.clone()).or_default().push(row);
            }
        }
        // The row that holds is the last that fits: later dates and higher thresholds come last.
        for of_model in rows.values_mut() {
            of_model.sort_by_key(|row| (row.from_millis, row.prompt_above));
        }
        Ok(Self {
            batch_percent: file.batch_percent.into(),
            fast_percent: file.fast_percent.into(),
            web_search: nanos(&file.web_search)?,
            rows,
        })
    }

    /// What a Message answered at `at` costs; `None` if the model of one of its passes has no price.
    pub fn cost(&self, billed: &Billed, tier: Tier, at: Timestamp) -> Option<NanoUsd> {
        // Three percentages and a million tokens make 10^12: whole at every step, rounded once at the end.
        let mut total = 0i128;
        for pass in &billed.usage.passes {
            let model = pass.model.as_deref().unwrap_or(&billed.model);
            let row = self.row(model, &pass.tokens, at)?;
            let place = if billed.usage.us_only { row.us_percent } else { 100 };
            let speed = if billed.usage.fast { self.fast_percent } else { 100 };
            let tier = if tier == Tier::Batch { self.batch_percent } else { 100 };
            total += row.of(&pass.tokens) * place * speed * tier;
        }
        let tokens = (total + 500_000_000_000) / 1_000_000_000_000;
        let searches = self.web_search * i128::from(billed.usage.web_searches);
        i64::try_from(tokens + searches).ok().map(NanoUsd)
    }

    fn row(&self, model: &str, tokens: &Tokens, at: Timestamp) -> Option<&Row> {
        let fits = |row: &&Row| row.from_millis <= at.as_millis() && tokens.prompt() > row.prompt_above;
        let always = |row: &&Row| row.from_millis <= at.as_millis() && row.prompt_above == 0;
        let rows = self.rows.get(model)?;
        rows.iter().rfind(fits).or_else(|| rows.iter().rfind(always))
    }
}

/// Nano-dollars for a million tokens.
#[derive(Clone, Copy, Debug)]
struct Row {
    from_millis: i64,
    prompt_above: u64,
    input: i128,
    output: i128,
    cache_write_5m: i128,
    cache_write_1h: i128,
    cache_read: i128,
    us_percent: i128,
}

impl Row {
    fn of(&self, tokens: &Tokens) -> i128 {
        self.input * i128::from(tokens.input)
            + self.output * i128::from(tokens.output)
            + self.cache_write_5m * i128::from(tokens.cache_write_5m)
            + self.cache_write_1h * i128::from(tokens.cache_write_1h)
            + self.cache_read * i128::from(tokens.cache_read)
    }
}

impl TryFrom<&Model> for Row {
    type Error = PriceError;

    fn try_from(model: &Model) -> Result<Self, PriceError> {
        let from_millis = match &model.from {
            None => i64::MIN,
            Some(day) => Timestamp::parse_rfc3339(&format!("{day}T00:00:00Z"))
                .ok_or_else(|| PriceError::Figure(day.clone()))?
                .as_millis(),
        };
        Ok(Self {
            from_millis,
            prompt_above: model.prompt_above.unwrap_or(0),
            input: nanos(&model.input)?,
            output: nanos(&model.output)?,
            cache_write_5m: nanos(&model.cache_write_5m)?,
            cache_write_1h: nanos(&model.cache_write_1h)?,
            cache_read: nanos(&model.cache_read)?,
            us_percent: model.us.unwrap_or(100).into(),
        })
    }
}

/// Dollars as written, in nano-dollars.
fn nanos(dollars: &str) -> Result<i128, PriceError> {
    let wrong = || PriceError::Figure(dollars.to_owned());
    let (whole, fraction) = dollars.split_once('.').unwrap_or((dollars, "0"));
    if fraction.len() > 9 || ![whole, fraction].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit())) {
        return Err(wrong());
    }
    let whole: i128 = whole.parse().map_err(|_| wrong())?;
    let fraction: i128 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
    Ok(whole * 1_000_000_000 + fraction)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    batch_percent: u32,
    fast_percent: u32,
    web_search: String,
    model: Vec<Model>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    id: Vec<String>,
    from: Option<String>,
    prompt_above: Option<u64>,
    input: String,
    output: String,
    cache_write_5m: String,
    cache_write_1h: String,
    cache_read: String,
    us: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::{Pass, Usage};

    fn cost(model: &str, tokens: Tokens, tier: Tier, day: &str) -> Option<i64> {
        let usage = Usage { passes: vec![Pass { model: None, tokens }], ..Usage::default() };
        let at = Timestamp::parse_rfc3339(&format!("{day}T12:00:00Z")).unwrap();
        PriceTable::built_in().unwrap().cost(&Billed { model: model.into(), usage }, tier, at).map(|nano| nano.0)
    }

    #[test]
    fn a_batch_costs_half() {
        let tokens = Tokens { input: 1_000, output: 100, ..Tokens::default() };
        assert_eq!(cost("claude-sonnet-5-5", tokens, Tier::Live, "2026-11-01"), Some(3_000_000));
        assert_eq!(cost("claude-sonnet-5-5", tokens, Tier::Batch, "2026-11-01"), Some(1_500_000));
    }

    #[test]
    fn cached_tokens_have_prices_of_their_own() {
        let tokens = Tokens { cache_write_5m: 1_000, cache_write_1h: 1_000, cache_read: 1_000, ..Tokens::default() };
        assert_eq!(cost("claude-opus-4-5", tokens, Tier::Live, "2026-11-01"), Some(16_750_000));
    }

    #[test]
    fn prices_change_with_the_day_and_with_the_length_of_the_prompt() {
        let read = Tokens { cache_read: 1_000_000, ..Tokens::default() };
        assert_eq!(cost("claude-sonnet-5-5", read, Tier::Live, "2026-10-06"), Some(200_000_000));
        assert_eq!(cost("claude-sonnet-5-5", read, Tier::Live, "2026-10-07"), Some(100_000_000));
        let (short, long) = (100_000, 100_001);
        let input = |input| Tokens { input, ..Tokens::default() };
        assert_eq!(cost("claude-haiku-5-5", input(short), Tier::Live, "2026-11-01"), Some(10_000_000));
        assert_eq!(cost("claude-haiku-5-5", input(long), Tier::Live, "2026-11-01"), Some(50_000_500));
    }

    #[test]
    fn an_unknown_model_has_no_price() {
        assert_eq!(cost("claude-nobody", Tokens::default(), Tier::Live, "2026-11-01"), None);
    }

    #[test]
    fn surcharges_multiply_and_searches_are_not_discounted() {
        let tokens = Tokens { input: 1_000_000, ..Tokens::default() };
        let passes = vec![Pass { model: None, tokens }];
        let usage = Usage { passes, web_searches: 3, us_only: true, fast: false };
        let billed = Billed { model: "claude-opus-5-5".into(), usage };
        let at = Timestamp::from_millis(1_795_000_000_000);
        let cost = PriceTable::built_in().unwrap().cost(&billed, Tier::Batch, at);
        assert_eq!(cost, Some(NanoUsd(2_200_000_000 + 30_000_000)));
    }
}
