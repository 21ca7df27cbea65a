//! A new connection to the upstream: over which addresses, through which proxy, encrypted or not.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::connect::connect;
use super::names::Host;
use super::other;
use super::proxy::Proxy;
use super::stream::Stream;
use super::tls;
use crate::live::address::Address;

/// How long connecting may take, name lookup and TLS included: three lost first packets, and then some.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Connects to the upstream.
#[derive(Debug)]
pub(super) struct Dialer {
    host: Host,
    origin: String,
    is_encrypted: bool,
    proxy: Option<Proxy>,
    /// `None` where nothing on the way is encrypted.
    tls: Option<Arc<ClientConfig>>,
}

impl Dialer {
    /// Reads the machine's certificates and the environment's proxies, and connects to nothing yet.
    pub(super) fn new(address: &Address) -> io::Result<Self> {
        let url = address.url().map_err(other)?;
        let proxy = Proxy::on_the_way_to(&url)?;
        let is_encrypted = address.is_https();
        let tls = (is_encrypted || proxy.as_ref().is_some_and(|proxy| proxy.is_encrypted)).then(tls::config);
        let host = Host::of(&url).ok_or_else(|| other("the upstream has no host"))?;
        Ok(Self { host, origin: address.origin(), is_encrypted, proxy, tls: tls.transpose()? })
    }

    /// What stands before the path in a request line: the whole origin for a proxy that is to pass the request on, else
    /// nothing.
    pub(super) fn target_prefix(&self) -> &str {
        if self.forwarding_proxy().is_some() { &self.origin } else { "" }
    }

    /// What such a proxy wants to be shown with every request.
    pub(super) fn proxy_authorization(&self) -> Option<&HeaderValue> {
        self.forwarding_proxy()?.authorization.as_ref()
    }

    /// Connects, within [`CONNECT_LIMIT`].
    pub(super) async fn dial(&self) -> io::Result<Stream> {
        let connected = timeout(CONNECT_LIMIT, self.way()).await;
        connected.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "connecting took too long")))
    }

    /// A proxy that sees requests. One that connects us through to an encrypted upstream sees none.
    fn forwarding_proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !self.is_encrypted)
    }

    async fn way(&self) -> io::Result<Stream> {
        let Some(proxy) = &self.proxy else {
            let stream = Stream::Plain(connect(&self.host.addresses().await?).await?);
            return if self.is_encrypted { self.encrypt(stream, &self.host).await } else { Ok(stream) };
        };
        let mut stream = Stream::Plain(connect(&proxy.host.addresses().await?).await?);
        if proxy.is_encrypted {
            stream = self.encrypt(stream, &proxy.host).await?;
        }
        if self.is_encrypted {
            proxy.tunnel(&mut stream, &self.host).await?;
            stream = self.encrypt(stream, &self.host).await?;
        }
        Ok(stream)
    }

    async fn encrypt(&self, stream: Stream, host: &Host) -> io::Result<Stream> {
        let Some(config) = &self.tls else { return Err(other("nothing to encrypt with")) };
        let name = ServerName::try_from(host.name().to_owned()).map_err(other)?;
        let encrypted = TlsConnector::from(config.clone()).connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(encrypted)))
    }
}

#[cfg(test)]
mod tests;
