//! The addresses behind a host: looked up again and again, since they change while we run.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::net::lookup_host;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long addresses are believed: a cloud provider's names live for a minute or less, and connections are opened in
/// bursts, each of which would ask otherwise.
const ADDRESSES_KEPT: Duration = Duration::from_secs(30);

/// The most addresses of a name that are tried; more would not be reached within the time to connect.
const ADDRESSES_MAX: usize = 8;

/// A host and a port, and what it was last found at.
#[derive(Debug)]
pub(super) struct Host {
    name: String,
    port: u16,
    /// Locked while somebody asks, so that the others wait for that answer.
    found: Mutex<Option<Found>>,
}

#[derive(Debug)]
struct Found {
    at: Instant,
    addresses: Arc<[SocketAddr]>,
}

impl Host {
    /// The host that a URL names, and its port or that of its scheme.
    pub(super) fn of(url: &Uri) -> Option<Self> {
        let usual_port = if url.scheme_str() == Some("https") { 443 } else { 80 };
        let name = url.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Self { name, port: url.port_u16().unwrap_or(usual_port), found: Mutex::default() })
    }

    /// The name, or the address without brackets.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Host and port as a CONNECT request spells them.
    pub(super) fn authority(&self) -> String {
        match self.name.parse() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            _ => format!("{}:{}", self.name, self.port),
        }
    }

    /// Where it is, in the order in which it should be tried; never nothing.
    pub(super) async fn addresses(&self) -> io::Result<Arc<[SocketAddr]>> {
        if let Ok(address) = self.name.parse::<IpAddr>() {
            return Ok([SocketAddr::new(address, self.port)].into());
        }
        let mut found = self.found.lock().await;
        match &*found {
            Some(found) if found.at.elapsed() < ADDRESSES_KEPT => return Ok(found.addresses.clone()),
            _ => {}
        }
        match self.look_up().await {
            Ok(addresses) => {
                *found = Some(Found { at: Instant::now(), addresses: addresses.clone() });
                Ok(addresses)
            }
            // Where it was is a better guess than nothing, while nobody answers who would know.
            Err(error) => found.as_ref().map(|found| found.addresses.clone()).ok_or(error),
        }
    }

    async fn look_up(&self) -> io::Result<Arc<[SocketAddr]>> {
        let found = lookup_host((self.name.as_str(), self.port)).await?.collect();
        let addresses = in_turn(found);
        let nowhere = || io::Error::new(io::ErrorKind::NotFound, "the host's name has no addresses");
        if addresses.is_empty() { Err(nowhere()) } else { Ok(addresses.into()) }
    }
}

/// Addresses of both families by turns, beginning with the one that the system prefers: where one family leads nowhere,
/// the other is tried second, not last.
fn in_turn(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let prefers_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| address.is_ipv6() == prefers_v6);
    let longest = preferred.len().max(other.len());
    let pick = |n: usize| [preferred.get(n), other.get(n)];
    (0..longest).flat_map(pick).flatten().copied().take(ADDRESSES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(url: &str) -> Host {
        Host::of(&url.parse().unwrap()).unwrap()
    }

    #[test]
    fn families_take_turns() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        for (found, expected) in [
            (&["[::1]:1", "[::2]:1", "1.1.1.1:1"][..], &["[::1]:1", "1.1.1.1:1", "[::2]:1"][..]),
            (&["1.1.1.1:1", "[::1]:1", "[::2]:1"], &["1.1.1.1:1", "[::1]:1", "[::2]:1"]),
            (&["1.1.1.1:1", "1.1.1.2:1"], &["1.1.1.1:1", "1.1.1.2:1"]),
            (&[], &[]),
        ] {
            assert_eq!(in_turn(addresses(found)), addresses(expected));
        }
        assert_eq!(in_turn(vec!["1.1.1.1:1".parse().unwrap(); 99]).len(), ADDRESSES_MAX);
    }

    #[test]
    fn a_host_is_spelled_with_its_port() {
        for (url, expected) in [
            ("https://api.anthropic.com", "api.anthropic.com:443"),
            ("http://api.anthropic.com", "api.anthropic.com:80"),
            ("http://[::1]:8200/x", "[::1]:8200"),
        ] {
            assert_eq!(host(url).authority(), expected);
        }
    }

    #[tokio::test]
    async fn an_address_is_its_own_answer_and_a_name_is_asked_for_once() {
        assert_eq!(*host("http://[::1]:8200").addresses().await.unwrap(), ["[::1]:8200".parse().unwrap()]);
        let here = host("http://localhost:8200");
        let first = here.addresses().await.unwrap();
        assert!(first.iter().all(|address| address.ip().is_loopback() && address.port() == 8200));
        assert!(Arc::ptr_eq(&first, &here.addresses().await.unwrap()));
    }

    #[tokio::test]
    async fn old_addresses_are_asked_for_again_and_used_where_that_fails() {
        let old = |name: &str| {
            let at = Instant::now().checked_sub(ADDRESSES_KEPT).unwrap();
            let addresses: Arc<[SocketAddr]> = ["192.0.2.1:1".parse().unwrap()].into();
            Host { name: name.to_owned(), port: 1, found: Mutex::new(Some(Found { at, addresses })) }
        };
        assert!(old("localhost").addresses().await.unwrap()[0].ip().is_loopback());
        assert_eq!(*old("no such name").addresses().await.unwrap(), ["192.0.2.1:1".parse().unwrap()]);
        assert!(host("http://no-such-name.invalid").addresses().await.is_err());
    }
}
