//! A stand-in for receivers: answers as the test wants, and remembers what it got.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::response::Response;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use futures_util::stream;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::it::wire::soon;

/// What it got.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// From where.
    pub(crate) peer: SocketAddr,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// How it answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// With this status, and perhaps a header.
    Status(u16, Option<(&'static str, String)>),
    /// Well, once this is so.
    Once(watch::Receiver<bool>),
    /// Not at all.
    Hang,
    /// With a body that has no end.
    Endless,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self::Status(status, None)
    }

    pub(crate) fn with(status: u16, header: &'static str, value: impl Into<String>) -> Self {
        Self::Status(status, Some((header, value.into())))
    }

    async fn response(self, gone: watch::Sender<bool>) -> Response {
        let (status, header, body) = match self {
            Self::Status(status, header) => (status, header, Body::from("thank you")),
            Self::Once(mut is_so) => {
                is_so.wait_for(|is_so| *is_so).await.unwrap();
                (200, None, Body::empty())
            }
            Self::Hang => std::future::pending().await,
            Self::Endless => (200, None, endless(gone)),
        };
        let response = Response::builder().status(status);
        let response = header.into_iter().fold(response, |response, (name, value)| response.header(name, value));
        response.body(body).unwrap()
    }
}

/// Says so when nobody reads it any more.
fn endless(gone: watch::Sender<bool>) -> Body {
    struct Told(watch::Sender<bool>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send_replace(true);
        }
    }
    let told = Told(gone);
    Body::from_stream(stream::repeat_with(move || {
        let _ = &told;
        Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 8_000]))
    }))
}

/// A running one; it goes with this value.
pub(crate) struct Receiver {
    address: SocketAddr,
    got: watch::Sender<Vec<Got>>,
    gone: watch::Sender<bool>,
    _serving: JoinSet<()>,
}

impl Receiver {
    /// One that takes everything.
    pub(crate) async fn start() -> Self {
        Self::scripted(|_, _| Reply::status(204)).await
    }

    /// One that answers as the script says to what it got, and how often it got something at this path before.
    pub(crate) async fn scripted(script: impl Fn(&Got, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (got, gone) = (watch::Sender::new(Vec::<Got>::new()), watch::Sender::new(false));
        let (seen, ended, script) = (got.clone(), gone.clone(), Arc::new(script));
        let answer = move |ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request<Body>| {
            let (seen, ended, script) = (seen.clone(), ended.clone(), script.clone());
            async move {
                let (head, body) = request.into_parts();
                let path = head.uri.path_and_query().unwrap().to_string();
                let body = body.collect().await.unwrap().to_bytes();
                let one = Got { path, headers: head.headers, body, peer };
                let mut before = 0;
                seen.send_modify(|all| {
                    before = all.iter().filter(|other| other.path == one.path).count();
                    all.push(one.clone());
                });
                script(&one, before).response(ended).await
            }
        };
        let mut serving = JoinSet::new();
        let service = Router::new().fallback(answer).into_make_service_with_connect_info::<SocketAddr>();
        serving.spawn(async move { axum::serve(listener, service).await.unwrap() });
        Self { address, got, gone, _serving: serving }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The origin of its URLs.
    pub(crate) fn origin(&self) -> String {
        self.url("")
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.borrow().clone()
    }

    /// Waits until what it got fulfils a condition.
    pub(crate) async fn until(&self, condition: impl Fn(&[Got]) -> bool) -> Vec<Got> {
        soon(self.got.subscribe().wait_for(|got| condition(got))).await.unwrap().clone()
    }

    /// Waits until an endless body is not read any more.
    pub(crate) async fn until_left(&self) {
        soon(self.gone.subscribe().wait_for(|gone| *gone)).await.unwrap();
    }
}

/// Whether one of the signatures is by this secret, as a receiver would check it.
pub(crate) fn is_signed(got: &Got, secret: &str) -> bool {
    let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let signed = [got.header("webhook-id"), ".", got.header("webhook-timestamp"), "."].concat();
    let expected = BASE64_STANDARD.encode(hmac(&key, &[signed.as_bytes(), &got.body].concat()));
    got.header("webhook-signature").split(' ').any(|signature| signature == format!("v1,{expected}"))
}

/// HMAC-SHA256 from its definition, for keys of at most 64 bytes.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let padded = |with: u8| -> Vec<u8> { (0..64).map(|index| key.get(index).copied().unwrap_or(0) ^ with).collect() };
    let inner = Sha256::digest([padded(0x36), text.to_vec()].concat());
    Sha256::digest([padded(0x5c), inner.to_vec()].concat()).to_vec()
}
