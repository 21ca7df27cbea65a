//! `POST /v1/messages`: live, or into the queue.

use std::time::Duration;

use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderValue, Request, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Either};
use hyper::body::Incoming;

use crate::domain::decision::Decision;
use crate::domain::deferral::Deferral;
use crate::http::answer::json;
use crate::http::error::{ApiError, DECISION, REQUEST_ID};
use crate::http::gateway::{Gateway, GatewayBody};
use crate::intake::{Refusal, Route, Terms};

/// A refused body is still read, within these, before it is answered: a client that is cut while it sends may never
/// see the answer.
const DISCARD_MAX: usize = 64_000_000;
const DISCARD_LIMIT: Duration = Duration::from_secs(10);

/// Answers a call.
pub(super) async fn call(gateway: &Gateway, request: Request<Incoming>) -> Response<GatewayBody> {
    let (decision, mut response) = match gateway.rooms.intake.decide(request.headers()) {
        Ok(Route::Live(reason)) => (Decision::Live(reason), gateway.relay(request).await),
        Ok(Route::Defer(terms)) => {
            let door = gateway.clone();
            let (decision, response) = gateway.beside.run(async move { defer(&door, terms, request).await }).await;
            (decision, gateway.beside.carry(response).map(Either::Right))
        }
        Err(refusal) => {
            discard(request.into_body()).await;
            let error = ApiError::from(refusal);
            (error.decision(), error.response().map(Either::Right))
        }
    };
    let (what, why) = decision.words();
    gateway.rooms.metrics.decided(what, why);
    if let Ok(decision) = HeaderValue::from_str(&decision.to_string()) {
        response.headers_mut().insert(DECISION, decision);
    }
    response
}

async fn defer(gateway: &Gateway, terms: Terms, request: Request<Incoming>) -> (Decision, Response) {
    let intake = &gateway.rooms.intake;
    let (head, body) = request.into_parts();
    let admitted = match read(body, intake.max_body()).await {
        Ok(body) => intake.admit(terms, &head.headers, body).await.map_err(ApiError::from),
        Err(error) => Err(error),
    };
    let answered = admitted
        .and_then(|it| ticket(&it.deferral, intake.retry_after_seconds()).map(|answer| (it.deferral.id, answer)));
    match answered {
        Ok((id, response)) => (Decision::Deferred(id), response),
        Err(error) => (error.decision(), error.response()),
    }
}

/// The answer that carries the id.
fn ticket(deferral: &Deferral, retry_after_seconds: u64) -> Result<Response, ApiError> {
    let mut response = json(StatusCode::ACCEPTED, deferral)?;
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, retry_after_seconds.into());
    if let Ok(location) = HeaderValue::from_str(&format!("/deferred/{}", deferral.id)) {
        headers.insert(LOCATION, location);
    }
    if let Ok(id) = HeaderValue::from_str(&deferral.id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    Ok(response)
}

/// The whole body, if it is no longer than `limit` bytes.
pub(super) async fn read<B: Body<Data = Bytes> + Unpin>(mut body: B, limit: u64) -> Result<Bytes, ApiError> {
    if body.size_hint().lower() > limit {
        discard(body).await;
        return Err(Refusal::TooLarge(limit).into());
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::broken_body())?;
        let Ok(data) = frame.into_data() else { continue };
        if (whole.len() + data.len()) as u64 > limit {
            discard(body).await;
            return Err(Refusal::TooLarge(limit).into());
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

async fn discard<B: Body<Data = Bytes> + Unpin>(mut body: B) {
    let all = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > DISCARD_MAX {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_LIMIT, all).await;
}
