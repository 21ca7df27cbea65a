//! JSON answers of our own.

use axum::body::Body;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::http::error::ApiError;
use crate::telemetry::chain;

/// A JSON answer.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Result<Response, ApiError> {
    match serde_json::to_vec(value) {
        Ok(text) => Ok(raw_json(status, Body::from(text))),
        Err(error) => {
            // A stored answer that is no JSON: the deferral itself is whole, what the provider sent is not.
            tracing::error!(error = %chain(&error), "an answer cannot be shown");
            Err(ApiError::store_unavailable())
        }
    }
}

/// An answer whose body is JSON text already.
pub(super) fn raw_json(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
