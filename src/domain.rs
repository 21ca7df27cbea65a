//! The words of the house: ids, facts, states and sums; no I/O, no async, no clock.

pub mod units;
