//! Offpeak as a whole, from outside: one binary for all of it.

// Marked as a test although all of it is, because that is where clippy lets `unwrap` pass, in helpers too.
#[cfg(test)]
mod it {
    mod check;
    mod floor_plan;
    mod live;
    mod postgres;
    mod store;
    mod wire;
}
