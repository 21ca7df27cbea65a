//! Hosts by name: patterns of them, and the names that always mean this machine.

use url::Host;

/// A host, or all hosts under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This host.
    Exact(Host),
    /// Every host whose name ends in a dot and this.
    Under(String),
}

impl HostPattern {
    /// Reads `host`, as it may stand in a URL, or `*.suffix`.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, is_suffix) = text.strip_prefix("*.").map_or((text, false), |suffix| (suffix, true));
        // The grammar of URLs lets a star pass in a name.
        if name.contains('*') {
            return None;
        }
        match (Host::parse(name).ok()?, is_suffix) {
            (Host::Domain(name), _) if plain(&name).is_empty() => None,
            (Host::Domain(name), true) => Some(Self::Under(plain(&name).to_owned())),
            (Host::Domain(name), false) => Some(Self::Exact(Host::Domain(plain(&name).to_owned()))),
            (_, true) => None,
            (address, false) => Some(Self::Exact(address)),
        }
    }

    /// Whether a host, as a URL has it, is meant.
    pub fn matches(&self, host: &Host<&str>) -> bool {
        match (self, host) {
            (Self::Exact(Host::Domain(one)), Host::Domain(name)) => one == plain(name),
            (Self::Exact(Host::Ipv4(one)), Host::Ipv4(address)) => one == address,
            (Self::Exact(Host::Ipv6(one)), Host::Ipv6(address)) => one == address,
            (Self::Under(suffix), Host::Domain(name)) => {
                plain(name).strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
            }
            _ => false,
        }
    }
}

/// Whether a name means this machine wherever it is resolved.
pub(super) fn is_localhost(name: &str) -> bool {
    let name = plain(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// A name without the dot that may end it, which changes nothing about where it leads.
fn plain(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, host: &str) -> bool {
        let host = Host::parse(host).unwrap();
        let host = match &host {
            Host::Domain(name) => Host::Domain(name.as_str()),
            Host::Ipv4(address) => Host::Ipv4(*address),
            Host::Ipv6(address) => Host::Ipv6(*address),
        };
        HostPattern::parse(pattern).unwrap().matches(&host)
    }

    #[test]
    fn a_pattern_is_a_host_or_all_under_a_name() {
        for (pattern, host) in [
            ("hooks.internal", "hooks.internal"),
            ("Hooks.Internal", "HOOKS.internal."),
            ("hooks.internal.", "hooks.internal"),
            ("*.internal", "hooks.internal"),
            ("*.internal", "a.hooks.internal"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("127.0.0.1", "0x7f.1"),
            ("[::1]", "[0:0::1]"),
        ] {
            assert!(matches(pattern, host), "{pattern} {host}");
        }
        for (pattern, host) in [
            ("hooks.internal", "a.hooks.internal"),
            ("hooks.internal", "hooks.internal.evil.example"),
            ("*.internal", "internal"),
            ("*.internal", ".internal"),
            ("*.internal", "hooksinternal"),
            ("*.internal", "hooks.internal.evil.example"),
            ("127.0.0.1", "127.0.0.2"),
            ("[::1]", "[::2]"),
            ("[::1]", "127.0.0.1"),
        ] {
            assert!(!matches(pattern, host), "{pattern} {host}");
        }
        for wrong in
            ["", ".", "*", "*.", "**.a", "a.*", "*.a.*", "*.127.0.0.1", "a:80", "https://a.b", "a/b", "a@b", "a b"]
        {
            assert_eq!(HostPattern::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn localhost_is_this_machine() {
        for name in ["localhost", "localhost.", "app.localhost"] {
            assert!(is_localhost(name), "{name}");
        }
        for name in ["localhost.example", "notlocalhost", "example"] {
            assert!(!is_localhost(name), "{name}");
        }
    }
}
