//! Settings of where webhooks to URLs of callers may go.

use url::Host;

use super::hosts::HostPattern;

/// Exceptions from the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Hosts to which neither the https rule nor the address rule applies.
    pub allow_hosts: Vec<HostPattern>,
    /// Whether the address rule applies to none.
    pub allow_private: bool,
}

impl Settings {
    pub(super) fn excepts(&self, host: &Host<&str>) -> bool {
        self.allow_hosts.iter().any(|pattern| pattern.matches(host))
    }
}
