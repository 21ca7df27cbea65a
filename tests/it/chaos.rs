//! Chaos: the real program, killed and cut off in every way that can be thought of, loses nothing and pays nothing twice.
//!
//! The gateway runs as child processes that die; the provider is a simulator in the test's own process, whose books
//! outlive them and have the last word.

mod crashes;
mod database;
mod feed;
mod kills;
mod provider;
mod replica;
mod stage;
