//! The ledger: what calls cost, and what they would have cost otherwise; one entry a call, added up to lines.

use crate::clock::{Day, Timestamp};
use crate::domain::id::DeferralId;
use crate::domain::money::NanoUsd;
use crate::domain::price::{Price, PriceTable, Tier};
use crate::domain::record::Way;
use crate::domain::usage::{Billed, Tokens};

/// What a call took, and its price by the table that was in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// What the provider says that it took: all that pricing it again needs.
    pub billed: Billed,
    /// Its price, where the model has a known one.
    pub price: Option<Price>,
}

impl Bill {
    /// Prices what a Message took that was answered at `at`.
    pub fn new(billed: Billed, prices: &PriceTable, tier: Tier, at: Timestamp) -> Self {
        let price = prices.price(&billed, tier, at);
        Self { billed, price }
    }
}

/// Whether an entry is for the answer that its caller got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum EntryKind {
    /// It is.
    Answer,
    /// It came when there was one already, or nobody wanted one any more; it was billed all the same.
    Late,
}

impl EntryKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Late => "late",
        }
    }

    /// Reads the word for it.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Answer, Self::Late].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The entry of a deferred call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is.
    pub deferral: DeferralId,
    /// What it is for.
    pub kind: EntryKind,
    /// When it was written.
    pub at: Timestamp,
    /// How it was served.
    pub tier: Tier,
    /// What it took, and its price.
    pub bill: Bill,
}

/// Entries of one day that agree in what reports tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The day on which they were answered.
    pub day: Day,
    /// The workload, if it has a name.
    pub workload: Option<String>,
    /// The model that answered.
    pub model: String,
    /// Who called.
    pub tenant: String,
    /// How they were served.
    pub way: Way,
    /// What they come to.
    pub sums: Sums,
}

/// What entries come to. Sums of money are of those that have a price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Answers that callers got.
    pub calls: u64,
    /// Answers that came when there was one already, or nobody wanted one any more.
    pub late: u64,
    /// Live calls that went unread, so that what they took is not known.
    pub unread: u64,
    /// How many have no price.
    pub unpriced: u64,
    /// What all of them took.
    pub tokens: Tokens,
    /// Web searches.
    pub web_searches: u64,
    /// What the calls cost.
    pub paid: NanoUsd,
    /// What they would have cost live.
    pub live: NanoUsd,
    /// What they would have cost live, without any caching.
    pub uncached: NanoUsd,
    /// What the late answers cost.
    pub paid_twice: NanoUsd,
}

impl Sums {
    /// Both together.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            late: self.late + other.late,
            unread: self.unread + other.unread,
            unpriced: self.unpriced + other.unpriced,
            tokens: self.tokens.plus(&other.tokens),
            web_searches: self.web_searches + other.web_searches,
            paid: self.paid + other.paid,
            live: self.live + other.live,
            uncached: self.uncached + other.uncached,
            paid_twice: self.paid_twice + other.paid_twice,
        }
    }
}

impl<'a> std::iter::Sum<&'a Self> for Sums {
    fn sum<I: Iterator<Item = &'a Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| sum.plus(one))
    }
}
