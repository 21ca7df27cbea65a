//! Sends live what no batch can bring home in time.

mod settings;

pub use settings::{OnDeadline, Settings};
