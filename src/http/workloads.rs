//! Workloads, which only the operator sees: what calls, what it takes, and what the inventory thinks of it.

use std::collections::HashMap;

use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use serde_json::{Value, json};

use crate::domain::money::NanoUsd;
use crate::domain::tally::Tally;
use crate::domain::workload::{WorkloadId, WorkloadKind};
use crate::http::Rooms;
use crate::http::admin::caching_off;
use crate::http::answer::json as answer;
use crate::http::deferrals::unavailable;
use crate::http::error::ApiError;
use crate::http::query::WorkloadsQuery;
use crate::inventory::suggest;
use crate::store::{CachingOff, StoredWorkload, WorkloadFilter, WorkloadSum};

/// Workloads that rules are suggested for: each is looked at once more, which takes some ten milliseconds.
const SUGGESTED_MAX: usize = 100;

/// `GET /api/workloads`
pub(super) async fn list(State(rooms): State<Rooms>, uri: Uri) -> Result<Response, ApiError> {
    let WorkloadsQuery { since, tenant, after, limit, suggest: with_rules } = WorkloadsQuery::read(&uri)?;
    let since = rooms.clock.now().minus(since);
    let filter = WorkloadFilter { tenant, since, after };
    let mut found = rooms.store.workloads(&filter, limit + 1).await.map_err(unavailable)?;
    let has_more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let ids: Vec<WorkloadId> = found.iter().map(|workload| workload.id).collect();
    // Sums are by the hour; the one that began before counts whole.
    let sums = rooms.store.workload_sums(&ids, since.hour()).await.map_err(unavailable)?;
    let mut by_workload: HashMap<WorkloadId, Vec<WorkloadSum>> = HashMap::new();
    for sum in sums {
        by_workload.entry(sum.workload).or_default().push(sum);
    }
    let off = rooms.store.caching_off(rooms.clock.now()).await.map_err(unavailable)?;
    let none = Vec::new();
    let parts = |workload: &StoredWorkload| by_workload.get(&workload.id).unwrap_or(&none);
    let data: Vec<Value> =
        found.iter().map(|workload| view(workload, parts(workload), without_caching(workload, &off))).collect();
    let id = |id: Option<&WorkloadId>| id.map(ToString::to_string);
    let (first_id, last_id) = (id(ids.first()), id(ids.last()));
    let rules = if with_rules { Some(rules(&rooms, &found).await?) } else { None };
    let page = json!({
        "since": since,
        "data": data,
        "has_more": has_more,
        "first_id": first_id,
        "last_id": last_id,
        "rules": rules,
    });
    answer(StatusCode::OK, &page)
}

/// Rules for those workloads that may wait, as far as is known.
async fn rules(rooms: &Rooms, found: &[StoredWorkload]) -> Result<String, ApiError> {
    let may_wait = |workload: &&StoredWorkload| {
        let thought = assessment(workload);
        thought.is_some_and(|thought| thought["verdict"] != "keep_live")
    };
    let some: Vec<&StoredWorkload> = found.iter().filter(may_wait).take(SUGGESTED_MAX).collect();
    Ok(suggest(&rooms.assessor.assess(&some).await.map_err(unavailable)?))
}

/// What was thought of a workload, as it was written: JSON of our own.
fn assessment(workload: &StoredWorkload) -> Option<Value> {
    workload.assessment.as_deref().and_then(|text| serde_json::from_str(text).ok())
}

/// That it goes without caching for the time being, if so; calls that nobody has named are one in that.
fn without_caching<'a>(workload: &StoredWorkload, off: &'a [CachingOff]) -> Option<&'a CachingOff> {
    let name = (workload.kind == WorkloadKind::Named).then_some(workload.name.as_str());
    off.iter().find(|off| off.is_for(&workload.tenant, name))
}

fn view(workload: &StoredWorkload, parts: &[WorkloadSum], off: Option<&CachingOff>) -> Value {
    let mut all = Tally::default();
    parts.iter().for_each(|part| all.plus(&part.sum));
    let calls_by = |name: fn(&WorkloadSum) -> &str| {
        let mut calls: Vec<(&str, i64)> = Vec::new();
        for part in parts.iter().filter(|part| !name(part).is_empty()) {
            match calls.iter().position(|(known, _)| *known == name(part)) {
                Some(place) => calls[place].1 += part.sum.calls,
                None => calls.push((name(part), part.sum.calls)),
            }
        }
        calls.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
        Value::Object(calls.into_iter().map(|(name, calls)| (name.to_owned(), calls.into())).collect())
    };
    let is_named = workload.kind == WorkloadKind::Named;
    json!({
        "type": "workload",
        "id": workload.id.to_string(),
        "workload": workload.name,
        "name": is_named.then_some(&workload.name),
        "kind": workload.kind.as_str(),
        "tenant": workload.tenant,
        "preview": workload.preview,
        "first_seen": workload.first_seen,
        "last_seen": workload.last_seen,
        "calls": all.calls,
        "failed": all.calls - all.succeeded,
        "hung_up": all.hung_up,
        "retried": all.retried,
        "streamed": all.streamed,
        "tool_turns": all.tool_turns,
        "unread": all.unread,
        "unpriced": all.unpriced,
        "ways": calls_by(|part| part.way.as_str()),
        "models": calls_by(|part| &part.model),
        "blocked_by": calls_by(|part| &part.blocked_by),
        "tokens": {
            "input": all.input_tokens,
            "output": all.output_tokens,
            "cache_write_5m": all.cache_write_5m_tokens,
            "cache_write_1h": all.cache_write_1h_tokens,
            "cache_read": all.cache_read_tokens,
        },
        "bytes": {"request": all.request_bytes, "answer": all.answer_bytes},
        "cost": {"currency": "USD", "paid": NanoUsd(all.paid_nanousd), "live_price": NanoUsd(all.live_nanousd)},
        "caching_off": off.map(caching_off),
        "score": workload.score,
        "assessment": assessment(workload),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn workloads_that_nobody_has_named_go_without_caching_together() {
        let at = Timestamp::from_millis(1);
        let off = |tenant: &str, workload: Option<&str>| CachingOff {
            tenant: tenant.into(),
            workload: workload.map(str::to_owned),
            since: at,
            until: at,
            calls: 20,
            lost: NanoUsd(1),
        };
        let all = [off("t", Some("named")), off("t", None)];
        let found = |tenant: &str, name: &str, kind| {
            let workload = StoredWorkload {
                id: WorkloadId(1),
                tenant: tenant.into(),
                name: name.into(),
                kind,
                preview: None,
                first_seen: at,
                last_seen: at,
                assessment: None,
                score: None,
            };
            without_caching(&workload, &all).cloned()
        };
        assert_eq!(found("t", "named", WorkloadKind::Named), Some(all[0].clone()));
        assert_eq!(found("t", "other", WorkloadKind::Named), None);
        assert_eq!(found("u", "named", WorkloadKind::Named), None);
        assert_eq!(found("t", "wkl_0000000000000001", WorkloadKind::Alike), Some(all[1].clone()));
        assert_eq!(found("u", "wkl_0000000000000001", WorkloadKind::Alike), None);
    }
}
