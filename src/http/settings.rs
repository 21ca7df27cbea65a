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
}

/// Settings of the listener that the operator uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What the operator must present; there is none only on loopback.
    pub token: Option<Secret>,
}
