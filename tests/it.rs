//! Offpeak as a whole, from outside.

// Marked as a test although all of it is, because that is where clippy lets `unwrap` pass.
#[cfg(test)]
mod it {
    mod check;
}
