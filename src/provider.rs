//! The only client of the upstream for work of our own: batches, their results, and what a model can do.
//!
//! Live calls are relayed elsewhere, byte for byte; here we ask in our callers' names, with their credentials.

mod batches;
mod error;
mod lines;
mod messages;
mod models;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Response};

pub use batches::{Envelope, ItemResult, ProviderBatch, ResultLine, Results};
pub use error::{ProviderError, Refusal};
pub use models::ModelKnowledge;
pub use settings::Settings;

use crate::domain::lane::{CredentialHeader, Lane};

/// How long a connection may take to come about; then another moment is tried.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long an answer that is not a batch's creation or its results may take as a whole.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// How long nothing may arrive of an answer that streams.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);

/// Asks the upstream in the name of a lane. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Provider {
    client: reqwest::Client,
    base: Arc<str>,
    /// How long a live call may take.
    answer_limit: Duration,
}

/// The client could not be set up (no certificates to trust, say).
#[derive(Debug, thiserror::Error)]
#[error("setting up the client of the upstream")]
pub struct SetUpError(#[from] reqwest::Error);

impl Provider {
    /// A client of the upstream that the settings name.
    ///
    /// # Errors
    /// If the system has no certificates to trust.
    pub fn new(settings: &Settings) -> Result<Self, SetUpError> {
        // The first one stays, which can only be this one: installing it twice changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            // A live answer is silent until it is done.
            .read_timeout(SILENCE_LIMIT.max(settings.timeout))
            .redirect(reqwest::redirect::Policy::none())
            // A create that was repeated behind our back would be a batch paid twice.
            .retry(reqwest::retry::never())
            .tcp_nodelay(true)
            .user_agent(concat!("offpeak/", env!("CARGO_PKG_VERSION")));
        let url = &settings.url;
        let builder = if is_local(url) { builder.no_proxy() } else { builder };
        let client = builder.build()?;
        let scheme = url.scheme_str().unwrap_or("https");
        let authority = url.authority().map_or("", |authority| authority.as_str());
        let base = format!("{scheme}://{authority}{}", settings.path_prefix()).into();
        Ok(Self { client, base, answer_limit: settings.timeout })
    }

    fn request(&self, method: Method, path: &str, lane: &Lane) -> Result<RequestBuilder, ProviderError> {
        Ok(self.client.request(method, format!("{}{path}", self.base)).headers(headers_of(lane)?))
    }

    /// Sends a request that is answered at once, and refuses what is no success.
    async fn call(&self, request: RequestBuilder) -> Result<Response, ProviderError> {
        let response = request.timeout(CALL_LIMIT).send().await.map_err(ProviderError::from_send)?;
        error::accept(response).await
    }
}

/// Whether a URL leads to this machine, where a proxy that is set for the world outside leads nowhere.
pub fn is_local(url: &http::Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// What every call in the name of a lane carries.
fn headers_of(lane: &Lane) -> Result<HeaderMap, ProviderError> {
    let mut headers = HeaderMap::new();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| ProviderError::Unsendable);
    let (name, text) = match lane.credential.header {
        CredentialHeader::ApiKey => ("x-api-key", lane.credential.secret.expose().to_owned()),
        CredentialHeader::Bearer => ("authorization", format!("Bearer {}", lane.credential.secret.expose())),
    };
    let mut credential = value(&text)?;
    credential.set_sensitive(true);
    headers.insert(HeaderName::from_static(name), credential);
    let betas = Some(&lane.betas).filter(|betas| !betas.is_empty());
    for (name, text) in [
        ("anthropic-version", lane.version.as_ref()),
        ("anthropic-beta", betas),
        ("anthropic-workspace-id", lane.workspace_id.as_ref()),
        ("anthropic-user-profile-id", lane.user_profile_id.as_ref()),
    ] {
        if let Some(text) = text {
            headers.insert(HeaderName::from_static(name), value(text)?);
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_this_machine() {
        for here in ["http://127.0.0.1:8200", "http://localhost", "https://[::1]:1/x", "http://LOCALHOST:8200"] {
            assert!(is_local(&here.parse().unwrap()), "{here}");
        }
        for elsewhere in ["http://10.0.0.1:8200", "https://localhost.example", "/127.0.0.1"] {
            assert!(!is_local(&elsewhere.parse().unwrap()), "{elsewhere}");
        }
    }
}
