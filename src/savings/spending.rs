//! Spending: what was spent of each budget, added up beside the calls. They only look at what was found here.
//!
//! What is older than some hours changes no more, and is kept; only the last hours are read anew each time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Day, Timestamp};
use crate::domain::budget::{Budgets, Per, Spent};
use crate::domain::money::NanoUsd;
use crate::store::{Spend, Store, StoreError};

/// A call is in the ledger within so long after the time that it stands there with, however long its answer took.
const OPEN: Duration = Duration::from_hours(2);

/// Keeps an eye on what is spent. Clones share it.
#[derive(Clone)]
pub struct Spending {
    store: Store,
    clock: Clock,
    budgets: Budgets,
    kept: Arc<Mutex<Option<Kept>>>,
}

/// What was spent by whom on which workload.
type Sums = BTreeMap<(String, Option<String>), NanoUsd>;

/// What will not change any more.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    today: Day,
    /// Of this month, before today.
    before: Sums,
    /// Of today, up to `to`.
    of_today: Sums,
    to: Timestamp,
}

impl Spending {
    /// All that it needs.
    pub fn new(store: Store, clock: Clock, budgets: Budgets) -> Self {
        Self { store, clock, budgets, kept: Arc::default() }
    }

    /// One look: notes what is spent of each budget. Never says that there is more.
    ///
    /// # Errors
    /// If the store is unavailable; then what was known before holds on.
    pub async fn look(&self) -> Result<bool, StoreError> {
        let known = self.budgets.all();
        if known.is_empty() {
            return Ok(false);
        }
        let now = self.clock.now();
        let kept = self.close(now).await?;
        let mut today = kept.of_today.clone();
        add(&mut today, self.store.spend(kept.to, kept.today.plus(1).start()).await?);
        let mut spent = Vec::with_capacity(known.len());
        for before in known.iter() {
            let fresh = Spent {
                spent: sum(before, &today)
                    + if before.budget.per == Per::Month { sum(before, &kept.before) } else { NanoUsd::ZERO },
                until: before.budget.per.around(kept.today).1,
                budget: before.budget.clone(),
            };
            if fresh.is_exceeded(now) && !before.is_exceeded(now) {
                let (budget, spent, limit) = (&fresh.budget.name, fresh.spent, fresh.budget.limit);
                tracing::warn!(%budget, %spent, %limit, action = fresh.budget.action.as_str(), "a budget is spent");
            }
            spent.push(fresh);
        }
        self.budgets.note(&spent);
        Ok(false)
    }

    /// What will not change any more, brought up to now; on a new day it is read from the start of the month.
    async fn close(&self, now: Timestamp) -> Result<Kept, StoreError> {
        let today = Day::of(now);
        let to = now.minus(OPEN).hour().max(today.start());
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut kept = match kept.filter(|kept| kept.today == today && kept.to <= to) {
            Some(kept) => kept,
            None => {
                let (month, _) = Per::Month.around(today);
                let mut before = Sums::new();
                add(&mut before, self.store.spend(month.start(), today.start()).await?);
                Kept { today, before, of_today: Sums::new(), to: today.start() }
            }
        };
        if kept.to < to {
            add(&mut kept.of_today, self.store.spend(kept.to, to).await?);
            kept.to = to;
        }
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept.clone());
        Ok(kept)
    }
}

fn add(sums: &mut Sums, spent: Vec<Spend>) {
    for Spend { tenant, workload, paid } in spent {
        *sums.entry((tenant, workload)).or_default() += paid;
    }
}

fn sum(of: &Spent, sums: &Sums) -> NanoUsd {
    let counts = |(tenant, workload): &(String, Option<String>)| of.budget.counts(tenant, workload.as_deref());
    sums.iter().filter(|(key, _)| counts(key)).map(|(_, paid)| *paid).sum()
}
