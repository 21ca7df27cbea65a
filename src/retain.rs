//! Forgets what has been kept long enough.

mod settings;

pub use settings::Settings;
