//! What can go wrong with the upstream, by what can be done next.

use std::time::Duration;

use reqwest::Response;

use crate::domain::error_type::ErrorType;

/// An error answer is read no further than this.
const ERROR_BODY_MAX: usize = 1_000_000;

/// Why the upstream did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It was certainly never asked: no connection came about.
    #[error("the upstream cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// It may have done it: the connection was lost, or no answer came in time.
    #[error("the upstream's answer was lost")]
    NoAnswer(#[source] reqwest::Error),
    /// It has answered, and refuses.
    #[error("the upstream refuses: {0}")]
    Refused(Refusal),
    /// It has answered in a way that we do not understand.
    #[error("the upstream's answer does not read: {0}")]
    Unreadable(&'static str),
    /// What was to be sent cannot stand in a request.
    #[error("a header value cannot be sent")]
    Unsendable,
}

/// An error answer of the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The provider's type of error; derived from the status where the body tells none.
    pub kind: String,
    /// The body, in the provider's shape even where the answer was not (as from a proxy on the way).
    pub body: String,
    /// How long it asks us to wait.
    pub retry_after: Option<Duration>,
}

impl std::fmt::Display for Refusal {
    /// Without the message, which may repeat what was sent.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, self.kind)
    }
}

impl ProviderError {
    pub(super) fn from_send(error: reqwest::Error) -> Self {
        // The URL says nothing secret, but nothing new either.
        let error = error.without_url();
        if error.is_connect() { Self::Unreachable(error) } else { Self::NoAnswer(error) }
    }

    pub(super) fn from_read(error: reqwest::Error) -> Self {
        Self::NoAnswer(error.without_url())
    }
}

/// Lets a success pass, and reads the refusal otherwise.
pub(super) async fn accept(mut response: Response) -> Result<Response, ProviderError> {
    let status = response.status().as_u16();
    if response.status().is_success() {
        return Ok(response);
    }
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let retry_after = header("retry-after").and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
    let request_id = header("request-id").unwrap_or("").to_owned();
    let mut body = Vec::new();
    while body.len() < ERROR_BODY_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            // Whatever of the body was lost: the status is the refusal.
            Ok(None) | Err(_) => break,
        }
    }
    let refusal = match String::from_utf8(body).ok().filter(|body| is_envelope(body)) {
        Some(body) => Refusal { status, kind: ErrorType::read(&body).as_str().to_owned(), body, retry_after },
        None => {
            let kind = ErrorType::of_status(status);
            let message = format!("the upstream answered {status}");
            let body = crate::domain::error_type::envelope(kind.as_str(), &message, &request_id);
            Refusal { status, kind: kind.as_str().to_owned(), body, retry_after }
        }
    };
    Err(ProviderError::Refused(refusal))
}

fn is_envelope(body: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(body).is_ok_and(|value| value["error"]["type"].is_string())
}
