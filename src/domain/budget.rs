//! Budgets: how much may be spent in a day or a month, by whom, and what happens to calls beyond that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::clock::{Day, Timestamp};
use crate::domain::money::NanoUsd;

/// A cap on what is spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its name, in texts and logs.
    pub name: String,
    /// Whose spending counts; anybody's where none is named.
    pub tenant: Option<String>,
    /// Which workload's spending counts; any where none is named.
    pub workload: Option<String>,
    /// How long it lasts.
    pub per: Per,
    /// How much it is.
    pub limit: NanoUsd,
    /// What happens when it is spent.
    pub action: Action,
}

/// How long a budget lasts, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// A day.
    Day,
    /// A calendar month.
    Month,
}

/// What happens to calls when a budget is spent; the harder, the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It is logged and shown.
    Warn,
    /// They are deferred, if they do not say themselves what is to become of them, and a batch can take them.
    Defer,
    /// They are refused.
    Refuse,
}

/// A budget and what was spent of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// The budget.
    pub budget: Budget,
    /// What was spent of it, as far as is known.
    pub spent: NanoUsd,
    /// The first day of the next one.
    pub until: Day,
}

/// The budgets in force, and what was spent of them when that was last looked at. Clones share it.
#[derive(Clone, Debug)]
pub struct Budgets(Arc<Held>);

#[derive(Debug)]
struct Held {
    all: RwLock<Arc<[Spent]>>,
    /// Whether one was spent that does more than warn: as long as none was, no call takes the lock.
    may_act: AtomicBool,
}

impl Budget {
    /// Whether what this tenant spends on this workload counts.
    pub fn counts(&self, tenant: &str, workload: Option<&str>) -> bool {
        let is_tenant = self.tenant.as_deref().is_none_or(|name| name == tenant);
        is_tenant && self.workload.as_deref().is_none_or(|name| Some(name) == workload)
    }
}

impl Per {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// The first day of the one that `day` lies in, and that of the next.
    pub fn around(self, day: Day) -> (Day, Day) {
        match self {
            Self::Day => (day, day.plus(1)),
            // A day is written as year, month and day.
            Self::Month => day.to_string().get(..7).and_then(Day::of_month).unwrap_or((day, day.plus(1))),
        }
    }
}

impl Action {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Defer => "defer",
            Self::Refuse => "refuse",
        }
    }
}

impl Spent {
    /// Whether it is spent at this time.
    pub fn is_exceeded(&self, now: Timestamp) -> bool {
        self.spent >= self.budget.limit && now < self.until.start()
    }
}

impl Budgets {
    /// Puts budgets in force.
    pub fn new(budgets: &[Budget]) -> Self {
        let all = Self(Arc::new(Held { all: RwLock::new(Arc::new([])), may_act: AtomicBool::new(false) }));
        all.replace(budgets);
        all
    }

    /// From now on these hold. What was spent of one that was there before is known already.
    pub fn replace(&self, budgets: &[Budget]) {
        let spent = |before: &[Spent], budget: &Budget| {
            let same = before.iter().find(|known| known.budget == *budget);
            same.cloned().unwrap_or(Spent { budget: budget.clone(), spent: NanoUsd::ZERO, until: Day(i64::MIN) })
        };
        self.change(|before| budgets.iter().map(|budget| spent(before, budget)).collect());
    }

    /// All of them, as they stood when they were last looked at.
    pub fn all(&self) -> Arc<[Spent]> {
        Arc::clone(&self.0.all.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes what was spent, of those budgets that are still in force.
    pub fn note(&self, spent: &[Spent]) {
        let fresh = |known: &Spent| spent.iter().find(|one| one.budget == known.budget).unwrap_or(known).clone();
        self.change(|all| all.iter().map(fresh).collect());
    }

    /// The budget that is spent for this call and does more than warn; the tenant is asked for only where there is one.
    pub fn exceeded(&self, now: Timestamp, tenant: impl FnOnce() -> String, workload: Option<&str>) -> Option<Spent> {
        if !self.0.may_act.load(Ordering::Relaxed) {
            return None;
        }
        let all = self.all();
        let acts = |one: &&Spent| one.budget.action > Action::Warn && one.is_exceeded(now);
        let mut spent = all.iter().filter(acts).peekable();
        spent.peek()?;
        let tenant = tenant();
        spent.filter(|one| one.budget.counts(&tenant, workload)).max_by_key(|one| one.budget.action).cloned()
    }

    /// Makes of all of them others, while nobody else changes them.
    fn change(&self, change: impl FnOnce(&[Spent]) -> Vec<Spent>) {
        let mut all = self.0.all.write().unwrap_or_else(PoisonError::into_inner);
        *all = change(&all).into();
        let may_act = |one: &Spent| one.budget.action > Action::Warn && one.spent >= one.budget.limit;
        self.0.may_act.store(all.iter().any(may_act), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(name: &str, tenant: Option<&str>, workload: Option<&str>, action: Action) -> Budget {
        let [tenant, workload] = [tenant, workload].map(|name| name.map(str::to_owned));
        Budget { name: name.into(), tenant, workload, per: Per::Day, limit: NanoUsd(100), action }
    }

    fn day() -> Day {
        Day::parse("2026-12-31").unwrap()
    }

    #[test]
    fn a_budget_lasts_a_day_or_a_calendar_month() {
        let around = |per: Per, day: &str| {
            let (first, next) = per.around(Day::parse(day).unwrap());
            (first.to_string(), next.to_string())
        };
        assert_eq!(around(Per::Day, "2026-12-31"), ("2026-12-31".into(), "2027-01-01".into()));
        assert_eq!(around(Per::Month, "2026-12-31"), ("2026-12-01".into(), "2027-01-01".into()));
        assert_eq!(around(Per::Month, "2024-02-01"), ("2024-02-01".into(), "2024-03-01".into()));
    }

    #[test]
    fn what_is_spent_stops_those_whom_it_is_for_until_the_next_one() {
        let all = [
            budget("all", None, None, Action::Warn),
            budget("t", Some("t"), None, Action::Refuse),
            budget("w", None, Some("w"), Action::Refuse),
        ];
        let budgets = Budgets::new(&all);
        let now = day().start();
        let exceeded = |at, tenant: &str, workload| {
            budgets.exceeded(at, || tenant.to_owned(), workload).map(|spent| spent.budget.name)
        };
        // Nobody is even asked for while nothing is spent.
        assert_eq!(budgets.exceeded(now, || panic!("asked"), None), None);
        let spent = |index: usize, spent: i64| Spent {
            budget: all[index].clone(),
            spent: NanoUsd(spent),
            until: day().plus(1),
        };
        budgets.note(&[spent(0, 99), spent(1, 100)]);
        assert_eq!([exceeded(now, "t", None), exceeded(now, "u", None)], [Some("t".into()), None]);
        budgets.note(&[spent(0, 250), spent(2, 100)]);
        assert_eq!(exceeded(now, "u", None), None);
        assert_eq!(exceeded(now, "u", Some("w")).as_deref(), Some("w"));
        assert_eq!(exceeded(now, "t", Some("x")).as_deref(), Some("t"));
        assert_eq!(exceeded(day().plus(1).start(), "t", Some("w")), None);
        // A raised limit is another budget, of which nothing is known yet.
        let raised = Budget { limit: NanoUsd(1_000), ..all[1].clone() };
        budgets.replace(&[all[2].clone(), raised]);
        assert_eq!([exceeded(now, "t", None), exceeded(now, "t", Some("w"))], [None, Some("w".into())]);
    }
}
