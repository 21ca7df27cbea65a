//! The command line's only HTTP client, for asking a running gateway.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use anyhow::anyhow;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use crate::provider;

/// How long a connection may take to come about: whoever asks is waiting at a terminal.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long an answer may take as a whole: longer than a gateway lets any question wait.
const ANSWER_LIMIT: Duration = Duration::from_secs(330);

/// Asks one listener, with the same headers each time.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
}

/// What came back.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Client {
    /// A client of the listener at `base`, which has no trailing slash.
    pub(super) fn new(base: &str, headers: HeaderMap) -> anyhow::Result<Self> {
        let is_local = base.parse().is_ok_and(|url: Uri| provider::is_local(&url));
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .timeout(ANSWER_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("offpeak/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers);
        let builder = if is_local { builder.no_proxy() } else { builder };
        Ok(Self { http: builder.build()?, base: base.to_owned() })
    }

    /// Where it asks.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Asks for what is at a path.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.send(Method::GET, path, &[], String::new()).await
    }

    /// Writes what is at a path to `output`, as it comes; what is no success comes back.
    pub(super) async fn save(&self, path: &str, output: &mut impl io::Write) -> anyhow::Result<Option<Reply>> {
        let request = self.http.get(format!("{}{path}", self.base));
        let mut response = request.send().await.map_err(|error| self.unanswered(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        if !status.is_success() {
            let body = response.text().await.map_err(|error| self.unanswered(&error))?;
            return Ok(Some(Reply { status, headers, body }));
        }
        while let Some(piece) = response.chunk().await.map_err(|error| self.unanswered(&error))? {
            output.write_all(&piece)?;
        }
        output.flush()?;
        Ok(None)
    }

    /// Sends a body, or none, with headers of its own.
    pub(super) async fn post(&self, path: &str, headers: &[(&str, &str)], body: String) -> anyhow::Result<Reply> {
        self.send(Method::POST, path, headers, body).await
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> anyhow::Result<Reply> {
        let mut own = HeaderMap::new();
        for (name, value) in headers {
            own.insert(HeaderName::try_from(*name)?, HeaderValue::try_from(*value)?);
        }
        let request = self.http.request(method, format!("{}{path}", self.base)).headers(own).body(body);
        let response = request.send().await.map_err(|error| self.unanswered(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.text().await.map_err(|error| self.unanswered(&error))?;
        Ok(Reply { status, headers, body })
    }

    fn unanswered(&self, error: &reqwest::Error) -> anyhow::Error {
        let base = &self.base;
        if error.is_timeout() {
            return anyhow!("{base} does not answer");
        }
        // Only the innermost cause says more than that there was an error.
        let mut cause = error.source();
        while let Some(inner) = cause.and_then(std::error::Error::source) {
            cause = Some(inner);
        }
        let why = cause.map_or_else(|| error.to_string(), ToString::to_string);
        if error.is_connect() { anyhow!("{base} cannot be reached: {why}") } else { anyhow!("{base} broke off: {why}") }
    }
}
