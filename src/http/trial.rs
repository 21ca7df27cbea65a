//! `POST /api/rules/try`: what rules would have done with the calls that were recorded.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::domain::money::NanoUsd;
use crate::domain::policy::{self, Action, Cache, Condition, Reply, Rule};
use crate::domain::units::parse_duration;
use crate::http::answer::json as answer;
use crate::http::deferrals::unavailable;
use crate::http::error::ApiError;
use crate::http::{Rooms, query};
use crate::inventory::{Limits, Times, Trial, Tried};
use crate::store::{RecordCursor, StoreError, WorkloadFilter};

/// How far back it is looked unless somebody says.
const SINCE_DEFAULT: Duration = Duration::from_hours(7 * 24);

/// Records are taken up so many at a time, and not more than so many: a minute's work, within which whoever asks waits.
const PAGE: u32 = 1_000;
const RECORDS_MAX: u64 = 1_000_000;

/// Rules that are tried at a time.
const RULES_MAX: usize = 100;

/// Workloads whose prompts' beginnings are looked up: those with the best scores, if there are more.
const WORKLOADS_MAX: u32 = 10_000;

/// What is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    rules: Vec<Asked>,
}

/// A rule as far as it matters for what it would have done.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    name: String,
    when: String,
    #[serde(default)]
    rollout: Option<u8>,
    #[serde(default)]
    deadline: Option<String>,
}

/// `POST /api/rules/try`
pub(super) async fn run(State(rooms): State<Rooms>, uri: Uri, body: Bytes) -> Result<Response, ApiError> {
    let until = rooms.clock.now();
    let since = until.minus(query::since(&uri)?.unwrap_or(SINCE_DEFAULT));
    let question: Question = serde_json::from_slice(&body)
        .map_err(|error| ApiError::invalid_body(format!("expected {{\"rules\": […]}}: {error}")))?;
    if !(1..=RULES_MAX).contains(&question.rules.len()) {
        return Err(ApiError::invalid_body(format!("expected 1 to {RULES_MAX} rules")));
    }
    let rules = question.rules.into_iter().map(rule).collect::<Result<_, _>>()?;
    let mut trial = Trial::new(rules, limits(&rooms));
    let reached = see_all(&rooms, &mut trial, since).await.map_err(unavailable)?;
    let data: Vec<Value> = trial.tried().map(|(rule, tried)| view(rule, tried)).collect();
    let body = json!({
        "data": data, "calls": trial.calls, "since": since, "until": reached.unwrap_or(until),
        "complete": reached.is_none(),
    });
    answer(StatusCode::OK, &body)
}

/// Shows all records to the trial; tells where it had to stop, if there are too many.
async fn see_all(rooms: &Rooms, trial: &mut Trial, since: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let filter = WorkloadFilter { since: since.minus(Duration::from_hours(1)), ..WorkloadFilter::default() };
    let known = rooms.store.workloads(&filter, WORKLOADS_MAX).await?.into_iter();
    let previews: HashMap<(String, String), String> =
        known.filter_map(|one| Some(((one.tenant, one.name), one.preview?))).collect();
    let mut cursor = RecordCursor::before(since);
    loop {
        let page = rooms.store.records(None, cursor, PAGE).await?;
        for record in &page.records {
            let key = (record.tenant.clone(), record.workload.clone());
            trial.see(record, previews.get(&key).map(String::as_str));
        }
        match page.next {
            None => return Ok(None),
            Some(_) if trial.calls >= RECORDS_MAX => return Ok(page.records.last().map(|record| record.at)),
            Some(next) => cursor = next,
        }
    }
}

fn limits(rooms: &Rooms) -> Limits {
    let (default_deadline, min_deadline) = rooms.intake.deadlines();
    Limits { default_deadline, min_deadline, max_body: rooms.intake.max_body() }
}

fn rule(asked: Asked) -> Result<Rule, ApiError> {
    let Asked { name, when, rollout, deadline } = asked;
    if !policy::is_name(&name) {
        return Err(ApiError::invalid_body(format!("name: expected {}", policy::NAME_FORM)));
    }
    let when = Condition::compile(&when).map_err(|mistakes| {
        let told: Vec<_> = mistakes.iter().map(|it| format!("{} (character {})", it.problem, it.at + 1)).collect();
        ApiError::invalid_body(format!("when: {}", told.join("; ")))
    })?;
    let deadline = deadline.map(|text| parse_duration(&text).ok_or("deadline: expected a duration such as \"12h\""));
    let deadline = deadline.transpose().map_err(ApiError::invalid_body)?;
    let rollout = rollout.unwrap_or(100).min(100);
    let (action, reply, cache) = (Action::Defer, Reply::Hold, Cache::Off);
    Ok(Rule { name: name.into(), when, action, rollout, deadline, reply, workload: None, callback: None, cache })
}

fn view(rule: &Rule, tried: &Tried) -> Value {
    json!({
        "rule": &*tried.rule,
        "matched": tried.matched,
        "unknown": tried.unknown,
        "failed": tried.failed,
        "eligible": tried.eligible,
        "ineligible": tried.ineligible,
        "deferred_already": tried.deferred_already,
        "rollout": rule.rollout,
        "live_price": tried.live_cost,
        "saving": tried.saving,
        "saving_at_rollout": NanoUsd(tried.saving.0 / 100 * i64::from(rule.rollout)),
        "unpriced": tried.unpriced,
        "tool_turns": tried.tool_turns,
        "streams": tried.streams,
        "hung_up": tried.hung_up,
        "live_ms": times(&tried.live_time),
        "batch_ms": times(&tried.batch_time),
    })
}

fn times(times: &Times) -> Value {
    json!({"p50": times.percentile(50), "p90": times.percentile(90), "p99": times.percentile(99)})
}
