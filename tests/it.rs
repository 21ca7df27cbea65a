//! The one integration binary; its modules are in `it/`.

// Marked as tests as a whole, so that clippy lets their helpers unwrap too.
#[cfg(test)]
mod it {
    mod floor_plan;
    mod postgres;
}
