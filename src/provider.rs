//! The only client of the upstream.

mod settings;

pub use settings::Settings;
