//! Settings of held connections: how one that waits long is kept alive, and how often.

use std::time::Duration;

/// How connections are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What keeps a long wait alive that is not streamed.
    pub keepalive: Keepalive,
    /// How long it may be silent.
    pub periods: Periods,
}

/// What is sent to a caller who waits long for an answer that is not streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keepalive {
    /// An early `200`, and blanks before the JSON.
    Space,
    /// Interim answers before the true one.
    Interim,
}

/// How long a held connection may be silent. No setting, because it follows from what clients bear; tests make it
/// short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Periods {
    /// A wait of up to this long is silent: Node's own client gives up after five minutes without a byte.
    pub silent_limit: Duration,
    /// A longer one is silent until this, in case the result comes soon and can have its true status.
    pub silent_first: Duration,
    /// How often blanks or interim answers are sent then: proxies commonly cut what is silent for half a minute.
    pub blank_every: Duration,
    /// How often a stream is sent a `ping`.
    pub ping_every: Duration,
    /// How far beyond its deadline a deferral is waited for: what is sent live because the deadline is near may take this
    /// long with a provider that is overloaded.
    pub deadline_grace: Duration,
}

impl Default for Periods {
    fn default() -> Self {
        Self {
            silent_limit: Duration::from_secs(4 * 60 + 30),
            silent_first: Duration::from_secs(20),
            blank_every: Duration::from_secs(20),
            ping_every: Duration::from_secs(15),
            deadline_grace: Duration::from_hours(1),
        }
    }
}

impl Periods {
    /// All of them so many times shorter.
    pub fn shortened(divisor: u32) -> Self {
        let Self { silent_limit, silent_first, blank_every, ping_every, deadline_grace } = Self::default();
        let short = |period: Duration| period / divisor.max(1);
        Self {
            silent_limit: short(silent_limit),
            silent_first: short(silent_first),
            blank_every: short(blank_every),
            ping_every: short(ping_every),
            deadline_grace: short(deadline_grace),
        }
    }

    /// As they are, unless a test of a debug build that cannot wait so long says `OFFPEAK_HOLD_PERIODS=100`: then each
    /// is a hundredth. Builds for release do not look.
    pub fn of_this_process() -> Self {
        #[cfg(debug_assertions)]
        if let Some(divisor) = std::env::var("OFFPEAK_HOLD_PERIODS").ok().and_then(|text| text.parse().ok()) {
            return Self::shortened(divisor);
        }
        Self::default()
    }
}
