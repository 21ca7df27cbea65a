//! The client of a test: calls with headers as the test wants them, and answers as they came.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

use super::TestApp;
use crate::it::wire::soon;

/// Who calls unless a test says otherwise, and somebody else in another workspace.
pub(crate) const KEY: &str = "sk-ant-red-1";
pub(crate) const OTHER_KEY: &str = "sk-ant-blue-1";

/// A client that changes nothing and goes nowhere else.
pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().no_gzip().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// The body of a call that any batch takes.
pub(crate) fn body(prompt: &str) -> String {
    let prompt = Value::from(prompt);
    format!(r#"{{"model":"claude-haiku-4-5","max_tokens":64,"messages":[{{"role":"user","content":{prompt}}}]}}"#)
}

impl TestApp {
    /// A request to the gateway, with a key and a version.
    pub(crate) fn request(&self, method: Method, path: &str) -> Call {
        Call::new(&self.http, method, self.gateway(), path)
            .header("x-api-key", KEY)
            .header("anthropic-version", "2023-06-01")
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.request(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call {
        self.request(Method::POST, path)
    }

    /// A call to the model.
    pub(crate) fn call(&self, body: impl Into<Bytes>) -> Call {
        self.post("/v1/messages").header("content-type", "application/json").body(body)
    }

    /// A call that asks to be deferred.
    pub(crate) fn tagged(&self, body: impl Into<Bytes>) -> Call {
        self.call(body).header("x-defer", "batch")
    }

    /// A request to the operator's listener.
    pub(crate) fn operator(&self, method: Method, path: &str) -> Call {
        Call::new(&self.http, method, self.admin(), path)
    }

    /// Defers a call with this prompt, and gives its id.
    pub(crate) async fn defer(&self, prompt: &str) -> String {
        self.tagged(body(prompt)).send().await.id()
    }

    /// The deferral as its caller sees it.
    pub(crate) async fn deferral(&self, id: &str) -> Value {
        self.get(&format!("/deferred/{id}")).send().await.expect(200).json()
    }

    /// What its caller gets in the end.
    pub(crate) async fn message(&self, id: &str) -> Answer {
        self.get(&format!("/deferred/{id}/message")).send().await
    }
}

/// A request that is being written.
#[derive(Clone)]
pub(crate) struct Call {
    http: reqwest::Client,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    pub(crate) fn new(http: &reqwest::Client, method: Method, address: SocketAddr, path: &str) -> Self {
        let url = format!("http://{address}{path}");
        Self { http: http.clone(), method, url, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// With this header in place of one of its name.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.insert(name_of(name), HeaderValue::from_bytes(value.as_ref()).unwrap());
        self
    }

    /// With this header besides those of its name.
    pub(crate) fn also(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.append(name_of(name), HeaderValue::from_bytes(value.as_ref()).unwrap());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// As another caller.
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("x-api-key", key)
    }

    /// With the key or token in the other header.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.without("x-api-key").header("authorization", format!("Bearer {token}"))
    }

    pub(crate) fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(crate) async fn send(self) -> Answer {
        soon(self.try_send()).await.unwrap()
    }

    /// Sends it, for whoever reads the answer piece by piece.
    pub(crate) async fn open(self) -> reqwest::Result<reqwest::Response> {
        self.http.request(self.method, self.url).headers(self.headers).body(self.body).send().await
    }

    /// Sends it where it may not arrive.
    pub(crate) async fn try_send(self) -> reqwest::Result<Answer> {
        let response = self.open().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.bytes().await? })
    }
}

fn name_of(name: &str) -> HeaderName {
    name.parse().unwrap()
}

/// An answer that came whole.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The answer, which must have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// The refusal that it must be: an error of ours with this status and code, in the provider's shape. Its message.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, kind: &str, code: &str) -> String {
        let answer = self.expect(status);
        let error = answer.json();
        assert_eq!((&error["type"], &error["error"]["type"]), (&"error".into(), &kind.into()), "{error}");
        assert_eq!(error["request_id"].as_str(), answer.header("request-id"), "{error}");
        assert_eq!(answer.header("x-defer-error"), Some(code), "{error}");
        // What stands for good must not be repeated by SDKs, and what passes must.
        let for_good = (400..500).contains(&status) && status != 429;
        assert_eq!(answer.header("x-should-retry"), for_good.then_some("false"), "{error}");
        error["error"]["message"].as_str().unwrap().to_owned()
    }

    /// The id on the ticket that it must be.
    #[track_caller]
    pub(crate) fn id(self) -> String {
        let ticket = self.expect(202).json();
        ticket["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}
