//! `POST /v1/messages`: live, or into the queue.

use std::time::Duration;

use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderValue, Request};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Either};
use hyper::body::Incoming;

use crate::domain::decision::Decision;
use crate::http::error::{ApiError, DECISION};
use crate::http::gateway::{Gateway, GatewayBody};
use crate::http::held;
use crate::http::socket::Interim;
use crate::intake::{Admitted, Intake, Refusal, Route, Terms};

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
    let (head, body) = request.into_parts();
    let interim = Interim::of(&head);
    // Boxed, because admitting takes far more room than waiting, and is soon done.
    match Box::pin(admit(&gateway.rooms.intake, terms, head, body)).await {
        Ok(admitted) => {
            let decision = Decision::Deferred(admitted.deferral.id);
            (decision, held::answer(&gateway.rooms, admitted, interim).await)
        }
        Err(error) => (error.decision(), error.response()),
    }
}

async fn admit(intake: &Intake, terms: Terms, head: Parts, body: Incoming) -> Result<Admitted, ApiError> {
    let body = read(body, intake.max_body()).await?;
    intake.admit(terms, &head.headers, body).await.map_err(ApiError::from)
}

/// The whole body, if it is no longer than `limit` bytes.
async fn read(mut body: Incoming, limit: u64) -> Result<Bytes, ApiError> {
    if body.size_hint().lower() > limit {
        discard(body).await;
        return Err(Refusal::TooLarge(limit).into());
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::from(&crate::live::Error::Upload(error.into())))?;
        let Ok(data) = frame.into_data() else { continue };
        if (whole.len() + data.len()) as u64 > limit {
            discard(body).await;
            return Err(Refusal::TooLarge(limit).into());
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

async fn discard(mut body: Incoming) {
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
