//! Every route of the stand-in.

mod batches;
pub(super) mod control;
mod messages;
mod models;

use std::sync::Arc;

use http::Method;

use super::auth::Caller;
use super::books::Endpoint;
use super::error::ApiError;
use super::reply::Reply;
use super::service::Ask;
use super::world::World;

/// Where a request goes, and the id in its path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) endpoint: Endpoint,
    pub(super) id: String,
}

impl Route {
    /// The path alone decides; a query such as `?beta=true` does not count.
    pub(super) fn of(method: &Method, path: &str) -> Self {
        let path: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (endpoint, id) = match (method.as_str(), &path[..]) {
            ("POST", ["v1", "messages"]) => (Endpoint::Messages, ""),
            ("POST", ["v1", "messages", "count_tokens"]) => (Endpoint::CountTokens, ""),
            ("POST", ["v1", "messages", "batches"]) => (Endpoint::BatchCreate, ""),
            ("GET", ["v1", "messages", "batches"]) => (Endpoint::BatchList, ""),
            ("GET", ["v1", "messages", "batches", id]) => (Endpoint::BatchRetrieve, *id),
            ("DELETE", ["v1", "messages", "batches", id]) => (Endpoint::BatchDelete, *id),
            ("POST", ["v1", "messages", "batches", id, "cancel"]) => (Endpoint::BatchCancel, *id),
            ("GET", ["v1", "messages", "batches", id, "results"]) => (Endpoint::BatchResults, *id),
            ("GET", ["v1", "models"]) => (Endpoint::Models, ""),
            ("GET", ["v1", "models", id]) => (Endpoint::Model, *id),
            _ => (Endpoint::Other, ""),
        };
        Self { endpoint, id: id.to_owned() }
    }
}

/// Does the work of a request.
pub(super) async fn answer(world: &Arc<World>, ask: &Ask) -> Result<Reply, ApiError> {
    // A path that does not exist is not found, whoever asks.
    let caller = match ask.route.endpoint {
        Endpoint::Other => Err(ApiError::not_found("Not Found")),
        _ => Caller::of(&ask.headers),
    }?;
    match ask.route.endpoint {
        Endpoint::Messages => messages::create(world, ask, &caller),
        Endpoint::CountTokens => messages::count_tokens(ask, &caller),
        Endpoint::BatchCreate => batches::create(world, ask, caller).await,
        Endpoint::BatchList => batches::list(world, ask, &caller).await,
        Endpoint::BatchRetrieve => batches::retrieve(world, ask, &caller).await,
        Endpoint::BatchDelete => batches::delete(world, ask, &caller).await,
        Endpoint::BatchCancel => batches::cancel(world, ask, &caller).await,
        Endpoint::BatchResults => batches::results(world, ask, &caller).await,
        Endpoint::Models => models::list(ask),
        Endpoint::Model => models::retrieve(ask),
        Endpoint::Other => Err(ApiError::not_found("Not Found")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_endpoint() {
        let of = |method: Method, path| {
            let route = Route::of(&method, path);
            (route.endpoint, route.id)
        };
        assert_eq!(of(Method::POST, "/v1/messages"), (Endpoint::Messages, String::new()));
        assert_eq!(of(Method::POST, "/v1/messages/batches"), (Endpoint::BatchCreate, String::new()));
        assert_eq!(of(Method::GET, "/v1/messages/batches/b"), (Endpoint::BatchRetrieve, "b".into()));
        assert_eq!(of(Method::GET, "/v1/messages/batches/b/results"), (Endpoint::BatchResults, "b".into()));
        assert_eq!(of(Method::GET, "/v1/models/m"), (Endpoint::Model, "m".into()));
        for (method, path) in [(Method::GET, "/v1/messages"), (Method::HEAD, "/api/hello"), (Method::GET, "/")] {
            assert_eq!(of(method, path).0, Endpoint::Other, "{path}");
        }
    }
}
