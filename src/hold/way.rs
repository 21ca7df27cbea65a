//! Ways: how a caller gets an answer that is not there yet.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::wait::Wait;
use crate::hold::{Keepalive, Settings};

/// How a caller gets its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By the ticket, which it gets at once.
    Ticket,
    /// In one go, after at most this long without a byte; else by the ticket.
    Silent(Duration),
    /// With blanks before it, after at most this long.
    Blanks(Duration),
    /// With interim answers before it, after at most this long; else by the ticket.
    Interim(Duration),
    /// As a stream of events, which begins with pings, after at most this long.
    Events(Duration),
}

/// What a caller asks for, and can take.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// How long it waits.
    pub wait: Wait,
    /// Whether it wants a stream.
    pub stream: bool,
    /// Whether the client tries again by itself.
    pub is_retry: bool,
    /// When what it waits for was made: just now, unless the call repeats another one.
    pub created_at: Timestamp,
    /// When the result is wanted of it.
    pub deadline: Timestamp,
    /// Whether its connection can carry interim answers.
    pub can_interim: bool,
}

impl Way {
    /// Decides.
    pub fn of(asked: Asked, settings: &Settings, now: Timestamp) -> Self {
        let periods = &settings.periods;
        let limit = match asked.wait {
            Wait::For(Duration::ZERO) => return Self::Ticket,
            Wait::For(limit) => limit,
            Wait::UntilDeadline => asked.deadline.plus(periods.deadline_grace).since(now),
        };
        if asked.stream {
            return Self::Events(limit);
        }
        // Whoever names a short time counts on the ticket at its end; until a deadline anything may happen.
        let is_silent = asked.wait != Wait::UntilDeadline && limit <= periods.silent_limit;
        let limit = match asked.wait {
            // A client that was cut off at the end of its wait gets the ticket at once, and does not begin anew. Whoever
            // asks again after a ticket wants to.
            Wait::For(limit) if asked.is_retry || !is_silent => limit.saturating_sub(now.since(asked.created_at)),
            _ => limit,
        };
        match settings.keepalive {
            _ if is_silent => Self::Silent(limit),
            Keepalive::Interim if asked.can_interim => Self::Interim(limit),
            Keepalive::Interim | Keepalive::Space => Self::Blanks(limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::Periods;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const MINUTE: Duration = Duration::from_mins(1);

    fn way(wait: Wait, stream: bool, keepalive: Keepalive, can_interim: bool) -> Way {
        let settings = Settings { keepalive, periods: Periods::default() };
        let (deadline, is_retry) = (NOW.plus(10 * MINUTE), false);
        Way::of(Asked { wait, stream, is_retry, created_at: NOW, deadline, can_interim }, &settings, NOW)
    }

    #[test]
    fn the_wait_and_the_form_decide() {
        let (short, long) = (Duration::from_secs(270), Duration::from_secs(271));
        let until_deadline = 70 * MINUTE;
        for (wait, stream, expected) in [
            (Wait::For(Duration::ZERO), false, Way::Ticket),
            (Wait::For(Duration::ZERO), true, Way::Ticket),
            (Wait::For(short), false, Way::Silent(short)),
            (Wait::For(long), false, Way::Blanks(long)),
            (Wait::For(100 * MINUTE), false, Way::Blanks(100 * MINUTE)),
            (Wait::UntilDeadline, false, Way::Blanks(until_deadline)),
            (Wait::For(short), true, Way::Events(short)),
            (Wait::UntilDeadline, true, Way::Events(until_deadline)),
        ] {
            assert_eq!(way(wait, stream, Keepalive::Space, true), expected, "{wait:?}");
        }
    }

    #[test]
    fn interim_answers_go_where_they_can() {
        let long = Duration::from_secs(271);
        let interim = |wait, can_interim| way(wait, false, Keepalive::Interim, can_interim);
        assert_eq!(interim(Wait::For(long), true), Way::Interim(long));
        assert_eq!(interim(Wait::For(long), false), Way::Blanks(long));
        assert_eq!(interim(Wait::For(MINUTE), true), Way::Silent(MINUTE));
        assert_eq!(way(Wait::For(long), true, Keepalive::Interim, true), Way::Events(long));
    }

    #[test]
    fn a_deadline_that_has_passed_is_still_waited_for_a_while() {
        let settings = Settings { keepalive: Keepalive::Space, periods: Periods::default() };
        let (deadline, created_at, wait) = (NOW.minus(10 * MINUTE), NOW.minus(12 * MINUTE), Wait::UntilDeadline);
        let asked = Asked { wait, stream: false, is_retry: true, created_at, deadline, can_interim: false };
        assert_eq!(Way::of(asked, &settings, NOW), Way::Blanks(50 * MINUTE));
    }

    #[test]
    fn a_repeated_call_waits_for_what_is_left_where_its_end_is_no_ticket() {
        let settings = Settings { keepalive: Keepalive::Space, periods: Periods::default() };
        let (deadline, created_at) = (NOW.plus(100 * MINUTE), NOW.minus(3 * MINUTE));
        for (wait, is_retry, stream, expected) in [
            (4 * MINUTE, false, false, Way::Silent(4 * MINUTE)),
            (4 * MINUTE, true, false, Way::Silent(MINUTE)),
            (2 * MINUTE, true, false, Way::Silent(Duration::ZERO)),
            (10 * MINUTE, false, false, Way::Blanks(7 * MINUTE)),
            (10 * MINUTE, true, false, Way::Blanks(7 * MINUTE)),
            (10 * MINUTE, true, true, Way::Events(10 * MINUTE)),
        ] {
            let wait = Wait::For(wait);
            let asked = Asked { wait, stream, is_retry, created_at, deadline, can_interim: false };
            assert_eq!(Way::of(asked, &settings, NOW), expected, "{wait:?} {is_retry}");
        }
    }
}
