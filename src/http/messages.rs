//! `POST /v1/messages`: live, or into the queue.

use std::fmt::Write as _;
use std::time::Duration;

use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request};
use http_body::Body;
use http_body_util::{BodyExt as _, Either};
use hyper::body::Incoming;

use crate::domain::decision::{Decision, LiveReason};
use crate::domain::glance::BodyFacts;
use crate::domain::policy::Standing;
use crate::http::error::{ApiError, DECISION};
use crate::http::gateway::{Answering, Gateway, GatewayBody};
use crate::http::socket::Interim;
use crate::http::{by_rule, held};
use crate::intake::{Refusal, Route, Terms};

/// A refused body is still read, within these, before it is answered: a client that is cut while it sends may never
/// see the answer.
const DISCARD_MAX: usize = 64_000_000;
const DISCARD_LIMIT: Duration = Duration::from_secs(10);

/// More than a decision usually takes to be said.
const DECISION_LENGTH: usize = 128;

/// Answers a call.
pub(super) fn call(gateway: &Gateway, request: Request<Incoming>) -> Answering {
    let gateway = gateway.clone();
    match gateway.rooms().intake.decide(request.headers()) {
        Ok(Route::Live(reason)) => live(gateway, reason, request),
        Ok(Route::Defer(terms)) => defer(gateway, terms, request),
        Ok(Route::Ask(mut asking)) => {
            // A call that no rule means by its head alone is as quick as one without rules.
            match asking.go_on(request.headers(), request.uri().path(), &BodyFacts::default()) {
                Standing::NoRule if asking.budget().is_none() => {
                    asking.nobody();
                    live(gateway, LiveReason::NoRule, request)
                }
                _ => by_rule::call(gateway, asking, request),
            }
        }
        Err(refusal) => Box::pin(async move {
            discard(request.into_body()).await;
            refused(&gateway, refusal.into())
        }),
    }
}

fn live(gateway: Gateway, reason: LiveReason, request: Request<Incoming>) -> Answering {
    Box::pin(async move {
        let tap = gateway.tap(request.headers());
        let answer = gateway.relay(request, tap).await;
        let decision = Decision::Live(None, reason);
        decided(&gateway, &decision);
        showing(answer, &decision)
    })
}

fn defer(gateway: Gateway, terms: Terms, request: Request<Incoming>) -> Answering {
    let (head, body) = request.into_parts();
    let interim = Interim::of(&head);
    // In a box of its own, since admitting takes far more room than waiting, and is soon done.
    let door = gateway.clone();
    let admission = Box::pin(async move {
        // Read here, since a body that is fetched from another thread wakes both for each piece.
        let body = read(body, door.rooms().intake.max_body()).await?;
        let intake = door.rooms().intake.clone();
        let admit = async move { intake.admit(terms, &head.headers, body).await.map_err(ApiError::from) };
        door.beside().run(admit).await
    });
    // The wait is here, where the connection is: interim answers need that.
    Box::pin(async move {
        match admission.await {
            Ok(admitted) => {
                let decision = Decision::Deferred(None, admitted.deferral.id);
                decided(&gateway, &decision);
                let answer = held::answer(gateway.rooms(), admitted, interim).await;
                showing(answer.map(Either::Right), &decision)
            }
            Err(error) => refused(&gateway, error),
        }
    })
}

pub(super) fn refused(gateway: &Gateway, error: ApiError) -> Response<GatewayBody> {
    let decision = error.decision();
    decided(gateway, &decision);
    showing(error.response().map(Either::Right), &decision)
}

/// Counts a decision.
pub(super) fn decided(gateway: &Gateway, decision: &Decision) {
    let (what, why) = decision.words();
    gateway.rooms().metrics.decided(what, why);
}

/// Lets an answer show what was decided.
pub(super) fn showing(mut answer: Response<GatewayBody>, decision: &Decision) -> Response<GatewayBody> {
    let mut text = String::with_capacity(DECISION_LENGTH);
    // Nothing can go wrong with a string.
    let _ = write!(text, "{decision}");
    if let Ok(decision) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
        answer.headers_mut().insert(DECISION, decision);
    }
    answer
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

/// Reads what is left of a body that nobody wants.
pub(super) async fn discard<B: Body<Data = Bytes> + Unpin>(mut body: B) {
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
