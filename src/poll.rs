//! Asks how submitted batches are.

mod settings;

pub use settings::Settings;
