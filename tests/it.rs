//! Offpeak as a whole, from outside: one binary for all of it.

// Marked as a test although all of it is, because that is where clippy lets `unwrap` pass, in helpers too.
#[cfg(test)]
mod it {
    mod accept;
    mod app;
    mod check;
    mod decisions;
    mod floor_plan;
    mod items;
    mod lanes;
    mod live;
    mod postgres;
    mod refuse;
    mod results;
    mod wire;
}
