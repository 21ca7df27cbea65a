//! The doors that callers and operators come in by: every route on one screen.

mod admin;
mod answer;
mod beside;
mod budgets;
mod by_rule;
mod caller;
mod calls;
mod cursor;
mod deferrals;
mod deliveries;
mod error;
mod feed;
mod gateway;
mod groups;
mod health;
mod held;
pub mod listen;
mod messages;
mod peek;
mod protocols;
mod query;
mod rules;
mod savings;
mod settings;
mod socket;
pub mod threads;
mod trial;
mod workloads;

use axum::Router;
use axum::routing::{get, post};

use crate::clock::Clock;
use crate::domain::budget::Budgets;
use crate::health::Health;
use crate::hold::Hold;
use crate::intake::Intake;
use crate::inventory::{Assessor, Recorder};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::nudge::{Nudge, Settled};
use crate::rescue::Rescue;
use crate::savings::Savings;
use crate::secret::Secret;
use crate::store::Store;

pub use gateway::Gateway;
pub use settings::{AdminSettings, GatewaySettings, one_thread_per_core};

/// What the doors lead to. Clones share it.
#[derive(Clone)]
pub struct Rooms {
    /// The way to the upstream.
    pub live: Live,
    /// Decides, and admits.
    pub intake: Intake,
    /// What is durable.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Wakes whoever waits for a result.
    pub hold: Hold,
    /// Wakes whoever acts on what has become final.
    pub settled: Settled,
    /// Wakes whoever builds batches.
    pub flush: Nudge,
    /// Sends live what is promoted.
    pub rescue: Rescue,
    /// Watches live calls for the inventory.
    pub recorder: Recorder,
    /// Thinks about what was recorded.
    pub assessor: Assessor,
    /// How much may be spent.
    pub budgets: Budgets,
    /// Reports on what was saved.
    pub savings: Savings,
    /// What the workers say of themselves.
    pub health: Health,
    /// What is counted.
    pub metrics: Metrics,
    /// The operator's token, if there is one.
    pub admin_token: Option<Secret>,
}

/// What the gateway answers itself; every other path is relayed.
fn own_routes(rooms: Rooms) -> Router {
    Router::new()
        .route("/deferred", get(deferrals::list))
        .route("/deferred/results", get(feed::follow))
        .route("/deferred/groups/{group}", get(groups::show))
        .route("/deferred/groups/{group}/close", post(groups::close))
        .route("/deferred/{id}", get(deferrals::show))
        .route("/deferred/{id}/message", get(deferrals::message))
        .route("/deferred/{id}/cancel", post(deferrals::cancel))
        .route("/deferred/{id}/promote", post(deferrals::promote))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .with_state(rooms)
}

/// What operators ask on a listener of their own.
pub fn admin_routes(rooms: Rooms, settings: &AdminSettings) -> Router {
    let api = Router::new()
        .route("/api/status", get(admin::status))
        .route("/api/deferrals", get(admin::deferrals))
        .route("/api/deferrals/{id}", get(deferrals::show))
        .route("/api/deferrals/{id}/cancel", post(deferrals::cancel))
        .route("/api/deferrals/{id}/promote", post(deferrals::promote))
        .route("/api/deliveries", get(deliveries::list))
        .route("/api/deliveries/{id}", get(deliveries::show))
        .route("/api/deliveries/{id}/replay", post(deliveries::replay))
        .route("/api/batches", get(admin::batches))
        .route("/api/workloads", get(workloads::list))
        .route("/api/calls", get(calls::export))
        .route("/api/rules", get(rules::list))
        .route("/api/rules/try", post(trial::run))
        .route("/api/flush", post(admin::flush))
        .route("/api/budgets", get(budgets::list))
        .route("/api/savings", get(savings::report))
        .route("/api/savings/recompute", post(savings::recompute))
        .route("/api/savings/reconcile", post(savings::reconcile))
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(axum::middleware::from_fn_with_state(admin::Guard::new(settings), admin::guard));
    Router::new()
        .merge(api)
        .route("/metrics", get(admin::metrics))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .with_state(rooms)
}
