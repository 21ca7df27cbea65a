//! Settings of the two listeners.

use std::net::SocketAddr;

use crate::secret::Secret;

/// Settings of the listener that callers use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How callers reach it, without a trailing slash, where the `host` header does not say.
    pub public_url: Option<http::Uri>,
    /// How many threads serve it, each on its own; with none, the runtime does that the app was started on. Nobody needs to
    /// set it, but tests and benchmarks do.
    pub threads: usize,
}

/// As many threads as this process may use cores, which `taskset` and the limits of a container have a say in. More would
/// only take turns.
pub fn one_thread_per_core() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Settings of the listener that the operator uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What the operator must present; there is none only on loopback.
    pub token: Option<Secret>,
}
