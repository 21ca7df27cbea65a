//! Pricing again: entries by the table in force, and what changes by that, model by model.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::charge::{ChargeKey, ChargeSum};
use crate::domain::ledger::Entry;
use crate::domain::money::NanoUsd;
use crate::domain::price::{Price, PriceTable};
use crate::store::{Repriced, RepricedCharge};

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
            Some(price) => self.add_all(price.paid, price.live, 0),
            None => self.unpriced += 1,
        }
    }

    fn add_all(&mut self, paid: NanoUsd, live: NanoUsd, unpriced: u64) {
        self.paid += paid;
        self.live += live;
        self.unpriced += unpriced;
    }
}

impl Recomputed {
    fn of(models: BTreeMap<String, ModelChange>) -> Self {
        let models: Vec<ModelChange> = models.into_values().collect();
        let sum = |count: fn(&ModelChange) -> u64| models.iter().map(count).sum();
        Self { entries: sum(|of| of.entries), changed: sum(|of| of.changed), models }
    }

    /// Both together.
    pub(super) fn plus(self, other: Self) -> Self {
        let mut models: BTreeMap<String, ModelChange> = BTreeMap::new();
        for change in self.models.into_iter().chain(other.models) {
            let sum = change_of(&mut models, &change.model);
            (sum.entries, sum.changed) = (sum.entries + change.entries, sum.changed + change.changed);
            sum.before.add_all(change.before.paid, change.before.live, change.before.unpriced);
            sum.after.add_all(change.after.paid, change.after.live, change.after.unpriced);
        }
        Self::of(models)
    }
}

fn change_of<'a>(models: &'a mut BTreeMap<String, ModelChange>, model: &str) -> &'a mut ModelChange {
    models.entry(model.to_owned()).or_insert_with(|| ModelChange { model: model.to_owned(), ..ModelChange::default() })
}

/// Prices entries by a table: what changes, and what that comes to.
pub(super) fn entries(entries: &[Entry], prices: &PriceTable) -> (Vec<Repriced>, Recomputed) {
    let mut changes = Vec::new();
    let mut models = BTreeMap::new();
    for entry in entries {
        let change = change_of(&mut models, &entry.bill.billed.model);
        let price = prices.price(&entry.bill.billed, entry.tier, entry.at);
        change.entries += 1;
        change.before.add(entry.bill.price);
        change.after.add(price);
        if price != entry.bill.price {
            change.changed += 1;
            changes.push(Repriced { deferral: entry.deferral, kind: entry.kind, price });
        }
    }
    (changes, Recomputed::of(models))
}

/// The same for sums of live charges. They are rounded as one, where each of their calls was rounded: what differs by less
/// than that is no change.
pub(super) fn charges(sums: &[(ChargeKey, ChargeSum)], prices: &PriceTable) -> (Vec<RepricedCharge>, Recomputed) {
    let mut changes = Vec::new();
    let mut models = BTreeMap::new();
    for (key, sum) in sums {
        let terms = &key.terms;
        let model = if terms.pass_model.is_empty() { &terms.model } else { &terms.pass_model };
        let change = change_of(&mut models, model);
        let price = key.price(sum, prices);
        change.entries += sum.calls;
        change.before.add_all(sum.paid, sum.paid, sum.unpriced);
        let is_same = match price {
            Some((paid, uncached)) => {
                let off = |new: NanoUsd, old: NanoUsd| (new - old).0.unsigned_abs();
                sum.unpriced == 0 && off(paid, sum.paid).max(off(uncached, sum.uncached)) <= sum.calls.max(1)
            }
            None => sum.unpriced > 0 && sum.paid == NanoUsd::ZERO,
        };
        match price {
            _ if is_same => change.after.add_all(sum.paid, sum.paid, sum.unpriced),
            Some((paid, _)) => change.after.add_all(paid, paid, 0),
            None => change.after.add_all(NanoUsd::ZERO, NanoUsd::ZERO, sum.calls.max(1)),
        }
        if !is_same {
            change.changed += sum.calls;
            changes.push((key.clone(), *sum, price));
        }
    }
    (changes, Recomputed::of(models))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::domain::charge::Terms;
    use crate::domain::usage::Tokens;
    use crate::domain::workload::WorkloadId;

    fn sum(model: &str, paid: i64, unpriced: u64) -> (ChargeKey, ChargeSum) {
        let hour = Timestamp::parse_rfc3339("2026-11-20T12:00:00Z").unwrap();
        let terms = Terms { model: model.to_owned(), ..Terms::default() };
        let tokens = Tokens { input: 1_000, ..Tokens::default() };
        let (paid, uncached) = (NanoUsd(paid), NanoUsd(paid));
        let sum = ChargeSum { calls: 3, unpriced, tokens, paid, uncached, ..ChargeSum::default() };
        (ChargeKey { hour, workload: WorkloadId(1), terms }, sum)
    }

    #[test]
    fn what_differs_by_rounding_alone_is_no_change() {
        let prices = PriceTable::built_in().unwrap();
        let exact = 1_000 * 4_000;
        let found = |paid, unpriced| {
            let (changes, told) = charges(&[sum("claude-opus-5-5", paid, unpriced)], &prices);
            assert_eq!(told.changed, 3 * changes.len() as u64);
            changes.first().map(|(_, _, price)| price.unwrap().0.0)
        };
        assert_eq!([found(exact, 0), found(exact + 3, 0), found(exact - 3, 0)], [None; 3]);
        assert_eq!([found(exact + 4, 0), found(0, 3), found(exact, 1)], [Some(exact); 3]);
        let (changes, told) = charges(&[sum("claude-nobody", 0, 3)], &prices);
        assert_eq!((changes.len(), told.models[0].after.unpriced), (0, 3));
        let (changes, told) = charges(&[sum("claude-nobody", 7, 0)], &prices);
        assert_eq!((changes[0].2, told.models[0].after), (None, Amounts { unpriced: 3, ..Amounts::default() }));
    }

    #[test]
    fn bites_add_up_by_model() {
        let prices = PriceTable::built_in().unwrap();
        let (_, one) = charges(&[sum("claude-opus-5-5", 0, 0), sum("claude-haiku-4-5", 5, 0)], &prices);
        let (_, two) = charges(&[sum("claude-opus-5-5", 4_000_000, 0)], &prices);
        let both = one.plus(two);
        assert_eq!((both.entries, both.changed, both.models.len()), (9, 6, 2));
        assert_eq!((both.models[1].before.paid, both.models[1].after.paid), (NanoUsd(4_000_000), NanoUsd(8_000_000)));
    }
}
