//! The words of the house: ids, facts, states and sums; no I/O, no async, no clock.

pub mod backoff;
pub mod batch;
pub mod body;
pub mod budget;
pub mod cacheable;
pub mod callback;
pub mod charge;
pub mod decision;
pub mod deferral;
pub mod delivery;
pub mod error_type;
pub mod group;
pub mod id;
pub mod json;
pub mod lane;
pub mod ledger;
pub mod money;
pub mod price;
pub mod record;
pub mod replay;
pub mod tally;
pub mod units;
pub mod usage;
pub mod wait;
pub mod workload;
