//! The gateway's service: what is ours is answered here, and everything else is relayed.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;
use tower::ServiceExt as _;

use crate::domain::lane::CredentialHeader;
use crate::http::beside::Beside;
use crate::http::error::ApiError;
use crate::http::{Rooms, messages, own_routes};
use crate::inventory::{Answering as Watched, Tap};
use crate::live::{BoxError, LiveBody};
use crate::telemetry::chain;

/// An answer that is being made. Boxed by whoever makes it, so that one for which a call waits takes no more room than
/// its own way needs.
pub(super) type Answering = Pin<Box<dyn Future<Output = Response<GatewayBody>> + Send>>;

/// A body that is relayed, or one of our own.
pub(super) type GatewayBody = Either<Watched<LiveBody>, Body>;

/// Serves the gateway's listener. Clones share everything.
///
/// Each connection has one, and each call, of which thousands may wait: so it is one pointer.
#[derive(Clone)]
pub struct Gateway(Arc<Doors>);

struct Doors {
    rooms: Rooms,
    beside: Beside,
    own: Router,
}

impl Gateway {
    /// The door to these rooms, for the runtime on which the store's connections are.
    pub fn here(rooms: Rooms) -> Self {
        Self::new(rooms, Beside::Here)
    }

    /// The door to these rooms; what concerns the store is done `beside`.
    pub(super) fn new(rooms: Rooms, beside: Beside) -> Self {
        Self(Arc::new(Doors { own: own_routes(rooms.clone()), rooms, beside }))
    }

    /// What it leads to.
    pub(super) fn rooms(&self) -> &Rooms {
        &self.0.rooms
    }

    /// Where what concerns the store is done.
    pub(super) fn beside(&self) -> &Beside {
        &self.0.beside
    }

    fn answer(&self, request: Request<Incoming>) -> Answering {
        // Only the path decides; a query such as `?beta=true` passes through.
        let path = request.uri().path();
        if path == "/v1/messages" && request.method() == Method::POST {
            return messages::call(self, request);
        }
        if is_own(path) {
            let (gateway, answer) = (self.clone(), self.0.own.clone().oneshot(request.map(Body::new)));
            return Box::pin(async move {
                let Ok(answer) = gateway.beside().run(answer).await;
                gateway.beside().carry(answer).map(Either::Right)
            });
        }
        let gateway = self.clone();
        Box::pin(async move { gateway.relay(request, Tap::none()).await })
    }

    /// Passes a request on, and its answer back; both are watched by the tap while they pass.
    pub(super) async fn relay<B>(&self, request: Request<B>, tap: Tap) -> Response<GatewayBody>
    where
        B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let credential = self.stand_in(request.headers());
        match self.rooms().live.forward(request.map(|body| tap.asking(body)), credential).await {
            Ok(answer) => tap.answered(answer).map(Either::Left),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "a live call was not answered");
                let answer = ApiError::from(&error).response();
                tap.failed(answer.status().as_u16());
                answer.map(Either::Right)
            }
        }
    }

    /// A tap for a call, which begins now.
    pub(super) fn tap(&self, headers: &HeaderMap) -> Tap {
        self.rooms().recorder.tap(headers, self.rooms().clock.now())
    }

    /// The upstream's key, where the caller presents one that the gateway has issued in its place.
    fn stand_in(&self, headers: &HeaderMap) -> Option<(HeaderName, HeaderValue)> {
        let caller = self.rooms().intake.issued_key(headers)?;
        let secret = caller.credential.secret;
        let (name, value) = match caller.credential.header {
            CredentialHeader::ApiKey => (HeaderName::from_static("x-api-key"), secret.expose().to_owned()),
            CredentialHeader::Bearer => (http::header::AUTHORIZATION, format!("Bearer {}", secret.expose())),
        };
        HeaderValue::from_str(&value).ok().map(|value| (name, value))
    }
}

fn is_own(path: &str) -> bool {
    path == "/deferred" || path.starts_with("/deferred/") || path == "/healthz" || path == "/readyz"
}

/// An answer, for whoever asks whether there will be one.
pub struct NeverFailing(Answering);

impl Future for NeverFailing {
    type Output = Result<Response<GatewayBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

impl hyper::service::Service<Request<Incoming>> for Gateway {
    type Response = Response<GatewayBody>;
    type Error = Infallible;
    type Future = NeverFailing;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        NeverFailing(self.answer(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_is_ours() {
        for path in ["/deferred", "/deferred/", "/deferred/x/message", "/healthz", "/readyz"] {
            assert!(is_own(path), "{path}");
        }
        for path in ["/", "/deferredness", "/healthz/", "/v1/messages", "/v1/deferred"] {
            assert!(!is_own(path), "{path}");
        }
    }
}
