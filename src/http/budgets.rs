//! Budgets as they are told: to a caller beyond one, and to the operator.

use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use serde_json::{Value, json};

use crate::domain::budget::{Per, Spent};
use crate::http::answer::json as answer;
use crate::http::error::ApiError;
use crate::http::{Rooms, query};

/// What a caller is told whose call goes beyond a budget.
pub(super) fn said(Spent { budget, until, .. }: &Spent) -> String {
    let limit = budget.limit.to_string();
    // Two decimals at least, as amounts are written.
    let limit = if limit.ends_with(".0") { format!("{limit}0") } else { limit };
    let (name, per) = (&budget.name, budget.per.as_str());
    let last = match budget.per {
        Per::Day => "today",
        Per::Month => "this month",
    };
    format!("the budget \"{name}\" of ${limit} a {per} is spent: no more calls {last}, and again from {until} (UTC) on")
}

/// `GET /api/budgets`
pub(super) async fn list(State(rooms): State<Rooms>, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let now = rooms.clock.now();
    let view = |one: &Spent| -> Value {
        let budget = &one.budget;
        let is_known = now < one.until.start();
        json!({
            "name": budget.name,
            "tenant": budget.tenant,
            "workload": budget.workload,
            "per": budget.per.as_str(),
            "action": budget.action.as_str(),
            "limit": budget.limit,
            "spent": is_known.then_some(one.spent),
            "exceeded": one.is_exceeded(now),
            "until": is_known.then_some(one.until),
        })
    };
    let data: Vec<Value> = rooms.budgets.all().iter().map(view).collect();
    answer(StatusCode::OK, &json!({"data": data}))
}
