//! The doors that callers and operators come in by.

pub mod listen;
