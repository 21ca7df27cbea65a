//! Pricing again: entries by the table in force, and what changes by that, model by model.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::ledger::Entry;
use crate::domain::money::NanoUsd;
use crate::domain::price::{Price, PriceTable};
use crate::store::Repriced;

/// What pricing some entries again came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recomputed {
    /// Entries that were looked at.
    pub entries: u64,
    /// Those whose price is another one now.
    pub changed: u64,
    /// By model, in the order of their names.
    pub models: Vec<ModelChange>,
}

/// What pricing again changes for one model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelChange {
    /// The model, as the provider names it.
    pub model: String,
    /// Its entries.
    pub entries: u64,
    /// Those whose price is another one now.
    pub changed: u64,
    /// As the ledger has it.
    pub before: Amounts,
    /// By the table in force.
    pub after: Amounts,
}

/// What entries come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amounts {
    /// Those without a price, which are in none of the amounts.
    pub unpriced: u64,
    /// What was paid.
    pub paid: NanoUsd,
    /// What it would have cost live.
    pub live: NanoUsd,
}

impl Amounts {
    fn add(&mut self, price: Option<Price>) {
        match price {
            Some(price) => {
                self.paid += price.paid;
                self.live += price.live;
            }
            None => self.unpriced += 1,
        }
    }
}

/// Prices entries by a table: what changes, and what that comes to.
pub(super) fn recompute(entries: &[Entry], prices: &PriceTable) -> (Vec<Repriced>, Recomputed) {
    let mut changes = Vec::new();
    let mut models: BTreeMap<&str, ModelChange> = BTreeMap::new();
    for entry in entries {
        let model = entry.bill.billed.model.as_str();
        let change =
            models.entry(model).or_insert_with(|| ModelChange { model: model.to_owned(), ..Default::default() });
        let price = prices.price(&entry.bill.billed, entry.tier, entry.at);
        change.entries += 1;
        change.before.add(entry.bill.price);
        change.after.add(price);
        if price != entry.bill.price {
            change.changed += 1;
            changes.push(Repriced { deferral: entry.deferral, kind: entry.kind, price });
        }
    }
    let models = models.into_values().collect();
    let (entries, changed) = (entries.len() as u64, changes.len() as u64);
    (changes, Recomputed { entries, changed, models })
}
