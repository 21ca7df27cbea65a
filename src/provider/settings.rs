//! Where the upstream is, and how long it may take.

use std::time::Duration;

/// The upstream that every call goes to in the end.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `http` or `https`, a host, and perhaps a path that comes before every path asked for.
    pub url: http::Uri,
    /// How long the upstream may take to the first byte of an answer.
    pub timeout: Duration,
}
