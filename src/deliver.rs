//! Delivering.

mod backoff;
mod settings;
mod signature;

pub use settings::{Receiver, Settings};
pub use signature::{KEY_FORM, SigningKey};
