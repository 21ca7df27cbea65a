//! Egress: where a webhook may go whose URL a caller has named.
//!
//! The gateway sends from inside the operator's network. A URL that anybody may choose must not reach what only that
//! network reaches: so such a URL is judged when it is named, and every address again when it is connected to, since a
//! name may lead elsewhere by then.

mod address;
mod hosts;
mod known;
mod lookup;
mod settings;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use url::{Host, Url};

use crate::clock::Clock;

pub use hosts::HostPattern;
pub use settings::Settings;

use known::Known;
use lookup::{Lookup, LookupError};

/// Judges where webhooks to URLs of callers may go. Clones share it.
#[derive(Clone)]
pub struct Egress {
    rules: Arc<RwLock<Arc<Settings>>>,
    lookup: Lookup,
    known: Known,
}

/// Why a webhook may not go to a URL, and what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// It is not encrypted, or not HTTP at all.
    #[error("a callback must be an https URL, or the name of a receiver")]
    Scheme,
    /// It holds a user or a password.
    #[error("a callback's URL must not hold a user or a password")]
    UserInfo,
    /// It leads to an address that is not of the public internet.
    #[error("a callback must lead to a public address, and this one leads to one that is {0}")]
    Address(&'static str),
}

/// Why there is no address to connect to.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name leads nowhere.
    #[error("the name does not resolve")]
    Unresolved(#[source] Option<std::io::Error>),
    /// The name leads to addresses that are not of the public internet.
    #[error("the name leads to an address that is {0}")]
    Forbidden(&'static str),
}

impl Egress {
    /// Judges by these rules.
    pub fn new(rules: Settings, clock: Clock) -> Self {
        Self::with_lookup(rules, clock, Lookup::system())
    }

    /// Names lead where this says.
    #[cfg(test)]
    pub(crate) fn resolving(
        rules: Settings,
        resolve: impl Fn(&str) -> std::io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self::with_lookup(rules, Clock::manual(crate::clock::Timestamp::from_millis(0)), Lookup::new(resolve))
    }

    fn with_lookup(rules: Settings, clock: Clock, lookup: Lookup) -> Self {
        Self { rules: Arc::new(RwLock::new(rules.into())), lookup, known: Known::new(clock) }
    }

    /// From now on these rules hold, and no others.
    pub fn replace(&self, rules: &Settings) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules.clone().into();
    }

    /// Judges a URL by its text alone. A name in it is judged where it is resolved.
    ///
    /// # Errors
    /// If a webhook may not go there.
    pub fn check(&self, url: &Url) -> Result<(), Forbidden> {
        self.rules().check(url)
    }

    /// Judges a URL and what its name resolves to at this time; a name that does not resolve passes.
    ///
    /// # Errors
    /// If a webhook may not go there.
    pub async fn admit(&self, url: &Url) -> Result<(), Forbidden> {
        self.check(url)?;
        let rules = self.rules();
        match url.host() {
            Some(host @ Host::Domain(name)) if !rules.excepts(&host) && !rules.allow_private => {
                let kind = self.known.kind_of(name, self.kind_of(name)).await;
                kind.map_or(Ok(()), |kind| Err(Forbidden::Address(kind)))
            }
            _ => Ok(()),
        }
    }

    /// The addresses that a name leads to and that may be connected to; their port is 0.
    ///
    /// # Errors
    /// If there is none.
    pub async fn resolve(&self, name: &str) -> Result<Vec<SocketAddr>, ResolveError> {
        let rules = self.rules();
        let may_be_any = rules.allow_private || rules.excepts(&Host::Domain(name));
        if !may_be_any && hosts::is_localhost(name) {
            return Err(ResolveError::Forbidden("loopback"));
        }
        let mut allowed = Vec::new();
        let mut forbidden = None;
        for address in self.lookup.addresses(name).await? {
            match address::special(address) {
                Some(kind) if !may_be_any => forbidden = Some(kind),
                _ => allowed.push(SocketAddr::new(address, 0)),
            }
        }
        match forbidden {
            Some(kind) if allowed.is_empty() => Err(ResolveError::Forbidden(kind)),
            _ if allowed.is_empty() => Err(ResolveError::Unresolved(None)),
            _ => Ok(allowed),
        }
    }

    /// What kind of special address a name leads to, if any of its addresses is one.
    async fn kind_of(&self, name: &str) -> Option<&'static str> {
        let addresses: Vec<IpAddr> = self.lookup.addresses(name).await.unwrap_or_default();
        addresses.into_iter().find_map(address::special)
    }

    fn rules(&self) -> Arc<Settings> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl From<LookupError> for ResolveError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Failed(error) => Self::Unresolved(Some(error)),
            LookupError::TooLong => Self::Unresolved(None),
        }
    }
}

#[cfg(test)]
mod tests;
