//! Cuts queued calls into batches and submits them.

mod settings;

pub use settings::Settings;
