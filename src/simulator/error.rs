//! The provider's errors: status, type and message, in the provider's shape.

use std::borrow::Cow;

use serde::Serialize;

/// An error as the provider tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: u16,
    pub(super) kind: Cow<'static, str>,
    pub(super) message: String,
    pub(super) code: Option<&'static str>,
}

impl ApiError {
    /// An error of any type, with the status that belongs to it.
    pub(super) fn of(kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let kind = kind.into();
        Self { status: status_of(&kind), kind, message: message.into(), code: None }
    }

    /// 400: the request has to change.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::of("invalid_request_error", message)
    }

    /// 404: there is no such thing, or not for this caller.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::of("not_found_error", message)
    }

    /// The same error with a machine-readable `details.error_code`.
    pub(super) fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The error envelope, as an answer's body and inside a batch's results.
    pub(super) fn body(&self, request_id: &str) -> String {
        let details = self.code.map(|error_code| Details { error_code });
        let error = Inner { kind: &self.kind, message: &self.message, details };
        json(&Envelope { kind: "error", error, request_id })
    }
}

/// Serialises what cannot fail to serialise: structs of strings and numbers.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    error: Inner<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Inner<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

#[derive(Serialize)]
struct Details {
    error_code: &'static str,
}

fn status_of(kind: &str) -> u16 {
    match kind {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "conflict_error" => 409,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_providers_shape() {
        assert_eq!(
            ApiError::of("overloaded_error", "Overloaded").body("req_1"),
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#
        );
        assert_eq!(
            ApiError::invalid("No").with_code("thread_not_found").body("req_1"),
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"No","details":{"error_code":"thread_not_found"}},"request_id":"req_1"}"#
        );
    }

    #[test]
    fn a_type_has_its_status() {
        for (kind, status) in [("api_error", 500), ("timeout_error", 504), ("request_too_large", 413)] {
            assert_eq!(ApiError::of(kind, "").status, status, "{kind}");
        }
    }
}
