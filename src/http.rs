//! The two listeners.

mod settings;

pub use settings::{AdminSettings, GatewaySettings};
