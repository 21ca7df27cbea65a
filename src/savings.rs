//! Savings: what calls cost beside what they would have cost, from the ledger.

mod amounts;
pub mod csv;
mod figures;
pub mod html;
mod markdown;
mod offers;
mod period;
mod place;
mod recompute;
mod reconcile;
mod report;
mod run_rate;
mod sheet;
mod spending;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

use crate::clock::{Clock, Day};
use crate::domain::ledger::Line;
use crate::domain::price::Prices;
use crate::store::{Store, StoreError, WorkloadFilter};

pub use figures::Figures;
pub use markdown::markdown;
pub use period::Period;
pub use place::Place;
pub use recompute::{Amounts, ModelChange, Recomputed};
pub use reconcile::{Cell, Export, ExportKind, Finding, Pair, Reconciliation, Side};
pub use report::{Month, Offer, OnTheTable, Report, Row, Unpriced};
pub use run_rate::RunRate;
pub use sheet::{Align, Section, Sheet};
pub use spending::Spending;
pub use text::text;

/// Entries, and sums of live charges, that are priced again in one bite.
pub const RECOMPUTE_BITE: u32 = 2_000;

/// Workloads that have called since so long are asked for what they could save, and so many of them at most: those with
/// the best score come first, and behind so many there is nothing to be had.
const ASSESSED_SINCE: Duration = Duration::from_hours(30 * 24);
const ASSESSED_MAX: u32 = 1_000;

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
        let lines = self.lines(period.from, period.until).await?;
        let now = self.clock.now();
        let filter = WorkloadFilter { tenant: None, since: now.minus(ASSESSED_SINCE), after: None };
        let offers = offers::offers(&self.store.workloads(&filter, ASSESSED_MAX).await?);
        let report = Report::new(period, &lines, offers, &self.prices.table(), Day::of(now));
        Ok((report.without_caching(self.store.caching_off(now).await?), lines))
    }

    /// Puts the ledger beside an export of the provider's; none of an export without days.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn reconcile(&self, export: &Export) -> Result<Option<Reconciliation>, StoreError> {
        let Some((from, to)) = export.days() else { return Ok(None) };
        let lines = self.lines(from, to.plus(1)).await?;
        Ok(Reconciliation::new(&lines, export, &self.prices.table()))
    }

    /// Prices a bite of the ledger of a period by the table in force, from behind `after`; or only says what that would
    /// change. And where to go on, unless it is done.
    ///
    /// # Errors
    /// If the store is unavailable; then nothing that was not said was changed.
    pub async fn recompute(
        &self,
        period: Period,
        after: Option<Place>,
        dry_run: bool,
    ) -> Result<(Recomputed, Option<Place>), StoreError> {
        let (from, until, prices) = (period.from.start(), period.until.start(), self.prices.table());
        let mut told = Recomputed::default();
        let mut behind = None;
        match after {
            Some(Place::Charge(key)) => behind = Some(key),
            entry => {
                let after = entry.and_then(|place| if let Place::Entry(place) = place { Some(place) } else { None });
                let entries = self.store.entries(from, until, after, RECOMPUTE_BITE).await?;
                let (changes, of_entries) = recompute::entries(&entries, &prices);
                if !dry_run {
                    self.store.reprice(&changes).await?;
                }
                told = of_entries;
                if let Some(last) = entries.last().filter(|_| entries.len() >= RECOMPUTE_BITE as usize) {
                    return Ok((told, Some(Place::Entry((last.at, last.deferral, last.kind)))));
                }
            }
        }
        let charges = self.store.charges(from, until, behind.as_ref(), RECOMPUTE_BITE).await?;
        let (changes, of_charges) = recompute::charges(&charges, &prices);
        if !dry_run {
            self.store.reprice_charges(&changes).await?;
        }
        let last = charges.last().filter(|_| charges.len() >= RECOMPUTE_BITE as usize);
        Ok((told.plus(of_charges), last.map(|(key, _)| Place::Charge(key.clone()))))
    }

    /// All lines of the ledger, of deferred calls and of live ones.
    async fn lines(&self, from: Day, until: Day) -> Result<Vec<Line>, StoreError> {
        let mut lines = self.store.ledger_lines(from, until).await?;
        lines.extend(self.store.charge_lines(from, until).await?);
        Ok(lines)
    }
}
