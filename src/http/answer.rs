//! JSON answers: our own, and the results of deferrals.

use axum::body::Body;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::domain::id::DeferralId;
use crate::http::error::{ApiError, REQUEST_ID, mark_retry};
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

/// The answer with a deferral's result, as the live API would have given it.
pub(super) fn result(id: DeferralId, status: u16, body: Body) -> Response {
    let mut response = raw_json(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body);
    name_request(&mut response, id);
    mark_retry(&mut response);
    response
}

/// Gives an answer the deferral's id as the name of its request.
pub(super) fn name_request(response: &mut Response, id: DeferralId) {
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
}
