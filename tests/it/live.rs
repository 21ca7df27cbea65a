//! The live path between a client and an upstream that are both spoken by hand.

mod connections;
mod listener;
mod messages;
mod outside;
mod results_url;
mod streams;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use offpeak::http::listen;
use offpeak::live::{Credential, Error, Live, LiveBody};
use offpeak::provider::Settings;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::wire::{Head, Wire, soon};

/// An answer after which the upstream's connection is not used again, so that each call has one of its own.
const DONE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How a gateway under test is set up.
struct Setup {
    prefix: &'static str,
    timeout: Duration,
    public_url: Option<Uri>,
    credential: Option<Credential>,
    grace: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        let long = Duration::from_secs(600);
        Self { prefix: "", timeout: long, public_url: None, credential: None, grace: long }
    }
}

/// A gateway that does nothing but relay, and the upstream's listener, which the test answers on itself.
struct Relay {
    address: SocketAddr,
    upstream: TcpListener,
    drain: CancellationToken,
    serving: JoinSet<()>,
}

impl Relay {
    async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    async fn with(setup: Setup) -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{}", upstream.local_addr().unwrap(), setup.prefix).parse().unwrap();
        let live = Live::new(&Settings { url, timeout: setup.timeout }, setup.public_url.as_ref()).unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let drain = CancellationToken::new();
        let service_for = move |_peer| {
            let (live, credential) = (live.clone(), setup.credential.clone());
            service_fn(move |request| answer(live.clone(), credential.clone(), request))
        };
        let mut serving = JoinSet::new();
        serving.spawn(listen::serve(listener, service_for, drain.clone(), setup.grace));
        Self { address, upstream, drain, serving }
    }

    async fn client(&self) -> Wire {
        Wire::connect(self.address).await
    }

    /// The next connection that the gateway makes to the upstream.
    async fn upstream(&self) -> Wire {
        Wire::new(soon(self.upstream.accept()).await.unwrap().0)
    }

    /// A call on its way: the client sent `request`, the upstream has read its head.
    async fn begin(&self, request: impl AsRef<[u8]>) -> (Wire, Wire, Head) {
        let mut client = self.client().await;
        client.send(request).await;
        let mut upstream = self.upstream().await;
        let head = upstream.head().await;
        (client, upstream, head)
    }

    /// What the upstream sees of a request without a body.
    async fn seen_upstream(&self, request: impl AsRef<[u8]>) -> Head {
        let (mut client, mut upstream, head) = self.begin(request).await;
        upstream.send(DONE).await;
        assert_eq!(client.head().await.status(), 200);
        head
    }
}

async fn answer(
    live: Live,
    credential: Option<Credential>,
    request: Request<Incoming>,
) -> Result<Response<Either<LiveBody, Empty<Bytes>>>, Infallible> {
    let status = match live.forward(request, credential).await {
        Ok(answer) => return Ok(answer.map(Either::Left)),
        Err(Error::Unreachable(_)) => StatusCode::BAD_GATEWAY,
        Err(Error::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        Err(Error::Upload(_)) => StatusCode::BAD_REQUEST,
    };
    let mut failure = Response::new(Either::Right(Empty::new()));
    *failure.status_mut() = status;
    Ok(failure)
}
