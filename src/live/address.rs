//! Where the upstream is.

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};

/// The upstream's origin, and the path that comes before every path asked for.
#[derive(Clone, Debug)]
pub(super) struct Address {
    scheme: Scheme,
    authority: Authority,
    prefix: String,
    host: HeaderValue,
}

impl Address {
    /// Reads an `http` or `https` URL; user names in it are left out, and so is a port that says nothing new.
    pub(super) fn new(url: &Uri) -> Option<Self> {
        let scheme = url.scheme().filter(|s| **s == Scheme::HTTP || **s == Scheme::HTTPS)?.clone();
        let authority = plain_authority(&scheme, url.authority()?)?;
        let host = HeaderValue::from_str(authority.as_str()).ok()?;
        Some(Self { scheme, authority, prefix: url.path().trim_end_matches('/').to_owned(), host })
    }

    /// Whether connections there are encrypted.
    pub(super) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The `host` header that the upstream expects.
    pub(super) fn host(&self) -> HeaderValue {
        self.host.clone()
    }

    /// The upstream's URL.
    pub(super) fn url(&self) -> Result<Uri, http::Error> {
        Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query("/").build()
    }

    /// Scheme, host and port, as a proxy wants to see them in front of a path.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// What stands in front of the path of every request.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What follows the upstream's address in `url`, if it lies there: a path that can be asked of the gateway.
    pub(super) fn path_of<'a>(&self, url: &'a str) -> Option<&'a str> {
        let parsed: Uri = url.parse().ok()?;
        let (scheme, authority) = (parsed.scheme()?, parsed.authority()?);
        if *scheme != self.scheme || authority.as_str().contains('@') {
            return None;
        }
        if plain_authority(scheme, authority)? != self.authority {
            return None;
        }
        let path = url.get(scheme.as_str().len() + "://".len() + authority.as_str().len()..)?;
        path.strip_prefix(self.prefix.as_str()).filter(|path| path.starts_with('/'))
    }
}

/// The host, and the port where it is not the scheme's own.
fn plain_authority(scheme: &Scheme, authority: &Authority) -> Option<Authority> {
    let own_port = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    match authority.port_u16() {
        Some(port) if port != own_port => format!("{}:{port}", authority.host()).parse().ok(),
        _ => authority.host().parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Address {
        Address::new(&url.parse().unwrap()).unwrap()
    }

    #[test]
    fn only_http_with_a_host_is_an_address() {
        for wrong in ["/v1", "ftp://files.example", "example.com:80"] {
            assert!(Address::new(&wrong.parse().unwrap()).is_none(), "{wrong}");
        }
        assert!(address("https://api.anthropic.com").is_https());
        assert!(!address("http://127.0.0.1:9").is_https());
    }

    #[test]
    fn the_host_header_has_no_user_and_no_needless_port() {
        for (url, host) in [
            ("https://api.anthropic.com", "api.anthropic.com"),
            ("https://api.anthropic.com:443", "api.anthropic.com"),
            ("http://api.anthropic.com:443", "api.anthropic.com:443"),
            ("http://me:secret@[::1]:8200/x", "[::1]:8200"),
        ] {
            assert_eq!(address(url).host(), host, "{url}");
        }
    }

    #[test]
    fn only_urls_that_lie_at_the_address_have_a_path_there() {
        let root = address("https://api.anthropic.com");
        let prefixed = address("http://proxy.example:8080/claude");
        for (at, url, expected) in [
            (&root, "https://api.anthropic.com/v1/x/results?a=b", Some("/v1/x/results?a=b")),
            (&root, "https://API.Anthropic.com:443/v1", Some("/v1")),
            (&root, "https://api.anthropic.com", None),
            (&root, "http://api.anthropic.com/v1", None),
            (&root, "https://api.anthropic.com:444/v1", None),
            (&root, "https://api.anthropic.com.evil.example/v1", None),
            (&root, "https://api.anthropic.com@evil.example/v1", None),
            (&root, "https://evil.example/https://api.anthropic.com/v1", None),
            (&root, "/v1", None),
            (&root, "", None),
            (&prefixed, "http://proxy.example:8080/claude/v1", Some("/v1")),
            (&prefixed, "http://proxy.example:8080/claudette/v1", None),
            (&prefixed, "http://proxy.example:8080/v1", None),
        ] {
            assert_eq!(at.path_of(url), expected, "{url}");
        }
    }
}
