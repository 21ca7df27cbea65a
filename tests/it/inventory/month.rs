//! A month of traffic that is made up, with its truth: who waits for what, and what it all costs.
//!
//! Everything follows from the seed. The books are kept by figures of their own, not by the table that they check.

pub(super) mod arrivals;
mod books;
pub(super) mod job;
pub(super) mod people;
mod roster;

use offpeak::clock::Timestamp;
use offpeak::domain::record::CallRecord;
use offpeak::inventory::Window;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

pub(crate) use books::Books;

pub(crate) const SECOND: i64 = 1_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;
/// A Monday, at midnight UTC; no price changes within the month after it.
pub(crate) const START: i64 = 1_792_368_000_000;
pub(crate) const DAYS: i64 = 30;

/// What becomes of a workload if somebody who knows it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    /// Nobody waits for it.
    CanWait,
    /// Somebody or something waits for each answer, or no batch takes it.
    MustNotWait,
    /// Good people could disagree.
    Either,
}

/// One workload with its calls.
pub(crate) struct Traffic {
    pub(crate) name: &'static str,
    pub(crate) truth: Truth,
    pub(crate) calls: Vec<CallRecord>,
    pub(crate) books: Books,
}

/// The month that follows from a seed.
pub(crate) fn month(seed: u64) -> Vec<Traffic> {
    some_of_month(seed, |_| true)
}

/// Those workloads of the month that are wanted.
pub(crate) fn some_of_month(seed: u64, is_wanted: impl Fn(&str) -> bool) -> Vec<Traffic> {
    roster::roster()
        .into_iter()
        .enumerate()
        .filter(|(_, (name, ..))| is_wanted(name))
        .map(|(number, (name, truth, make))| {
            let mut random = StdRng::seed_from_u64(seed * 1_000 + number as u64);
            let mut calls = make(&mut random);
            calls.retain(|call| window().from <= call.at && call.at < window().to);
            calls.sort_by_key(|call| call.at);
            for call in &mut calls {
                call.workload = name.to_owned();
            }
            let books = Books::of(&calls);
            Traffic { name, truth, calls, books }
        })
        .collect()
}

/// The whole month.
pub(crate) fn window() -> Window {
    Window { from: Timestamp::from_millis(START), to: Timestamp::from_millis(START + DAYS * DAY) }
}
