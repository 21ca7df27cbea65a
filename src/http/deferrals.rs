//! Deferrals: one, its result, a page of them, and the wish to cancel one.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{StatusCode, Uri};
use serde::Serialize;

use crate::domain::deferral::{Answer, Deferral};
use crate::domain::id::DeferralId;
use crate::hold::Waited;
use crate::http::Rooms;
use crate::http::answer::{json, result};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::query::{self, PageQuery};
use crate::store::{Page, Scope, StoreError};
use crate::telemetry::chain;

/// `GET /deferred/{id}`
pub(super) async fn show(
    State(rooms): State<Rooms>,
    Caller(scope): Caller,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let with_history = query::history(&uri)?;
    let mut deferral = find(&rooms, &scope, &id).await?;
    if with_history {
        deferral.history = Some(rooms.store.history(&deferral).await.map_err(unavailable)?);
    }
    json(StatusCode::OK, &deferral)
}

/// `GET /deferred/{id}/message`
pub(super) async fn message(
    State(rooms): State<Rooms>,
    Caller(scope): Caller,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let wait = Duration::from_secs(query::wait_seconds(&uri)?);
    let deferral = await_final(&rooms, &scope, &id, wait).await?;
    let Some(answer) = deferral.answer else {
        let mut response = json(StatusCode::ACCEPTED, &deferral)?;
        response.headers_mut().insert(RETRY_AFTER, rooms.intake.retry_after_seconds().into());
        return Ok(response);
    };
    Ok(result(deferral.id, answer.status, Body::from(answer.body)))
}

/// `GET /deferred`
pub(super) async fn list(State(rooms): State<Rooms>, Caller(scope): Caller, uri: Uri) -> Result<Response, ApiError> {
    page(&rooms, &scope, &uri).await
}

/// `POST /deferred/{id}/cancel`
pub(super) async fn cancel(
    State(rooms): State<Rooms>,
    Caller(scope): Caller,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let id = DeferralId::parse(&id).ok_or_else(ApiError::not_found)?;
    let canceled =
        rooms.store.cancel(id, &scope, &Answer::canceled(id), rooms.clock.now()).await.map_err(unavailable)?;
    let deferral = canceled.ok_or_else(ApiError::not_found)?;
    if deferral.state.is_final() {
        rooms.settled.wake();
    }
    json(StatusCode::OK, &deferral)
}

/// `POST /deferred/{id}/promote`
pub(super) async fn promote(
    State(rooms): State<Rooms>,
    Caller(scope): Caller,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let id = DeferralId::parse(&id).ok_or_else(ApiError::not_found)?;
    let promoted = rooms.rescue.promote(id, &scope).await.map_err(unavailable)?;
    json(StatusCode::OK, &promoted.ok_or_else(ApiError::not_found)?)
}

/// A page of the deferrals that the asker may see.
pub(super) async fn page(rooms: &Rooms, scope: &Scope, uri: &Uri) -> Result<Response, ApiError> {
    let asked = PageQuery::read(uri)?;
    let found = rooms.store.page(scope, &asked.filter, asked.cursor, asked.limit).await.map_err(unavailable)?;
    json(StatusCode::OK, &PageView::from(&found))
}

async fn find(rooms: &Rooms, scope: &Scope, id: &str) -> Result<Deferral, ApiError> {
    let id = DeferralId::parse(id).ok_or_else(ApiError::not_found)?;
    rooms.store.deferral(id, scope).await.map_err(unavailable)?.ok_or_else(ApiError::not_found)
}

/// The deferral, as soon as it is final, or as it is when the wait is over.
async fn await_final(rooms: &Rooms, scope: &Scope, id: &str, wait: Duration) -> Result<Deferral, ApiError> {
    let deferral = find(rooms, scope, id).await?;
    if wait.is_zero() {
        return Ok(deferral);
    }
    match rooms.hold.wait(deferral, wait).await {
        Waited::Final(later) | Waited::TimeOver(later) | Waited::Ending(later) => Ok(later),
        Waited::Gone => Err(ApiError::not_found()),
    }
}

pub(super) fn unavailable(error: StoreError) -> ApiError {
    tracing::error!(error = %chain(&error), "a question to the store failed");
    ApiError::store_unavailable()
}

#[derive(Serialize)]
struct PageView<'a> {
    data: &'a [Deferral],
    has_more: bool,
    first_id: Option<DeferralId>,
    last_id: Option<DeferralId>,
}

impl<'a> From<&'a Page> for PageView<'a> {
    fn from(page: &'a Page) -> Self {
        let id = |deferral: &Deferral| deferral.id;
        Self {
            data: &page.deferrals,
            has_more: page.has_more,
            first_id: page.deferrals.first().map(id),
            last_id: page.deferrals.last().map(id),
        }
    }
}
