//! Budgets: what may be spent over time, with some of it saved up for when much comes at once.

use std::time::Duration;

use tokio::time::Instant;

/// An amount that grows by the second up to a limit, and is spent. It may be overspent, and then has to grow first.
#[derive(Debug)]
pub(super) struct Budget {
    per_second: f64,
    most: f64,
    left: f64,
    since: Instant,
}

impl Budget {
    /// One that is full.
    pub(super) fn new(per_second: f64, most: f64) -> Self {
        Self { per_second, most, left: most, since: Instant::now() }
    }

    /// Lets it grow to what it is by now.
    pub(super) fn grow(&mut self, now: Instant) {
        let grown = self.per_second * now.saturating_duration_since(self.since).as_secs_f64();
        (self.left, self.since) = ((self.left + grown).min(self.most), now);
    }

    /// Whether something is left.
    pub(super) fn is_left(&self) -> bool {
        self.left > 0.0
    }

    /// Spends time.
    pub(super) fn spend(&mut self, time: Duration) {
        self.left -= time.as_secs_f64();
    }

    /// Takes of `wanted` as many as there are.
    pub(super) fn take(&mut self, wanted: usize) -> usize {
        let taken = wanted.min(self.left.max(0.0) as usize);
        self.left -= taken as f64;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_grows_again_up_to_the_limit() {
        let begin = Instant::now();
        let mut budget = Budget::new(0.02, 0.05);
        budget.since = begin;
        budget.spend(Duration::from_millis(70));
        assert!(!budget.is_left());
        budget.grow(begin + Duration::from_millis(500));
        assert!(!budget.is_left());
        budget.grow(begin + Duration::from_secs(2));
        assert!(budget.is_left());
        budget.grow(begin + Duration::from_hours(1));
        budget.spend(Duration::from_millis(51));
        assert!(!budget.is_left());
        let mut rows = Budget::new(10.0, 100.0);
        assert_eq!([rows.take(70), rows.take(70)], [70, 30]);
    }
}
