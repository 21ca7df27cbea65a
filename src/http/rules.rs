//! `GET /api/rules`: the policy in force, and what each rule has done in this process.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use serde_json::{Value, json};

use crate::domain::policy::Rule;
use crate::domain::units::format_duration;
use crate::http::answer::json as answer;
use crate::http::error::ApiError;
use crate::http::{Rooms, query};
use crate::intake::{Done, Tally};

/// `GET /api/rules`
pub(super) async fn list(State(rooms): State<Rooms>, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let policy = rooms.intake.policy();
    let rules = policy.rules();
    let data: Vec<Value> = rules.each().map(|(rule, tally)| view(rule, tally)).collect();
    let fault = policy.refused().map(|refused| json!({"at": refused.at, "faults": refused.faults}));
    answer(StatusCode::OK, &json!({"data": data, "cut_short": rules.cut_short(), "fault": fault}))
}

fn view(rule: &Rule, tally: &Tally) -> Value {
    let Done { decided, blocked, last_error } = tally.done();
    let mut by_decision: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for ((decision, reason), count) in decided {
        by_decision.entry(decision).or_default().insert(reason, count);
    }
    json!({
        "type": "rule",
        "name": &*rule.name,
        "when": rule.when.text(),
        "action": rule.action.as_str(),
        "rollout": rule.rollout,
        "deadline": rule.deadline.map(format_duration),
        "reply": rule.reply.as_str(),
        "workload": rule.workload,
        "callback": rule.callback.as_deref().map(place),
        "cache": rule.cache.as_str(),
        "needs_body": rule.needs_body(),
        "matched": tally.matched(),
        "decided": by_decision,
        "blocked": blocked,
        "errors": tally.failed(),
        "last_error": last_error,
    })
}

/// Where a callback goes, without what its URL may hold of secrets.
fn place(callback: &str) -> String {
    match url::Url::parse(callback) {
        Ok(url) if callback.contains("://") => url.origin().ascii_serialization(),
        _ => callback.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_shows_its_place_and_no_token() {
        assert_eq!(place("warehouse"), "warehouse");
        assert_eq!(place("https://hooks.example:8443/a?token=secret"), "https://hooks.example:8443");
    }
}
