//! Prices: the table in force, and what a Message costs by it.
//!
//! The built-in table is `config/prices.toml`. A file of one's own is laid over it: its rows and discounts hold where
//! they say something, and the built-in ones everywhere else.

mod current;
mod file;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod own;
mod row;

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::domain::money::NanoUsd;
use crate::domain::usage::{Billed, Pass};

pub use current::Prices;
pub use file::PriceFault;

use file::PriceFile;
use row::{Discount, Rates, Row, Tariff};

const BUILT_IN: &str = include_str!("../../config/prices.toml");

/// Prices are for a million tokens, three factors are percentages, and a discount is in hundredths of a percent.
const SCALE: i128 = 1_000_000 * 100 * 100 * 100 * 10_000;

/// How a call was served, which its price depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// At list price.
    Live,
    /// In a batch, at half of it.
    Batch,
}

/// What a Message costs, and what it would cost otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// As it was served.
    pub paid: NanoUsd,
    /// Served live, with the caching that it had.
    pub live: NanoUsd,
    /// Served live without any caching.
    pub uncached: NanoUsd,
}

/// Prices by model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceTable {
    batch_percent: i128,
    web_search: i128,
    aliases: HashMap<String, String>,
    built_in: HashMap<String, Vec<Row>>,
    own: HashMap<String, Vec<Row>>,
    discounts: Vec<Discount>,
}

/// A price table that does not read: all that is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("reading the price table: {}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct PriceError(pub Vec<PriceFault>);

impl PriceTable {
    /// The table that was compiled in.
    ///
    /// # Errors
    /// If it does not read; a test keeps it from coming to that.
    pub fn built_in() -> Result<Self, PriceError> {
        let PriceFile { batch_percent, web_search, models, aliases, .. } = PriceFile::read(BUILT_IN)?;
        let mut rows: HashMap<String, Vec<Row>> = HashMap::new();
        for (ids, row) in models {
            for id in ids {
                rows.entry(id).or_default().push(row);
            }
        }
        let web_search = web_search.unwrap_or(0);
        let (batch_percent, aliases) = (batch_percent.unwrap_or(100), aliases.into_iter().collect());
        Ok(Self { batch_percent, web_search, aliases, built_in: rows, own: HashMap::new(), discounts: Vec::new() })
    }

    /// The built-in table under a file of one's own.
    ///
    /// # Errors
    /// Whatever is wrong with the file.
    pub fn with_own(text: &str) -> Result<Self, PriceError> {
        let mut table = Self::built_in()?;
        let file = PriceFile::read_over(text, &table.built_in)?;
        table.batch_percent = file.batch_percent.unwrap_or(table.batch_percent);
        table.web_search = file.web_search.unwrap_or(table.web_search);
        table.aliases.extend(file.aliases);
        for (ids, row) in file.models {
            for id in ids {
                table.own.entry(id).or_default().push(row);
            }
        }
        table.discounts = file.discounts;
        Ok(table)
    }

    /// The model that a name means: itself, unless it is an alias.
    pub fn name<'a>(&'a self, model: &'a str) -> &'a str {
        self.aliases.get(model).map_or(model, String::as_str)
    }

    /// What so many web searches cost.
    pub fn web_search(&self, searches: u64) -> NanoUsd {
        let nanos = self.web_search.saturating_mul(searches.into());
        NanoUsd(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    /// The models that have prices, in the order of their names.
    pub fn models(&self) -> Vec<&str> {
        let mut models: Vec<&str> = self.built_in.keys().chain(self.own.keys()).map(String::as_str).collect();
        models.sort_unstable();
        models.dedup();
        models
    }

    /// What a Message answered at `at` costs as it was served, and otherwise; `None` as with [`Self::cost`].
    pub fn price(&self, billed: &Billed, tier: Tier, at: Timestamp) -> Option<Price> {
        Some(Price { paid: self.cost(billed, tier, at)?, ..self.live(billed, at)? })
    }

    /// What a Message costs that was served live.
    pub fn live(&self, billed: &Billed, at: Timestamp) -> Option<Price> {
        let live = self.cost(billed, Tier::Live, at)?;
        Some(Price { paid: live, live, uncached: self.cost(&billed.uncached(), Tier::Live, at)? })
    }

    /// What a Message answered at `at` costs; `None` if the model of one of its passes has no price, or none for how
    /// it was served.
    pub fn cost(&self, billed: &Billed, tier: Tier, at: Timestamp) -> Option<NanoUsd> {
        self.sum(billed, tier, at, |pass| pass.tokens.prompt())
    }

    /// What many Messages cost together that were served live, and whose prompts were longer than `prompt_above` each.
    pub fn cost_of_many(&self, billed: &Billed, prompt_above: u64, at: Timestamp) -> Option<NanoUsd> {
        self.sum(billed, Tier::Live, at, |_| if prompt_above == 0 { 0 } else { prompt_above + 1 })
    }

    /// From how many tokens on the price holds that such a prompt has; 0 for the usual one.
    pub fn threshold(&self, model: &str, prompt: u64, at: Timestamp) -> u64 {
        self.tariff(self.name(model), prompt, at).map_or(0, |(above, _)| above)
    }

    fn sum(&self, billed: &Billed, tier: Tier, at: Timestamp, prompt: impl Fn(&Pass) -> u64) -> Option<NanoUsd> {
        // Whole at every step, and rounded once at the end.
        let mut total = 0i128;
        for pass in &billed.usage.passes {
            total = total.checked_add(self.of_pass(pass, prompt(pass), billed, tier, at)?)?;
        }
        let tokens = total.checked_add(SCALE / 2)? / SCALE;
        let searches = self.web_search.checked_mul(billed.usage.web_searches.into())?;
        i64::try_from(tokens.checked_add(searches)?).ok().map(NanoUsd)
    }

    fn of_pass(&self, pass: &Pass, prompt: u64, billed: &Billed, tier: Tier, at: Timestamp) -> Option<i128> {
        let own = self.name(&billed.model);
        let model = pass.model.as_deref().map_or(own, |model| self.name(model));
        let (_, tariff) = self.tariff(model, prompt, at)?;
        let place = if billed.usage.us_only { tariff.us } else { 100 };
        // Fast is the model that the call asked for, not one that gives advice to it.
        let speed = if billed.usage.fast && model == own { tariff.fast? } else { 100 };
        let tier = if tier == Tier::Batch { self.batch_percent } else { 100 };
        let discount = self.discounts.iter().find(|discount| discount.holds(model, at));
        let left = discount.map_or(Discount::NONE_OFF, |discount| discount.left);
        tariff.of(&pass.tokens)?.checked_mul(place * speed * tier * left)
    }

    /// The prices of a model at a time, for a prompt of so many tokens; and from how many on they hold.
    fn tariff(&self, model: &str, prompt: u64, at: Timestamp) -> Option<(u64, Tariff)> {
        let holding = |rows: &HashMap<String, Vec<Row>>| -> Vec<Row> {
            rows.get(model).into_iter().flatten().filter(|row| row.holds(at)).copied().collect()
        };
        let (mut built_in, own) = (holding(&self.built_in), holding(&self.own));
        // A later price is for all prompts: it does not leave the thresholds of an earlier one in force.
        let latest = built_in.iter().map(|row| row.from_millis).max();
        built_in.retain(|row| Some(row.from_millis) == latest);
        let fits = |row: &&Row| row.prompt_above == 0 || prompt > row.prompt_above;
        let above = built_in.iter().chain(&own).filter(fits).map(|row| row.prompt_above).max()?;
        let at_threshold = |rows: &[Row]| {
            let fit = rows.iter().filter(|row| row.prompt_above == above);
            fit.max_by_key(|row| row.from_millis).map_or(Rates::default(), |row| row.rates)
        };
        Some((above, at_threshold(&own).over(at_threshold(&built_in)).complete()?))
    }
}
