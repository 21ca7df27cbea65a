//! The operator's door: who may pass, and what can be asked.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde_json::json;

use crate::domain::batch::Batch;
use crate::domain::delivery::DeliveryState;
use crate::domain::policy::Rule;
use crate::http::answer::json as answer;
use crate::http::deferrals::{page, unavailable};
use crate::http::error::ApiError;
use crate::http::{AdminSettings, Rooms, query};
use crate::intake::Tally;
use crate::metrics::{self, Measured, MeasuredRule};
use crate::secret::Secret;
use crate::store::{CachingOff, QueueDepth, Scope, StoreError};

/// Marks a request that has passed the guard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator;

/// Who may pass: the bearer of the token; without a token, this machine.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    token: Option<Arc<Secret>>,
}

impl Guard {
    pub(super) fn new(settings: &AdminSettings) -> Self {
        Self { token: settings.token.clone().map(Arc::new) }
    }
}

/// Lets an operator pass.
pub(super) async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Result<Response, ApiError> {
    match &guard.token {
        Some(token) if bears(request.headers(), token) => {}
        Some(_) => return Err(ApiError::unauthorized()),
        // A page of another site, or a name that was made to point here, must not speak for the operator.
        None if is_from_here(request.headers(), request.uri()) => {}
        None => return Err(ApiError::foreign_site()),
    }
    request.extensions_mut().insert(Operator);
    Ok(next.run(request).await)
}

/// Whether the request bears this token.
pub(super) fn bears(headers: &HeaderMap, token: &Secret) -> bool {
    let presented =
        headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|text| text.split_once(' '));
    presented
        .is_some_and(|(scheme, text)| scheme.eq_ignore_ascii_case("bearer") && token.matches(text.trim().as_bytes()))
}

fn is_from_here(headers: &HeaderMap, uri: &Uri) -> bool {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).or(uri.authority().map(Authority::as_str));
    let host_is_here = host.is_some_and(is_loopback);
    let origin_is_here = headers.get(ORIGIN).is_none_or(|origin| {
        let authority = origin.to_str().ok().and_then(|text| text.split_once("://"));
        authority.is_some_and(|(_, origin)| Some(origin) == host)
    });
    host_is_here && origin_is_here
}

fn is_loopback(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `GET /api/status`
pub(super) async fn status(State(rooms): State<Rooms>, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let depth = rooms.store.queue_depth().await.map_err(unavailable)?;
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now": rooms.clock.now(),
        "queued": depth.0.values().sum::<u64>(),
        "queued_by_tenant": depth.0,
        "paused": rooms.store.paused_lanes(rooms.clock.now()).await.map_err(unavailable)?,
        "workers": rooms.health.reports(),
    });
    answer(StatusCode::OK, &body)
}

/// `GET /api/deferrals`
pub(super) async fn deferrals(State(rooms): State<Rooms>, uri: Uri) -> Result<Response, ApiError> {
    page(&rooms, &Scope::All, &uri).await
}

/// `GET /api/batches`
pub(super) async fn batches(State(rooms): State<Rooms>, uri: Uri) -> Result<Response, ApiError> {
    let batches = rooms.store.batches(query::limit(&uri)?).await.map_err(unavailable)?;
    let data: Vec<_> = batches.iter().map(view).collect();
    let off = rooms.store.caching_off(rooms.clock.now()).await.map_err(unavailable)?;
    let off: Vec<_> = off.iter().map(caching_off).collect();
    answer(StatusCode::OK, &json!({"data": data, "caching_off": off}))
}

/// `POST /api/flush`
pub(super) async fn flush(State(rooms): State<Rooms>, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let depth = rooms.store.queue_depth().await.map_err(unavailable)?;
    rooms.store.mark_flush(rooms.clock.now()).await.map_err(unavailable)?;
    rooms.flush.wake();
    answer(StatusCode::ACCEPTED, &json!({"type": "flush", "queued": depth.0.values().sum::<u64>()}))
}

/// `GET /metrics`
pub(super) async fn metrics(State(rooms): State<Rooms>) -> Response {
    let measured = measure(&rooms).await;
    let mut response = Response::new(rooms.metrics.text(&measured).into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    response
}

/// What there is to measure; without the store, what can be told without it.
async fn measure(rooms: &Rooms) -> Measured {
    let now = rooms.clock.now();
    let reports = rooms.health.reports().into_iter();
    let workers = reports.map(|(name, report)| (name, now.since(report.last_success), report.failures)).collect();
    let policy = rooms.intake.policy();
    let (rules, settings_faulty) = (policy.rules(), policy.refused().is_some());
    let told = Measured {
        rules: rules.each().map(|(rule, tally)| measured(rule, tally)).collect(),
        cut_short: rules.cut_short(),
        settings_faulty,
        workers,
        ..Measured::default()
    };
    let stored = async {
        let QueueDepth(depth) = rooms.store.queue_depth().await?;
        let oldest = rooms.store.oldest_queued().await?;
        let batches = rooms.store.batches_under_way().await?;
        let paused = rooms.store.paused_lanes(now).await?;
        let deliveries = rooms.store.delivery_counts().await?;
        let caching_off = rooms.store.caching_off(now).await?.len();
        Ok::<_, StoreError>((depth, oldest, batches, paused, deliveries, caching_off))
    };
    match stored.await {
        Ok((depth, oldest, batches, paused, (due, dead), caching_off)) => Measured {
            queued: Some(depth.values().sum()),
            oldest_queued: oldest.map(|oldest| now.since(oldest)),
            batches: batches.into_iter().map(|(state, count)| (state.as_str(), count)).collect(),
            paused_lanes: paused.len() as u64,
            caching_off: caching_off as u64,
            deliveries: vec![(DeliveryState::Due.as_str(), due), (DeliveryState::Dead.as_str(), dead)],
            ..told
        },
        Err(_) => told,
    }
}

/// A workload that goes without caching for the time being, and why.
pub(super) fn caching_off(off: &CachingOff) -> serde_json::Value {
    let reason = format!("over {} calls, caching cost more than it spared", off.calls);
    json!({
        "tenant": off.tenant,
        "workload": off.workload,
        "since": off.since,
        "until": off.until,
        "calls": off.calls,
        "lost": off.lost,
        "reason": reason,
    })
}

fn measured(rule: &Rule, tally: &Tally) -> MeasuredRule {
    let decided = tally.done().decided.into_iter().collect();
    MeasuredRule { name: rule.name.to_string(), matched: tally.matched(), failed: tally.failed(), decided }
}

fn view(batch: &Batch) -> serde_json::Value {
    json!({
        "type": "batch",
        "id": batch.id,
        "provider_id": batch.provider_id,
        "tenant": batch.tenant,
        "status": batch.state.as_str(),
        "items": batch.item_count,
        "bytes": batch.item_bytes,
        "built_at": batch.built_at,
        "submitted_at": batch.submitted_at,
        "ended_at": batch.ended_at,
        "ingested_at": batch.ingested_at,
        "cache": {
            "read_tokens": batch.cache.read_tokens,
            "write_tokens": batch.cache.write_tokens,
            "gained": batch.cache.gain,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        is_from_here(&headers, &Uri::from_static("/api/status"))
    }

    #[test]
    fn without_a_token_only_this_machine_passes() {
        for host in ["localhost", "localhost:8101", "127.0.0.1:8101", "[::1]:8101", "127.9.9.9"] {
            assert!(passes(host, None), "{host}");
        }
        for host in ["evil.example", "10.0.0.1:8101", "127.0.0.1.evil.example", "localhost.evil.example", ""] {
            assert!(!passes(host, None), "{host}");
        }
    }

    #[test]
    fn no_other_sites_page_passes() {
        assert!(passes("localhost:8101", Some("http://localhost:8101")));
        assert!(!passes("localhost:8101", Some("http://evil.example")));
        assert!(!passes("localhost:8101", Some("http://localhost:3000")));
        assert!(!passes("localhost:8101", Some("null")));
    }
}
