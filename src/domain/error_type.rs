//! The provider's error types: the HTTP status of each, and whether trying again can help.

use serde::Deserialize;

const STATUSES: &[(&str, u16)] = &[
    ("invalid_request_error", 400),
    ("authentication_error", 401),
    ("billing_error", 402),
    ("permission_error", 403),
    ("not_found_error", 404),
    ("conflict_error", 409),
    ("request_too_large", 413),
    ("rate_limit_error", 429),
    ("api_error", 500),
    ("timeout_error", 504),
    ("overloaded_error", 529),
];

/// What the provider says went wrong, as far as we act on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorType(String);

impl ErrorType {
    /// Reads the type from an error envelope; one without a readable type counts as an `api_error`.
    pub fn read(envelope: &str) -> Self {
        #[derive(Deserialize)]
        struct Envelope {
            error: Inner,
        }
        #[derive(Deserialize)]
        struct Inner {
            #[serde(rename = "type")]
            kind: String,
        }
        let read = serde_json::from_str::<Envelope>(envelope);
        Self(read.map_or_else(|_| "api_error".to_owned(), |envelope| envelope.error.kind))
    }

    /// The type's own name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The type that usually comes with an HTTP status.
    pub fn of_status(status: u16) -> Self {
        let fallback = if (400..500).contains(&status) { "invalid_request_error" } else { "api_error" };
        let known = STATUSES.iter().find(|(_, of_type)| *of_type == status);
        Self(known.map_or(fallback, |(name, _)| name).to_owned())
    }

    /// The HTTP status under which the live API reports it; 500 for types that we do not know.
    pub fn status(&self) -> u16 {
        STATUSES.iter().find(|(name, _)| *name == self.0).map_or(500, |(_, status)| *status)
    }

    /// Whether the same call may fare better another time.
    pub fn may_pass(&self) -> bool {
        !matches!(self.status(), 400 | 401 | 402 | 403 | 404 | 413)
    }
}

/// An error in the provider's shape.
pub fn envelope(kind: &str, message: &str, request_id: &str) -> String {
    detailed_envelope(kind, message, None, request_id)
}

/// An error in the provider's shape, with a finer code for clients that act on it.
pub fn detailed_envelope(kind: &str, message: &str, error_code: Option<&str>, request_id: &str) -> String {
    // Each part is written as JSON by itself, so that they stand in the provider's order.
    let text = |part: &str| serde_json::Value::from(part);
    let details = error_code.map(|code| format!(r#","details":{{"error_code":{}}}"#, text(code))).unwrap_or_default();
    format!(
        r#"{{"type":"error","error":{{"type":{},"message":{}{details}}},"request_id":{}}}"#,
        text(kind),
        text(message),
        text(request_id),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_status() {
        for (kind, status, may_pass) in [
            ("invalid_request_error", 400, false),
            ("billing_error", 402, false),
            ("request_too_large", 413, false),
            ("rate_limit_error", 429, true),
            ("overloaded_error", 529, true),
            ("never_heard_of_error", 500, true),
        ] {
            let error = ErrorType::read(&envelope(kind, "why", "req_1"));
            assert_eq!((error.as_str(), error.status(), error.may_pass()), (kind, status, may_pass));
        }
        assert_eq!(ErrorType::read("<html>").status(), 500);
    }

    #[test]
    fn an_envelope_is_in_the_providers_shape() {
        let written = detailed_envelope("api_error", "say \"why\"", Some("x"), "req_1");
        insta::assert_snapshot!(written, @r#"{"type":"error","error":{"type":"api_error","message":"say \"why\"","details":{"error_code":"x"}},"request_id":"req_1"}"#);
    }
}
