//! Reading a price file: every fault at once, each with its place and what helps.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::PriceError;
use super::row::{Discount, Rates, Row, matches};
use crate::clock::Day;
use crate::domain::money::NanoUsd;

const TOP_KEYS: &str = "batch_percent, web_search, [[model]], [alias] and [[discount]]";
const MODEL_KEYS: &str =
    "id, from, until, prompt_above, input, output, cache_write_5m, cache_write_1h, cache_read, us and fast";
const DISCOUNT_KEYS: &str = "model, percent_off, from and until";
const DAY_FORM: &str = "a day such as \"2026-10-07\"";
const PRICE_FORM: &str = "dollars in a text, such as \"0.125\", with at most nine decimals";

/// The highest factor, in percent: a slip of the pen makes more.
const PERCENT_MAX: i128 = 1_000;

/// One thing that is wrong with a price file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceFault {
    /// Line and column, both from 1.
    pub at: (usize, usize),
    /// The key it is about; empty when it is about none.
    pub key: String,
    /// What is wrong, what is allowed, and what helps.
    pub problem: String,
}

impl fmt::Display for PriceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at: (line, column), key, problem } = self;
        if key.is_empty() {
            write!(f, "{line}:{column}: {problem}")
        } else {
            write!(f, "{line}:{column}: {key}: {problem}")
        }
    }
}

/// What a price file says.
#[derive(Debug, Default)]
pub(super) struct PriceFile {
    pub(super) batch_percent: Option<i128>,
    pub(super) web_search: Option<i128>,
    pub(super) models: Vec<(Vec<String>, Row)>,
    pub(super) aliases: Vec<(String, String)>,
    pub(super) discounts: Vec<Discount>,
}

impl PriceFile {
    /// Reads a table that stands alone.
    pub(super) fn read(text: &str) -> Result<Self, PriceError> {
        Self::read_over(text, &HashMap::new())
    }

    /// Reads a file that is laid over these rows.
    pub(super) fn read_over(text: &str, beneath: &HashMap<String, Vec<Row>>) -> Result<Self, PriceError> {
        let mut reading = Reading { text, faults: Vec::new() };
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            reading.fault(at, "", format!("not TOML: {}", error.message().replace('\n', "; ")));
        }
        // What is not even TOML is told alone, since nothing else in it can be judged.
        let file = if reading.faults.is_empty() { reading.file(root.get_ref(), beneath) } else { Self::default() };
        if reading.faults.is_empty() {
            return Ok(file);
        }
        reading.faults.sort_by_key(|fault| fault.at);
        Err(PriceError(reading.faults))
    }
}

/// A value and where it begins.
type Spanned<'a> = (&'a DeValue<'a>, usize);

/// The text, and what was found wrong with it so far.
struct Reading<'t> {
    text: &'t str,
    faults: Vec<PriceFault>,
}

impl Reading<'_> {
    fn file(&mut self, root: &DeTable<'_>, beneath: &HashMap<String, Vec<Row>>) -> PriceFile {
        let mut file = PriceFile::default();
        let mut models = Vec::new();
        let mut discounts = Vec::new();
        for (key, value) in root {
            let place = (value.get_ref(), value.span().start);
            match key.get_ref().as_ref() {
                "batch_percent" => file.batch_percent = self.percent("batch_percent", place, 0..101),
                "web_search" => file.web_search = self.price("web_search", place),
                "model" => models = self.sections("model", place),
                "discount" => discounts = self.sections("discount", place),
                "alias" => file.aliases = self.aliases(place),
                other => {
                    self.fault(key.span().start, other, format!("unknown key; the keys here are {TOP_KEYS}"));
                }
            }
        }
        self.models(&models, beneath, &mut file);
        let known = |pattern: &str| {
            let mut names = beneath.keys().chain(file.models.iter().flat_map(|(ids, _)| ids));
            names.any(|name| matches(pattern, name))
        };
        file.discounts = discounts.iter().filter_map(|section| self.discount(section, known)).collect();
        file
    }

    /// The tables of a `[[section]]`, each with its place.
    fn sections<'a>(&mut self, name: &str, (value, at): Spanned<'a>) -> Vec<(&'a DeTable<'a>, usize)> {
        let items =
            value.as_array().map(|items| items.iter().map(|item| (item.get_ref().as_table(), item.span().start)));
        let sections: Option<Vec<_>> = items.and_then(|items| items.map(|(table, at)| Some((table?, at))).collect());
        sections.unwrap_or_else(|| {
            self.fault(at, name, format!("expected sections that begin with [[{name}]]"));
            Vec::new()
        })
    }

    fn models(
        &mut self,
        sections: &[(&DeTable<'_>, usize)],
        beneath: &HashMap<String, Vec<Row>>,
        file: &mut PriceFile,
    ) {
        let mut seen = HashSet::new();
        for (section, at) in sections {
            let Some((ids, row)) = self.model(section, *at) else { continue };
            for id in &ids {
                if !seen.insert((id.clone(), row.from_millis, row.prompt_above)) {
                    let problem = format!("{id} has two rows with the same `from` and `prompt_above`; remove one");
                    self.fault(*at, "model", problem);
                }
                let of_id = beneath.get(id).into_iter().flatten();
                let rests = of_id.filter(|under| under.prompt_above == row.prompt_above);
                let is_complete = |rates: Rates| rates.complete().is_some();
                if !is_complete(row.rates) && !rests.into_iter().any(|under| is_complete(row.rates.over(under.rates))) {
                    let problem = format!(
                        "{id} has no built-in price that this row could rest on; give input, output, \
                         cache_write_5m, cache_write_1h and cache_read"
                    );
                    self.fault(*at, "model", problem);
                }
            }
            file.models.push((ids, row));
        }
    }

    fn model(&mut self, section: &DeTable<'_>, at: usize) -> Option<(Vec<String>, Row)> {
        let before = self.faults.len();
        let mut ids = Vec::new();
        let (mut from_millis, mut until_millis, mut prompt_above) = (i64::MIN, i64::MAX, 0);
        let mut rates = Rates::default();
        for (key, value) in section {
            let place = (value.get_ref(), value.span().start);
            match key.get_ref().as_ref() {
                "id" => ids = self.names("id", place),
                "from" => from_millis = self.day("from", place).unwrap_or(i64::MIN),
                "until" => until_millis = self.day("until", place).unwrap_or(i64::MAX),
                "prompt_above" => prompt_above = self.tokens("prompt_above", place).unwrap_or(0),
                "input" => rates.input = self.price("input", place),
                "output" => rates.output = self.price("output", place),
                "cache_write_5m" => rates.cache_write_5m = self.price("cache_write_5m", place),
                "cache_write_1h" => rates.cache_write_1h = self.price("cache_write_1h", place),
                "cache_read" => rates.cache_read = self.price("cache_read", place),
                "us" => rates.us = self.percent("us", place, 1..PERCENT_MAX + 1),
                "fast" => rates.fast = self.percent("fast", place, 1..PERCENT_MAX + 1),
                other => self.fault(key.span().start, other, format!("unknown key; the keys here are {MODEL_KEYS}")),
            }
        }
        if !section.contains_key("id") {
            self.fault(at, "id", "missing; expected a list of models such as [\"claude-opus-5-5\"]");
        }
        self.is_a_time("model", at, from_millis, until_millis);
        (self.faults.len() == before).then_some((ids, Row { from_millis, until_millis, prompt_above, rates }))
    }

    fn discount(&mut self, (section, at): &(&DeTable<'_>, usize), known: impl Fn(&str) -> bool) -> Option<Discount> {
        let before = self.faults.len();
        let (mut models, mut left) = (Vec::new(), None);
        let (mut from_millis, mut until_millis) = (i64::MIN, i64::MAX);
        for (key, value) in *section {
            let place = (value.get_ref(), value.span().start);
            match key.get_ref().as_ref() {
                "model" => models = self.names("model", place),
                "percent_off" => left = self.percent_off(place),
                "from" => from_millis = self.day("from", place).unwrap_or(i64::MIN),
                "until" => until_millis = self.day("until", place).unwrap_or(i64::MAX),
                other => self.fault(key.span().start, other, format!("unknown key; the keys here are {DISCOUNT_KEYS}")),
            }
        }
        for required in ["model", "percent_off"] {
            if !section.contains_key(required) {
                self.fault(*at, required, format!("missing; a [[discount]] has {DISCOUNT_KEYS}"));
            }
        }
        for pattern in models.iter().filter(|pattern| !known(pattern)) {
            let problem = format!(
                "no model with a price is named \"{pattern}\"; a name may end with * to mean all that begin so"
            );
            self.fault(*at, "model", problem);
        }
        self.is_a_time("discount", *at, from_millis, until_millis);
        (self.faults.len() == before).then_some(Discount { models, from_millis, until_millis, left: left? })
    }

    fn aliases(&mut self, (value, at): Spanned<'_>) -> Vec<(String, String)> {
        let Some(table) = value.as_table() else {
            self.fault(at, "alias", "expected one section that begins with [alias]");
            return Vec::new();
        };
        let mut aliases = Vec::new();
        for (name, model) in table {
            match model.get_ref().as_str() {
                Some(model) => aliases.push((name.get_ref().to_string(), model.to_owned())),
                None => {
                    self.fault(model.span().start, name.get_ref(), "expected the model that this is another name of")
                }
            }
        }
        aliases
    }

    fn is_a_time(&mut self, key: &str, at: usize, from: i64, until: i64) {
        if from >= until {
            self.fault(
                at,
                key,
                "`until` is not after `from`, so this never holds; `until` is the first day on which it does not",
            );
        }
    }

    fn names(&mut self, key: &str, (value, at): Spanned<'_>) -> Vec<String> {
        let items = value.as_array().map(|items| items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)));
        let names: Option<Vec<String>> = items.and_then(Iterator::collect);
        names.filter(|names| !names.is_empty()).unwrap_or_else(|| {
            self.fault(at, key, "expected a list of models such as [\"claude-opus-5-5\"]");
            Vec::new()
        })
    }

    /// Dollars, in nano-dollars.
    fn price(&mut self, key: &str, (value, at): Spanned<'_>) -> Option<i128> {
        let dollars = match value {
            DeValue::Integer(_) => integer(value).and_then(|whole| NanoUsd::parse_dollars(&whole.to_string())),
            _ => value.as_str().and_then(NanoUsd::parse_dollars),
        };
        let price = dollars.filter(|price| price.0 >= 0).map(|price| price.0.into());
        if price.is_none() {
            self.fault(at, key, format!("expected {PRICE_FORM}"));
        }
        price
    }

    fn percent(&mut self, key: &str, (value, at): Spanned<'_>, range: Range<i128>) -> Option<i128> {
        let percent = integer(value).filter(|percent| range.contains(percent));
        if percent.is_none() {
            self.fault(
                at,
                key,
                format!("expected a whole number of percent from {} to {}", range.start, range.end - 1),
            );
        }
        percent
    }

    /// What a discount leaves to pay, in hundredths of a percent.
    fn percent_off(&mut self, (value, at): Spanned<'_>) -> Option<i128> {
        const HUNDREDTH: i64 = 10_000_000;
        let text = integer(value).map(|whole| whole.to_string()).or(value.as_str().map(str::to_owned));
        let off = text.as_deref().and_then(NanoUsd::parse_dollars).map(|percent| percent.0);
        let off = off.filter(|off| off % HUNDREDTH == 0).map(|off| i128::from(off / HUNDREDTH));
        let left = off.filter(|off| (0..=Discount::NONE_OFF).contains(off)).map(|off| Discount::NONE_OFF - off);
        if left.is_none() {
            self.fault(
                at,
                "percent_off",
                "expected percent from 0 to 100, such as 15 or \"12.5\", with at most two decimals",
            );
        }
        left
    }

    fn day(&mut self, key: &str, (value, at): Spanned<'_>) -> Option<i64> {
        let text = match value {
            DeValue::Datetime(date) => Some(date.to_string()),
            _ => value.as_str().map(str::to_owned),
        };
        let day = text.as_deref().and_then(Day::parse).map(|day| day.start().as_millis());
        if day.is_none() {
            self.fault(at, key, format!("expected {DAY_FORM}"));
        }
        day
    }

    fn tokens(&mut self, key: &str, (value, at): Spanned<'_>) -> Option<u64> {
        let tokens = integer(value).and_then(|count| u64::try_from(count).ok());
        if tokens.is_none() {
            self.fault(at, key, "expected a number of tokens, such as 100_000");
        }
        tokens
    }

    fn fault(&mut self, offset: usize, key: &str, problem: impl Into<String>) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
        self.faults.push(PriceFault { at: (line, column), key: key.to_owned(), problem: problem.into() });
    }
}

fn integer(value: &DeValue<'_>) -> Option<i128> {
    match value {
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix()).ok(),
        _ => None,
    }
}
