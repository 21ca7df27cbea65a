//! Decides what becomes of a call, and admits it durably.

mod settings;

pub use settings::{Key, Settings};
