//! Deliveries, which only the operator sees: a page of them, one, and the wish to have one tried once more.

use axum::extract::{Path, State};
use axum::response::Response;
use http::{StatusCode, Uri};
use serde_json::json;

use crate::domain::delivery::Delivery;
use crate::domain::id::DeliveryId;
use crate::http::Rooms;
use crate::http::answer::json as answer;
use crate::http::deferrals::unavailable;
use crate::http::error::ApiError;
use crate::http::query::{self, DeliveriesQuery};

/// `GET /api/deliveries`
pub(super) async fn list(State(rooms): State<Rooms>, uri: Uri) -> Result<Response, ApiError> {
    let DeliveriesQuery { filter, limit } = DeliveriesQuery::read(&uri)?;
    let mut found = rooms.store.deliveries(&filter, limit + 1).await.map_err(unavailable)?;
    let has_more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let id = |delivery: &Delivery| delivery.id;
    let (first_id, last_id) = (found.first().map(id), found.last().map(id));
    let page = json!({"data": found, "has_more": has_more, "first_id": first_id, "last_id": last_id});
    answer(StatusCode::OK, &page)
}

/// `GET /api/deliveries/{id}`
pub(super) async fn show(State(rooms): State<Rooms>, Path(id): Path<String>, uri: Uri) -> Result<Response, ApiError> {
    let with_history = query::history(&uri)?;
    let id = read(&id)?;
    let found = rooms.store.delivery(id).await.map_err(unavailable)?;
    let mut delivery = found.ok_or_else(ApiError::no_such_delivery)?;
    if with_history {
        delivery.history = Some(rooms.store.delivery_history(id).await.map_err(unavailable)?);
    }
    answer(StatusCode::OK, &delivery)
}

/// `POST /api/deliveries/{id}/replay`
pub(super) async fn replay(State(rooms): State<Rooms>, Path(id): Path<String>, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let replayed = rooms.store.replay_delivery(read(&id)?, rooms.clock.now()).await.map_err(unavailable)?;
    let delivery = replayed.ok_or_else(ApiError::no_such_delivery)?;
    rooms.settled.deliver.wake();
    answer(StatusCode::OK, &delivery)
}

fn read(id: &str) -> Result<DeliveryId, ApiError> {
    DeliveryId::parse(id).ok_or_else(ApiError::no_such_delivery)
}
