//! Savings: what calls cost beside what they would have cost, from the ledger.

mod amounts;
pub mod csv;
mod figures;
pub mod html;
mod markdown;
mod period;
mod recompute;
mod reconcile;
mod report;
mod run_rate;
mod sheet;
#[cfg(test)]
mod tests;
mod text;

use crate::clock::{Clock, Day};
use crate::domain::ledger::Line;
use crate::domain::price::Prices;
use crate::store::{EntryPlace, Store, StoreError};

pub use figures::Figures;
pub use markdown::markdown;
pub use period::Period;
pub use recompute::{Amounts, ModelChange, Recomputed};
pub use reconcile::{Cell, Export, ExportKind, Finding, Pair, Reconciliation, Side};
pub use report::{Month, Offer, OnTheTable, Report, Row, Unpriced};
pub use run_rate::RunRate;
pub use sheet::{Align, Section, Sheet};
pub use text::text;

/// Entries that are priced again in one bite.
pub const RECOMPUTE_BITE: u32 = 2_000;

/// Reports, and prices again. Clones share it.
#[derive(Clone)]
pub struct Savings {
    store: Store,
    clock: Clock,
    prices: Prices,
}

impl Savings {
    /// All that reporting needs.
    pub fn new(store: Store, clock: Clock, prices: Prices) -> Self {
        Self { store, clock, prices }
    }

    /// What a period came to, and the lines that it is made of.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn report(&self, period: Period) -> Result<(Report, Vec<Line>), StoreError> {
        let lines = self.store.ledger_lines(period.from, period.until).await?;
        let today = Day::of(self.clock.now());
        Ok((Report::new(period, &lines, None, &self.prices.table(), today), lines))
    }

    /// Puts the ledger beside an export of the provider's; none of an export without days.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn reconcile(&self, export: &Export) -> Result<Option<Reconciliation>, StoreError> {
        let Some((from, to)) = export.days() else { return Ok(None) };
        let lines = self.store.ledger_lines(from, to.plus(1)).await?;
        Ok(Reconciliation::new(&lines, export, &self.prices.table()))
    }

    /// Prices a bite of the entries of a period by the table in force, those behind `after`; or only says what that would
    /// change. And where to go on, unless it is done.
    ///
    /// # Errors
    /// If the store is unavailable; then nothing of this bite was changed.
    pub async fn recompute(
        &self,
        period: Period,
        after: Option<EntryPlace>,
        dry_run: bool,
    ) -> Result<(Recomputed, Option<EntryPlace>), StoreError> {
        let (from, until) = (period.from.start(), period.until.start());
        let entries = self.store.entries(from, until, after, RECOMPUTE_BITE).await?;
        let (changes, told) = recompute::recompute(&entries, &self.prices.table());
        if !dry_run {
            self.store.reprice(&changes).await?;
        }
        let is_full = entries.len() >= RECOMPUTE_BITE as usize;
        let last = entries.last().filter(|_| is_full).map(|entry| (entry.at, entry.deferral, entry.kind));
        Ok((told, last))
    }
}
