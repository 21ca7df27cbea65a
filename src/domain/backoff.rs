//! Backing off: how long to wait before the next try.

use std::time::Duration;

/// Doubles from `first` with each failure so far, up to `cap`, and takes off up to a quarter at random, so that those
/// who failed together do not come back together.
pub fn exponential(failures: u32, first: Duration, cap: Duration) -> Duration {
    let doubled = first.saturating_mul(2u32.saturating_pow(failures)).min(cap);
    doubled.mul_f64(1.0 - 0.25 * rand::random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let (first, cap) = (Duration::from_secs(1), Duration::from_secs(60));
        for (failures, full) in [(0, 1), (1, 2), (5, 32), (6, 60), (4_000_000, 60)] {
            let full = Duration::from_secs(full);
            for _ in 0..20 {
                let wait = exponential(failures, first, cap);
                assert!(wait <= full && wait >= full.mul_f64(0.75), "{failures}: {wait:?}");
            }
        }
    }
}
