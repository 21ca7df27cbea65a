//! Telemetry: what is logged, and how a line looks.

use std::io::{self, IsTerminal};

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// What a log filter may look like, for error texts.
pub const LOG_FORM: &str =
    "error, warn, info, debug, trace or off, perhaps by module, such as \"info,offpeak::flush=debug\"";

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A filter: a level, and others by module.
    pub log: String,
}

/// Logging could not be set up.
#[derive(Debug, Error)]
#[error("cannot set up logging")]
pub struct StartError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Whether this is a filter whose every part can do something: a misspelled level, or a part behind a blank, would be
/// taken for the name of a module that nobody has.
pub fn is_filter(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let level = |part: &str| LEVELS.contains(&part.to_ascii_lowercase().as_str());
    let module = |part: &str| part == "offpeak" || (part.contains(['=', '[', ':']) && part.trim() == part);
    text.split(',').all(|part| level(part) || module(part)) && EnvFilter::try_new(text).is_ok()
}

/// Logs to standard error from now on: lines to be read on a terminal, JSON otherwise.
pub fn start(settings: &Settings) -> Result<(), StartError> {
    let filter = EnvFilter::try_new(&settings.log).map_err(|error| StartError(error.into()))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = if io::stderr().is_terminal() { lines.finish().try_init() } else { lines.json().finish().try_init() };
    started.map_err(|error| StartError(error.into()))
}

/// An error with all that led to it, for the one place that logs it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    std::iter::once(error.to_string()).chain(causes.map(|cause| cause.to_string())).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_logged_with_what_led_to_it() {
        #[derive(Debug, Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        assert_eq!(chain(&Outer(io::Error::other("inner"))), "outer: inner");
    }

    #[test]
    fn knows_a_filter() {
        for right in ["info", "WARN", "off", "info,offpeak::flush=debug", "offpeak=trace,hyper=off", "offpeak"] {
            assert!(is_filter(right), "{right}");
        }
        for wrong in ["", "inof", "info,", "offpeak=loud", "a=b=c", "info, sqlx=warn"] {
            assert!(!is_filter(wrong), "{wrong}");
        }
    }
}
