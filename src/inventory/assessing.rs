//! Assessing: what the inventory thinks of a workload is thought again as its calls go on, a few workloads at a time.

use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::domain::price::Prices;
use crate::inventory::assess::assess;
use crate::inventory::assessment::Assessment;
use crate::inventory::gathering::gather;
use crate::inventory::workload::{Window, Workload};
use crate::store::{Store, StoreError, StoredWorkload};

/// The time that is looked at.
const WINDOW: Duration = Duration::from_hours(30 * 24);

/// A shorter window is stretched to this: what a minute's calls would cost in a month says nothing.
const WINDOW_MIN: Duration = Duration::from_hours(24);

/// Workloads in one bite: each takes some ten milliseconds of the database's time.
const AT_ONCE: u32 = 2;

/// What was thought less long ago is not thought again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Assesses. Clones share it.
#[derive(Clone)]
pub struct Assessor {
    store: Store,
    clock: Clock,
    prices: Prices,
    is_on: bool,
}

impl Assessor {
    /// All that assessing needs.
    pub fn new(store: Store, clock: Clock, prices: Prices, is_on: bool) -> Self {
        Self { store, clock, prices, is_on }
    }

    /// One bite: thinks of some workloads again. Never says that there is more, since that has time.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn run(&self) -> Result<bool, StoreError> {
        if !self.is_on {
            return Ok(false);
        }
        let now = self.clock.now();
        let due = self.store.workloads_to_assess(now.minus(AGAIN_AFTER), AT_ONCE).await?;
        let due: Vec<&StoredWorkload> = due.iter().collect();
        let assessed = self.assess(&due).await?;
        for (stored, (_, assessment)) in due.iter().zip(&assessed) {
            let Ok(text) = serde_json::to_string(assessment) else { continue };
            self.store.workload_assessed(stored.id, assessment.score, &text, now).await?;
        }
        Ok(false)
    }

    /// What is known of some workloads, and what to think of them, in their order.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn assess(&self, some: &[&StoredWorkload]) -> Result<Vec<(Workload, Assessment)>, StoreError> {
        let mut assessed = Vec::with_capacity(some.len());
        if some.is_empty() {
            return Ok(assessed);
        }
        let (now, prices) = (self.clock.now(), self.prices.table());
        let window = window(self.store.first_hour().await?, now);
        for stored in some {
            let workload = gather(&self.store, stored, window).await?;
            let assessment = assess(&workload, &prices, now);
            assessed.push((workload, assessment));
        }
        Ok(assessed)
    }
}

/// The last month, as far as there were calls in it at all.
fn window(first: Option<Timestamp>, now: Timestamp) -> Window {
    // Sums are by the hour.
    let from = now.minus(WINDOW).hour().max(first.unwrap_or(now.hour()));
    Window { from, to: now.max(from.plus(WINDOW_MIN)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_month_at_most_and_a_day_at_least() {
        let now = Timestamp::from_millis(3_600_000_000);
        let of = |ago| window(Some(now.minus(ago)), now);
        assert_eq!(of(2 * WINDOW), Window { from: now.minus(WINDOW), to: now });
        assert_eq!(of(3 * WINDOW_MIN), Window { from: now.minus(3 * WINDOW_MIN), to: now });
        assert_eq!(of(Duration::ZERO), Window { from: now, to: now.plus(WINDOW_MIN) });
    }
}
