//! Budgets: calls beyond one are deferred or refused, and the operator sees what was spent of each.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};

use crate::domain::budget::{Action, Per, Spent};
use crate::http::answer::json as answer;
use crate::http::error::ApiError;
use crate::http::{Rooms, query};

/// The header that names a call's workload.
const WORKLOAD: &str = "x-defer-workload";

/// What a budget that is spent does to a call.
pub(super) enum Beyond {
    /// It is deferred, by this name, if it may be.
    Defer(String),
    /// It is refused.
    Refuse(ApiError),
}

/// What becomes of a call with these headers that goes beyond a budget; none if it goes beyond none.
pub(super) fn beyond(rooms: &Rooms, headers: &HeaderMap) -> Option<Beyond> {
    let now = rooms.clock.now();
    let tenant = || rooms.intake.caller(headers).map(|caller| caller.tenant).unwrap_or_default();
    let workload = headers.get(WORKLOAD).and_then(|value| value.to_str().ok());
    let spent = rooms.budgets.exceeded(now, tenant, workload)?;
    match spent.budget.action {
        Action::Warn => None,
        Action::Defer => Some(Beyond::Defer(format!("budget {}", spent.budget.name))),
        Action::Refuse => {
            let seconds = spent.until.start().since(now).as_secs().max(1);
            Some(Beyond::Refuse(ApiError::budget_exceeded(said(&spent), seconds)))
        }
    }
}

fn said(Spent { budget, until, .. }: &Spent) -> String {
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
