//! Errors of our own, in the provider's shape, so that SDKs raise what they always raise.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use uuid::Uuid;

use crate::domain::decision::Decision;
use crate::domain::error_type;
use crate::http::budgets;
use crate::intake::Refusal;
use crate::live;

/// The header that holds a stable code of what went wrong.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-defer-error");

/// Tells SDKs whether to try again.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The header that says what became of a call.
pub(super) const DECISION: HeaderName = HeaderName::from_static("x-defer-decision");

/// The header by which the provider names a request.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// An error of the gateway's own.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    code: &'static str,
    message: String,
    /// The provider's finer code, for clients that act on it.
    detail: Option<&'static str>,
    retry_after_seconds: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, code, message: message.into(), detail: None, retry_after_seconds: None }
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found_error", "not-found", "there is no such deferral")
    }

    pub(super) fn no_such_group() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found_error", "not-found", "there is no such group")
    }

    pub(super) fn ambiguous_group() -> Self {
        let message = "several tenants have a group of this name: ask with the credential of the one that is meant";
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", "ambiguous-group", message)
    }

    pub(super) fn invalid_body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", "invalid-body", message)
    }

    pub(super) fn broken_body() -> Self {
        let message = "the request's body broke off";
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", "broken-body", message)
    }

    pub(super) fn no_such_delivery() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found_error", "not-found", "there is no such delivery")
    }

    pub(super) fn invalid_query(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", "invalid-query", message)
    }

    pub(super) fn missing_credential() -> Self {
        let message = "no credential: send the provider's key in x-api-key or authorization: Bearer";
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", "missing-credential", message)
    }

    pub(super) fn unauthorized() -> Self {
        let message = "the admin token is missing or wrong: send authorization: Bearer TOKEN";
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", "unauthorized", message)
    }

    pub(super) fn foreign_site() -> Self {
        let message = "without an admin token only this machine may ask, and no other site's page";
        Self::new(StatusCode::FORBIDDEN, "permission_error", "forbidden", message)
    }

    pub(super) fn store_unavailable() -> Self {
        let message = "the store is not available: nothing was queued, try again";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "api_error", "store-unavailable", message);
        Self { retry_after_seconds: Some(5), ..error }
    }

    /// What somebody gets who waits for a Message that does not come.
    pub(super) fn not_in_time() -> Self {
        let message = "no result came in time";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout_error", "upstream-timeout", message)
    }

    /// What somebody gets who waits for a Message while the gateway ends.
    pub(super) fn ending() -> Self {
        let message = "this gateway is ending: ask again, and another one goes on with this call";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "api_error", "ending", message);
        Self { retry_after_seconds: Some(1), ..error }
    }

    fn too_large(limit: u64) -> Self {
        let message = format!("the body is longer than {limit} bytes, which is the most that is taken here");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", "too-large", message)
    }

    /// What became of a call that met this error.
    pub(super) fn decision(&self) -> Decision {
        Decision::Refused(self.code)
    }

    pub(super) fn response(self) -> Response {
        let request_id = format!("req_{}", Uuid::from_u128(rand::random()).simple());
        let body = error_type::detailed_envelope(self.kind, &self.message, self.detail, &request_id);
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ERROR_CODE, HeaderValue::from_static(self.code));
        if let Ok(request_id) = HeaderValue::from_str(&request_id) {
            headers.insert(REQUEST_ID, request_id);
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if is_for_good(self.status) {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }
}

/// Whether trying the same again is of no use.
fn is_for_good(status: StatusCode) -> bool {
    status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS
}

/// Marks an answer that stands for good, so that SDKs do not repeat what led to it.
pub(super) fn mark_retry(response: &mut Response) {
    if is_for_good(response.status()) {
        response.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let bad_request = |code, message| Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", code, message);
        match refusal {
            Refusal::InvalidHeader { name, allowed } => {
                bad_request("invalid-header", format!("the header {name} does not parse; allowed: {allowed}"))
            }
            Refusal::NotDeferrable(no) => {
                let message = format!("this call cannot be deferred ({}): {}", no.blocked_by, no.message);
                // Tools that use threads look for this code, and replay the conversation in full.
                let detail = (no.blocked_by == "thread").then_some("thread_unsupported_request");
                Self { detail, ..bad_request("not-deferrable", message) }
            }
            Refusal::MissingCredential => Self::missing_credential(),
            Refusal::IdempotencyMismatch => {
                let message =
                    "this idempotency-key belongs to a call with another body: give each call a key of its own";
                bad_request("idempotency-mismatch", message.to_owned())
            }
            Refusal::CallbackForbidden(why) => bad_request("callback-forbidden", why),
            Refusal::GroupClosed => {
                let message = "this group is closed and takes no more members: give the call another x-defer-group";
                bad_request("group-closed", message.to_owned())
            }
            Refusal::TooLarge(limit) => Self::too_large(limit),
            Refusal::QueueFull { retry_after_seconds } => {
                let message = "as many calls are queued as may be, in all or for one tenant: try again later";
                let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "queue-full", message);
                Self { retry_after_seconds: Some(retry_after_seconds), ..error }
            }
            Refusal::BudgetExceeded { spent, retry_after_seconds } => {
                let (status, message) = (StatusCode::TOO_MANY_REQUESTS, budgets::said(&spent));
                let error = Self::new(status, "rate_limit_error", "budget-exceeded", message);
                Self { retry_after_seconds: Some(retry_after_seconds), ..error }
            }
            Refusal::StoreUnavailable => Self::store_unavailable(),
        }
    }
}

impl From<&live::Error> for ApiError {
    fn from(error: &live::Error) -> Self {
        match error {
            live::Error::Unreachable(_) => {
                let message = "the upstream cannot be reached";
                Self::new(StatusCode::BAD_GATEWAY, "api_error", "upstream-unreachable", message)
            }
            live::Error::Timeout => {
                let message = "the upstream has not answered in time";
                Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout_error", "upstream-timeout", message)
            }
            live::Error::Upload(_) => Self::broken_body(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.response()
    }
}

/// A path below one of ours that leads nowhere.
pub(super) async fn no_such_path() -> Response {
    let message = "there is nothing at this path";
    ApiError::new(StatusCode::NOT_FOUND, "not_found_error", "not-found", message).response()
}

/// A method that a path of ours does not take.
pub(super) async fn no_such_method() -> Response {
    let message = "this path does not take this method";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", "method-not-allowed", message).response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    /// Status, code, retry headers and body of an error, its request id left out.
    async fn shown(refusal: Refusal) -> String {
        let response = ApiError::from(refusal).response();
        let header = |name: &str| response.headers().get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
        let head =
            [response.status().as_str(), &header("x-defer-error"), &header("x-should-retry"), &header("retry-after")]
                .join(" ");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = std::str::from_utf8(&body).unwrap();
        let (body, request_id) = body.split_once(r#","request_id":"req_"#).unwrap();
        assert_eq!(request_id.len(), r#"00112233445566778899aabbccddeeff"}"#.len());
        format!("{head} {body}")
    }

    #[tokio::test]
    async fn refusals_have_the_agreed_form() {
        let mut all = Vec::new();
        for refusal in [
            Refusal::InvalidHeader { name: "x-defer".into(), allowed: "batch".into() },
            Refusal::NotDeferrable(crate::domain::body::NotDeferrable { blocked_by: "thread", message: "no".into() }),
            Refusal::MissingCredential,
            Refusal::IdempotencyMismatch,
            Refusal::CallbackForbidden("the callback may not go there".into()),
            Refusal::GroupClosed,
            Refusal::TooLarge(5),
            Refusal::QueueFull { retry_after_seconds: 7 },
            Refusal::StoreUnavailable,
        ] {
            all.push(shown(refusal).await);
        }
        insta::assert_snapshot!(all.join("\n"), @r#"
        400 invalid-header false - {"type":"error","error":{"type":"invalid_request_error","message":"the header x-defer does not parse; allowed: batch"}
        400 not-deferrable false - {"type":"error","error":{"type":"invalid_request_error","message":"this call cannot be deferred (thread): no","details":{"error_code":"thread_unsupported_request"}}
        401 missing-credential false - {"type":"error","error":{"type":"authentication_error","message":"no credential: send the provider's key in x-api-key or authorization: Bearer"}
        400 idempotency-mismatch false - {"type":"error","error":{"type":"invalid_request_error","message":"this idempotency-key belongs to a call with another body: give each call a key of its own"}
        400 callback-forbidden false - {"type":"error","error":{"type":"invalid_request_error","message":"the callback may not go there"}
        400 group-closed false - {"type":"error","error":{"type":"invalid_request_error","message":"this group is closed and takes no more members: give the call another x-defer-group"}
        413 too-large false - {"type":"error","error":{"type":"request_too_large","message":"the body is longer than 5 bytes, which is the most that is taken here"}
        429 queue-full - 7 {"type":"error","error":{"type":"rate_limit_error","message":"as many calls are queued as may be, in all or for one tenant: try again later"}
        503 store-unavailable - 5 {"type":"error","error":{"type":"api_error","message":"the store is not available: nothing was queued, try again"}
        "#);
    }
}
