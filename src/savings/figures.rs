//! What calls come to, step by step from the price without any caching to what was paid.

use serde::Serialize;

use crate::domain::ledger::Sums;
use crate::domain::money::NanoUsd;
use crate::domain::usage::Tokens;

/// The figures of some calls. Each step follows from the one before: `uncached` less `saved_by_cache` is the `baseline`,
/// which less `saved_by_batch` and with `paid_twice` is what was `paid`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Calls that were answered.
    pub calls: u64,
    /// Answers that came when there was one already, or nobody wanted one any more.
    pub late_answers: u64,
    /// Live calls that went unread, so that what they took is not known; they are in none of the amounts.
    pub unread: u64,
    /// Answers without a price; they are in none of the amounts either.
    pub unpriced: u64,
    /// What all of them took.
    pub tokens: Tokens,
    /// Web searches.
    pub web_searches: u64,
    /// What they would have cost live, without any caching.
    pub uncached: NanoUsd,
    /// What caching took off that; less than nothing where more was written to the cache than was read from it.
    pub saved_by_cache: NanoUsd,
    /// What the same work would have cost live, with the caching that it had.
    pub baseline: NanoUsd,
    /// What batches took off that.
    pub saved_by_batch: NanoUsd,
    /// What late answers cost.
    pub paid_twice: NanoUsd,
    /// What was paid for all of it.
    pub paid: NanoUsd,
    /// What was not paid of the baseline.
    pub saved: NanoUsd,
}

impl From<&Sums> for Figures {
    fn from(sums: &Sums) -> Self {
        let paid = sums.paid + sums.paid_twice;
        Self {
            calls: sums.calls,
            late_answers: sums.late,
            unread: sums.unread,
            unpriced: sums.unpriced,
            tokens: sums.tokens,
            web_searches: sums.web_searches,
            uncached: sums.uncached,
            saved_by_cache: sums.uncached - sums.live,
            baseline: sums.live,
            saved_by_batch: sums.live - sums.paid,
            paid_twice: sums.paid_twice,
            paid,
            saved: sums.live - paid,
        }
    }
}

impl Figures {
    /// Both together.
    pub(super) fn plus(&self, other: &Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            late_answers: self.late_answers + other.late_answers,
            unread: self.unread + other.unread,
            unpriced: self.unpriced + other.unpriced,
            tokens: self.tokens.plus(&other.tokens),
            web_searches: self.web_searches + other.web_searches,
            uncached: self.uncached + other.uncached,
            saved_by_cache: self.saved_by_cache + other.saved_by_cache,
            baseline: self.baseline + other.baseline,
            saved_by_batch: self.saved_by_batch + other.saved_by_batch,
            paid_twice: self.paid_twice + other.paid_twice,
            paid: self.paid + other.paid,
            saved: self.saved + other.saved,
        }
    }
}
