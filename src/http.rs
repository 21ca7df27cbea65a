//! The doors that callers and operators come in by.

pub mod listen;
mod settings;

pub use settings::{AdminSettings, GatewaySettings};
