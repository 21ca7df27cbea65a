//! For how long a cached beginning can be counted on.

use std::time::Duration;

use crate::clock::Timestamp;

/// What the provider promises, from the start of the call that wrote or read it.
const LIFE: Duration = Duration::from_secs(60 * 60);

/// For clocks that differ, and for what a batch takes longer than the one before it.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// A first call that takes longer is not waited for: what it wrote would expire before those behind it had read it.
pub const PRIME_LIMIT: Duration = Duration::from_secs(25 * 60);

/// How long a beginning is not tried again whose first call left nothing in the cache, or took too long.
pub const COLD_FOR: Duration = Duration::from_secs(60 * 60);

/// Until when calls may be sent that count on what a batch wrote or read, which was sent and had ended at these times.
///
/// When within the batch it was written is not known: the earliest is counted on; and those who read it may take as
/// long as that batch did before they are run.
pub fn warm_until(sent_at: Timestamp, ended_at: Timestamp) -> Timestamp {
    sent_at.plus(LIFE).minus(MARGIN).minus(ended_at.since(sent_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_long_is_warm_for_less() {
        let minute = |n: u64| Timestamp::from_millis(0).plus(Duration::from_secs(60 * n));
        assert_eq!(warm_until(minute(0), minute(1)), minute(54));
        assert_eq!(warm_until(minute(0), minute(20)), minute(35));
        // One that took as long as it may has just been worth it.
        let limit = minute(0).plus(PRIME_LIMIT);
        assert!(warm_until(minute(0), limit) > limit);
        assert!(warm_until(minute(0), minute(30)) < minute(30));
    }
}
