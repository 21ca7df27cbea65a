//! The store: the only SQL.

mod settings;

pub use settings::{Location, Settings};
