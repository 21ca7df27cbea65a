//! Reconciling: the ledger beside the provider's own export, day by day and model by model, and why they differ.

mod export;
mod finding;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock::Day;
use crate::domain::ledger::Line;
use crate::domain::money::NanoUsd;
use crate::domain::price::PriceTable;
use crate::domain::usage::Tokens;

pub use export::{Export, ExportKind};
pub use finding::Finding;

use export::{Charge, Item};

/// The ledger beside an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reconciliation {
    /// Always `reconciliation`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the export tells of.
    pub export: ExportKind,
    /// Its first day.
    pub from: Day,
    /// Its last day.
    pub to: Day,
    /// All of it.
    pub total: Pair,
    /// Each day and model, or fee.
    pub cells: Vec<Cell>,
}

/// One day of one model, or of a fee.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The day, in UTC.
    pub day: Day,
    /// The model or the fee; none where the export does not tell.
    pub what: Option<String>,
    /// Both sides.
    #[serde(flatten)]
    pub pair: Pair,
    /// What is to be said of it.
    pub finding: Finding,
}

/// Both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// By the ledger.
    pub ours: Side,
    /// By the provider.
    pub theirs: Side,
}

/// One side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The tokens.
    pub tokens: Tokens,
    /// Web searches.
    pub web_searches: u64,
    /// What was paid.
    pub amount: NanoUsd,
    /// Answers without a price, which are not in the amount.
    pub unpriced: u64,
}

/// What the export's rows without a model are for.
const WEB_SEARCH: &str = "web search";
const CODE_EXECUTION: &str = "code execution";

impl Reconciliation {
    /// Puts lines of the ledger beside an export of the same days; none of an export without days.
    pub fn new(lines: &[Line], export: &Export, prices: &PriceTable) -> Option<Self> {
        let (from, to) = export.days()?;
        let detail = Detail::of(export);
        let mut pairs: BTreeMap<(Day, Option<String>), Pair> = BTreeMap::new();
        for charge in &export.charges {
            let theirs = &mut pairs.entry((charge.day, detail.of_charge(charge, prices))).or_default().theirs;
            *theirs = theirs.plus(&Side::from(charge));
        }
        for line in lines.iter().filter(|line| (from..=to).contains(&line.day)) {
            let fee = if detail.fees { prices.web_search(line.sums.web_searches) } else { NanoUsd::ZERO };
            let side = Side {
                tokens: line.sums.tokens,
                web_searches: line.sums.web_searches,
                amount: line.sums.paid + line.sums.paid_twice - fee,
                unpriced: line.sums.unpriced,
            };
            let model = detail.models.then(|| prices.name(&line.model).to_owned());
            let ours = &mut pairs.entry((line.day, model)).or_default().ours;
            *ours = ours.plus(&side);
            if fee > NanoUsd::ZERO {
                let key = (line.day, Some(WEB_SEARCH.to_owned()));
                let ours = &mut pairs.entry(key).or_default().ours;
                *ours = ours.plus(&Side { amount: fee, ..Side::default() });
            }
        }
        let total = pairs.values().fold(Pair::default(), |sum, pair| sum.plus(pair));
        let cells = finding::judged(pairs, export.kind);
        Some(Self { kind: "reconciliation".to_owned(), export: export.kind, from, to, total, cells })
    }
}

/// How finely an export tells its rows apart.
struct Detail {
    /// By model.
    models: bool,
    /// Fees apart from tokens.
    fees: bool,
}

impl Detail {
    fn of(export: &Export) -> Self {
        let models = export.charges.iter().any(|charge| charge.model.is_some());
        let told = export.charges.iter().all(|charge| charge.item != Item::Untold);
        Self { models, fees: export.kind == ExportKind::Cost && told }
    }

    /// What a charge is put under.
    fn of_charge(&self, charge: &Charge, prices: &PriceTable) -> Option<String> {
        match charge.item {
            Item::WebSearch if self.fees => Some(WEB_SEARCH.to_owned()),
            Item::CodeExecution if self.fees => Some(CODE_EXECUTION.to_owned()),
            _ => charge.model.as_deref().map(|model| prices.name(&model_id(model)).to_owned()),
        }
    }
}

/// The id of a model that may be named as people do: `Claude Haiku 4.5`.
fn model_id(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace([' ', '.'], "-")
}

impl Pair {
    fn plus(&self, other: &Self) -> Self {
        Self { ours: self.ours.plus(&other.ours), theirs: self.theirs.plus(&other.theirs) }
    }
}

impl Side {
    fn plus(&self, other: &Self) -> Self {
        Self {
            tokens: self.tokens.plus(&other.tokens),
            web_searches: self.web_searches + other.web_searches,
            amount: self.amount + other.amount,
            unpriced: self.unpriced + other.unpriced,
        }
    }

    /// How much it is, in what the export tells of.
    fn measure(&self, kind: ExportKind) -> i64 {
        match kind {
            ExportKind::Cost => self.amount.0,
            ExportKind::Usage => {
                i64::try_from(self.tokens.prompt().saturating_add(self.tokens.output)).unwrap_or(i64::MAX)
            }
        }
    }
}

impl From<&Charge> for Side {
    fn from(charge: &Charge) -> Self {
        Self { tokens: charge.tokens, web_searches: charge.web_searches, amount: charge.amount, unpriced: 0 }
    }
}
