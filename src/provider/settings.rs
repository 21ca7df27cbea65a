//! Settings of the way to the upstream.

use std::time::Duration;

use http::Uri;

/// Where the upstream is, and how patient we are with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Scheme, authority and perhaps a path, which has no trailing slash; never a query.
    pub url: Uri,
    /// How long a first byte may take.
    pub timeout: Duration,
}

impl Settings {
    /// What stands before the path of every call: `/anthropic`, or nothing.
    pub fn path_prefix(&self) -> &str {
        // A `Uri` with an authority shows an empty path as `/`.
        self.url.path().trim_end_matches('/')
    }
}
