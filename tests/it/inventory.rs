//! The inventory: what it concludes from traffic whose truth is known.

mod conclusions;
mod month;
mod precision;
mod thought;
