//! The decision over a call, from what its headers ask for.

use crate::clock::Timestamp;
use crate::domain::decision::LiveReason;
use crate::intake::Settings;
use crate::intake::asking::Promise;
use crate::intake::tags::{Defer, Tags};

/// Which way the headers of a call send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Straight to the upstream.
    Live(LiveReason),
    /// Into the queue, if a batch can take it.
    Defer(Terms),
    /// They do not say.
    Unsaid(Tags),
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
    /// What a rule promised, where the caller did not ask to be deferred.
    pub promise: Option<Promise>,
}

/// Decides, without looking at anything but its arguments.
pub(super) fn sent(tags: Tags, settings: &Settings, now: Timestamp) -> Sent {
    let deadline = match tags.defer {
        None => return Sent::Unsaid(tags),
        Some(Defer::Live) => return Sent::Live(LiveReason::Header),
        Some(Defer::Batch) => now.plus(settings.default_deadline),
        Some(Defer::Within(duration)) => now.plus(duration),
        Some(Defer::By(time)) => time,
    };
    if deadline < now.plus(settings.min_deadline) {
        return Sent::Live(LiveReason::DeadlineTooClose);
    }
    Sent::Defer(Terms { asked_at: now, deadline, tags, promise: None })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn decided(defer: Option<Defer>) -> Sent {
        let settings = Settings {
            default_deadline: Duration::from_secs(86_400),
            min_deadline: Duration::from_secs(300),
            max_body: 1,
            max_queued: 1,
            linger: Duration::ZERO,
            keys: vec![],
            receivers: vec![],
            rules: vec![],
        };
        sent(Tags { defer, ..Tags::default() }, &settings, NOW)
    }

    fn deadline(defer: Defer) -> Option<Timestamp> {
        match decided(Some(defer)) {
            Sent::Defer(terms) => Some(terms.deadline),
            Sent::Unsaid(_) => panic!("it is said"),
            Sent::Live(reason) => {
                assert_eq!(reason, LiveReason::DeadlineTooClose);
                None
            }
        }
    }

    #[test]
    fn the_header_decides() {
        assert_eq!(decided(None), Sent::Unsaid(Tags::default()));
        assert_eq!(decided(Some(Defer::Live)), Sent::Live(LiveReason::Header));
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
