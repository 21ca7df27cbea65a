//! What follows from an attempt.

use std::time::Duration;

use super::backoff;
use crate::clock::Timestamp;
use crate::store::Next;

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has answered.
    Answered {
        /// Its HTTP status.
        status: u16,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// It has not: why, in a word.
    Failed(&'static str),
    /// There was nothing to send any more: what the event is about has been deleted.
    Forgotten,
}

impl Outcome {
    /// Whether the receiver has it.
    pub(super) fn is_delivered(self) -> bool {
        matches!(self, Self::Answered { status: 200..300, .. })
    }

    /// The receiver's HTTP status, if it answered.
    pub(super) fn status(self) -> Option<u16> {
        if let Self::Answered { status, .. } = self { Some(status) } else { None }
    }

    /// Why it did not, in a word.
    pub(super) fn failure(self) -> Option<&'static str> {
        match self {
            Self::Answered { .. } => None,
            Self::Failed(word) => Some(word),
            Self::Forgotten => Some("forgotten"),
        }
    }

    /// The outcome in a word, for metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Answered { .. } if self.is_delivered() => "delivered",
            Self::Answered { .. } => "refused",
            Self::Failed(word) => word,
            Self::Forgotten => "forgotten",
        }
    }
}

/// What becomes of a delivery after this attempt, counted from 1. `chance` is from 0 to 1.
pub(super) fn verdict(outcome: Outcome, attempt: u32, now: Timestamp, chance: f64) -> Next {
    let retry_after = match outcome {
        Outcome::Answered { .. } if outcome.is_delivered() => return Next::Delivered,
        // Gone: the receiver wants nothing of this kind any more.
        Outcome::Answered { status: 410, .. } | Outcome::Forgotten => return Next::Dead,
        Outcome::Answered { retry_after, .. } => retry_after,
        Outcome::Failed(_) => None,
    };
    backoff::wait(attempt, retry_after, chance).map_or(Next::Dead, |wait| Next::Again(now.plus(wait)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn follows(outcome: Outcome, attempt: u32) -> Next {
        verdict(outcome, attempt, NOW, 0.0)
    }

    fn answered(status: u16) -> Outcome {
        Outcome::Answered { status, retry_after: None }
    }

    #[test]
    fn only_2xx_is_delivered_and_410_is_final() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(follows(answered(status), 10), Next::Delivered, "{status}");
        }
        let again = Next::Again(NOW.plus(Duration::from_secs(5)));
        for status in [100, 199, 300, 301, 302, 304, 307, 308, 400, 401, 404, 409, 411, 429, 500, 503, 599] {
            assert_eq!(follows(answered(status), 1), again, "{status}");
        }
        assert_eq!(follows(Outcome::Failed("timeout"), 1), again);
        for outcome in [answered(410), Outcome::Forgotten] {
            assert_eq!(follows(outcome, 1), Next::Dead, "{outcome:?}");
        }
    }

    #[test]
    fn the_tenth_failure_is_the_last() {
        for outcome in [answered(500), answered(302), Outcome::Failed("timeout")] {
            assert_eq!(follows(outcome, 9), Next::Again(NOW.plus(Duration::from_hours(24))));
            assert_eq!(follows(outcome, 10), Next::Dead);
        }
    }

    #[test]
    fn what_a_receiver_asks_for_is_honoured() {
        let asking = Outcome::Answered { status: 503, retry_after: Some(Duration::from_mins(10)) };
        assert_eq!(follows(asking, 1), Next::Again(NOW.plus(Duration::from_mins(10))));
        assert_eq!(follows(asking, 3), Next::Again(NOW.plus(Duration::from_mins(30))));
    }
}
