//! Whether the process serves, and whether it can keep its promises.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use crate::http::Rooms;
use crate::http::answer;
use crate::http::error::ApiError;

/// A store that takes longer than this to answer is not ready.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// `GET /healthz`: the process serves.
pub(super) async fn alive() -> Result<Response, ApiError> {
    answer::json(StatusCode::OK, &json!({"status": "ok"}))
}

/// `GET /readyz`: the store answers with its migrations applied, and no worker is stuck.
pub(super) async fn ready(State(rooms): State<Rooms>) -> Result<Response, ApiError> {
    let answers = matches!(tokio::time::timeout(ANSWER_LIMIT, rooms.store.ping()).await, Ok(Ok(())));
    let stuck = rooms.health.stuck();
    let mut wrong = Vec::new();
    if !answers {
        wrong.push("the store does not answer, or its migrations are not applied".to_owned());
    }
    wrong.extend(stuck.iter().map(|worker| format!("the worker {worker} is stuck")));
    let (status, word) =
        if wrong.is_empty() { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    answer::json(status, &json!({"status": word, "wrong": wrong}))
}
