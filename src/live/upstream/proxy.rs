//! A proxy between us and the upstream, where the environment names one.

use std::io;

use bytes::BytesMut;
use http::header::PROXY_AUTHORIZATION;
use http::{HeaderValue, Method, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::names::Host;
use super::other;
use super::stream::Stream;
use crate::live::answer::{Event, Reader};
use crate::provider::is_local;

/// A proxy, and what it wants to be shown.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) host: Host,
    pub(super) is_encrypted: bool,
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxy {
    /// The proxy on the way to `url`, by the same variables that the provider's client follows: `HTTP_PROXY`,
    /// `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`.
    pub(super) fn on_the_way_to(url: &Uri) -> io::Result<Option<Self>> {
        if is_local(url) {
            return Ok(None);
        }
        Self::chosen_by(&Matcher::from_system(), url)
    }

    fn chosen_by(matcher: &Matcher, url: &Uri) -> io::Result<Option<Self>> {
        let Some(chosen) = matcher.intercept(url) else { return Ok(None) };
        let is_encrypted = match chosen.uri().scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(other("the proxy that the environment names is not an http or https one")),
        };
        let host = Host::of(chosen.uri()).ok_or_else(|| other("the proxy that the environment names has no host"))?;
        Ok(Some(Self { host, is_encrypted, authorization: chosen.basic_auth().cloned() }))
    }

    /// Has the proxy connect `stream` through to `target`.
    pub(super) async fn tunnel(&self, stream: &mut Stream, target: &Host) -> io::Result<()> {
        let authority = target.authority();
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend_from_slice(PROXY_AUTHORIZATION.as_str().as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(authorization.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request).await?;
        stream.flush().await?;

        // What follows the head of an answer that agrees is the tunnel's, so that nothing may follow as yet.
        let (mut reader, mut arrived) = (Reader::new(Method::HEAD), BytesMut::new());
        loop {
            match reader.next(&mut arrived).map_err(other)? {
                Some(Event::Head(head)) if head.status.is_success() && arrived.is_empty() => return Ok(()),
                Some(Event::Head(head)) => {
                    return Err(other(format!("the proxy does not connect us through: {}", head.status.as_u16())));
                }
                _ if stream.read_buf(&mut arrived).await? == 0 => return Err(other("the proxy hung up")),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn chosen(matcher: &Matcher, url: &str) -> io::Result<Option<Proxy>> {
        Proxy::chosen_by(matcher, &url.parse().unwrap())
    }

    #[test]
    fn the_environment_chooses() {
        let matcher = Matcher::builder()
            .http("proxy.example:3128")
            .https("https://me:secret@secure.example")
            .no("internal.example")
            .build();
        let plain = chosen(&matcher, "http://api.example").unwrap().unwrap();
        assert_eq!((plain.host.authority(), plain.is_encrypted), ("proxy.example:3128".to_owned(), false));
        let secure = chosen(&matcher, "https://api.example").unwrap().unwrap();
        assert_eq!((secure.host.authority(), secure.is_encrypted), ("secure.example:443".to_owned(), true));
        assert_eq!(secure.authorization.as_ref().unwrap(), "Basic bWU6c2VjcmV0");
        assert!(!format!("{secure:?}").contains("bWU6"), "its password is shown");
        assert!(chosen(&matcher, "https://api.internal.example").unwrap().is_none());
        let socks = Matcher::builder().all("socks5://proxy.example").build();
        assert!(chosen(&socks, "https://api.example").is_err());
    }

    /// What a proxy that answers with `answer` is asked, and whether we take that for a tunnel.
    async fn tunnelled(answer: &str) -> (String, io::Result<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = Stream::Plain(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        let url = "https://api.example:8443".parse().unwrap();
        let matcher = Matcher::builder().all("http://me:secret@proxy.example:3128").build();
        let proxy = Proxy::chosen_by(&matcher, &url).unwrap().unwrap();
        let host = Host::of(&url).unwrap();
        tokio::join!(
            async {
                let (mut proxy, _) = listener.accept().await.unwrap();
                let mut asked = String::new();
                while !asked.ends_with("\r\n\r\n") {
                    asked.push(char::from(proxy.read_u8().await.unwrap()));
                }
                proxy.write_all(answer.as_bytes()).await.unwrap();
                asked
            },
            proxy.tunnel(&mut stream, &host)
        )
    }

    #[tokio::test]
    async fn a_proxy_is_asked_to_connect_us_through() {
        let (asked, connected) = tunnelled("HTTP/1.1 200 Connection established\r\n\r\n").await;
        let expected = "CONNECT api.example:8443 HTTP/1.1\r\nhost: api.example:8443\r\n\
            proxy-authorization: Basic bWU6c2VjcmV0\r\n\r\n";
        assert_eq!(asked, expected);
        connected.unwrap();
    }

    #[tokio::test]
    async fn what_does_not_connect_us_through_is_an_error() {
        for answer in
            ["HTTP/1.1 407 No\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nmore", "", "SSH-2.0\r\n", "HTTP/1.1 200 OK\r\n"]
        {
            let (_, connected) = tunnelled(answer).await;
            let error = connected.expect_err(answer);
            assert!(!error.to_string().contains("bWU6"), "{error}");
        }
    }
}
