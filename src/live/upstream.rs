//! The connections to the upstream: the one place that decides how bytes travel there.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::Service;

use super::BoxError;
use super::upload::Upload;

/// How long connecting may take, name lookup and TLS included: three lost first packets, and then some.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept: load balancers commonly close theirs after 60 s, and whoever closes first
/// must be us, since a request that meets a connection being closed is lost.
const IDLE_LIMIT: Duration = Duration::from_secs(50);

/// How often a silent connection is probed: a long answer may be silent for minutes, and networks forget connections
/// that carry nothing (the shortest common limit is 350 s).
const PROBE_EVERY: Duration = Duration::from_secs(60);

/// How many idle connections are kept; more are only left over from a burst, and each costs the upstream a socket.
const IDLE_CONNECTIONS_MAX: usize = 512;

/// A pool of connections to the upstream, over HTTP/1.1.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    client: legacy::Client<Connector, Upload>,
}

impl Connections {
    /// `encrypted` says whether certificates will be needed; the machine's own are read for that.
    pub(super) fn new(encrypted: bool) -> io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(PROBE_EVERY));
        tcp.set_keepalive_interval(Some(PROBE_EVERY));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls(encrypted)?).https_or_http().enable_http1();
        // A canceled request is tried again only if not one byte of it was written, as on a connection that the
        // upstream closed while it was idle.
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .retry_canceled_requests(true)
            .set_host(false)
            .build(Connector(https.wrap_connector(tcp)));
        Ok(Self { client })
    }

    /// Sends a request; dropping the future, or the answer's body, closes its connection.
    pub(super) fn send(
        &self,
        request: Request<Upload>,
    ) -> impl Future<Output = Result<Response<Incoming>, BoxError>> + use<> {
        let answer = self.client.request(request);
        async { answer.await.map_err(Into::into) }
    }
}

fn tls(encrypted: bool) -> io::Result<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    if encrypted {
        use hyper_rustls::ConfigBuilderExt as _;
        return Ok(config.with_native_roots()?.with_no_client_auth());
    }
    Ok(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// Connects within [`CONNECT_LIMIT`], handshake included, which the connectors below do not bound.
#[derive(Clone, Debug)]
struct Connector(HttpsConnector<HttpConnector>);

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let connected = tokio::time::timeout(CONNECT_LIMIT, self.0.call(address));
        Box::pin(async move { connected.await? })
    }
}
