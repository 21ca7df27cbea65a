//! Settings of where webhooks to URLs of callers may go.

use url::{Host, Url};

use super::hosts::HostPattern;
use super::{Forbidden, address, hosts};

/// Exceptions from the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Hosts to which neither the https rule nor the address rule applies.
    pub allow_hosts: Vec<HostPattern>,
    /// Whether the address rule applies to none.
    pub allow_private: bool,
}

impl Settings {
    /// Judges a URL by its text alone. A name in it is judged where it is resolved.
    ///
    /// # Errors
    /// If a webhook may not go there.
    pub fn check(&self, url: &Url) -> Result<(), Forbidden> {
        let host = url.host().ok_or(Forbidden::Scheme)?;
        let is_excepted = self.excepts(&host);
        if url.scheme() != "https" && !(url.scheme() == "http" && is_excepted) {
            return Err(Forbidden::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Forbidden::UserInfo);
        }
        let kind = match host {
            Host::Ipv4(address) => address::special(address.into()),
            Host::Ipv6(address) => address::special(address.into()),
            Host::Domain(name) => hosts::is_localhost(name).then_some("loopback"),
        };
        match kind {
            Some(kind) if !is_excepted && !self.allow_private => Err(Forbidden::Address(kind)),
            _ => Ok(()),
        }
    }

    pub(super) fn excepts(&self, host: &Host<&str>) -> bool {
        self.allow_hosts.iter().any(|pattern| pattern.matches(host))
    }
}
