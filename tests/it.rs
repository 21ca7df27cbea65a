//! Offpeak on real sockets: one binary for all of it.

#[cfg(test)] // where clippy allows unwrap, in helpers too
mod it {
    mod live;
    mod wire;
}
