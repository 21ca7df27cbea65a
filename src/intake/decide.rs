//! The decision over a call, from what its headers ask for.

use crate::clock::Timestamp;
use crate::domain::decision::LiveReason;
use crate::intake::tags::{Defer, Tags};
use crate::intake::{Refusal, Settings};

/// Which way a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Straight to the upstream.
    Live(LiveReason),
    /// Into the queue, if a batch can take it.
    Defer(Terms),
}

/// What is promised for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// When the call came.
    pub asked_at: Timestamp,
    /// When the result is wanted.
    pub deadline: Timestamp,
    /// What else the caller said.
    pub tags: Tags,
    /// Whether its prompt may be marked for caching.
    pub cache: bool,
}

/// Decides, without looking at anything but its arguments.
pub(super) fn route(tags: Tags, settings: &Settings, now: Timestamp) -> Result<Route, Refusal> {
    let deadline = match tags.defer {
        None => return Ok(Route::Live(LiveReason::NoRule)),
        Some(Defer::Live) => return Ok(Route::Live(LiveReason::Header)),
        Some(Defer::Batch) => now.plus(settings.default_deadline),
        Some(Defer::Within(duration)) => now.plus(duration),
        Some(Defer::By(time)) => time,
    };
    if deadline < now.plus(settings.min_deadline) {
        return Ok(Route::Live(LiveReason::DeadlineTooClose));
    }
    // Only a rule can ask for caching.
    Ok(Route::Defer(Terms { asked_at: now, deadline, tags, cache: false }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn decided(defer: Option<Defer>) -> Route {
        let settings = Settings {
            default_deadline: Duration::from_secs(86_400),
            min_deadline: Duration::from_secs(300),
            max_body: 1,
            max_queued: 1,
            linger: Duration::ZERO,
            keys: vec![],
            receivers: vec![],
        };
        route(Tags { defer, ..Tags::default() }, &settings, NOW).unwrap()
    }

    fn deadline(defer: Defer) -> Option<Timestamp> {
        match decided(Some(defer)) {
            Route::Defer(terms) => Some(terms.deadline),
            Route::Live(reason) => {
                assert_eq!(reason, LiveReason::DeadlineTooClose);
                None
            }
        }
    }

    #[test]
    fn the_header_decides() {
        assert_eq!(decided(None), Route::Live(LiveReason::NoRule));
        assert_eq!(decided(Some(Defer::Live)), Route::Live(LiveReason::Header));
        assert_eq!(deadline(Defer::Batch), Some(NOW.plus(Duration::from_secs(86_400))));
        assert_eq!(deadline(Defer::By(NOW.plus(Duration::from_secs(900)))), Some(NOW.plus(Duration::from_secs(900))));
    }

    #[test]
    fn a_deadline_too_close_is_served_live() {
        let seconds = Duration::from_secs;
        assert_eq!(deadline(Defer::Within(seconds(300))), Some(NOW.plus(seconds(300))));
        assert_eq!(deadline(Defer::Within(seconds(299))), None);
        assert_eq!(deadline(Defer::By(NOW.minus(seconds(1)))), None);
    }
}
