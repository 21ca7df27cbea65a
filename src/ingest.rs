//! Brings the answers of ended batches home.

mod settings;

pub use settings::Settings;
