//! What tests say to the stand-in over HTTP: faults, the books, the end of batches.
//!
//! | request | does |
//! | --- | --- |
//! | `POST /_sim/faults` | arms one [`Fault`], given as JSON |
//! | `DELETE /_sim/faults` | disarms all |
//! | `POST /_sim/end` | ends every batch that is in progress |
//! | `GET /_sim/books` | what came in: requests without credentials and bodies, batches without items, disconnects |
//! | `GET /_sim/books/requests/{request_id}` | the body of a request, as it came |
//! | `GET /_sim/books/batches/{id}` | the items of a batch, as they came, in JSON Lines |

use std::sync::Arc;

use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::simulator::books::{BatchRecord, Received};
use crate::simulator::error::ApiError;
use crate::simulator::fault::Fault;
use crate::simulator::reply::Reply;
use crate::simulator::world::World;

/// Where all paths of control begin.
pub(in crate::simulator) const PREFIX: &str = "/_sim/";

/// Headers that hold a credential, which never leaves the process.
const SECRET: [&str; 3] = ["x-api-key", "authorization", "cookie"];

/// Answers a request to control.
pub(in crate::simulator) async fn answer(world: &Arc<World>, method: &Method, path: &str, body: &[u8]) -> Reply {
    let path: Vec<&str> = path.trim_start_matches(PREFIX).split('/').collect();
    let answer = match (method.as_str(), &path[..]) {
        ("POST", ["faults"]) => arm(world, body),
        ("DELETE", ["faults"]) => {
            world.faults().clear();
            Ok(armed(world))
        }
        ("POST", ["end"]) => {
            end_batches(world).await;
            Ok(Reply::json(200, "{}"))
        }
        ("GET", ["books"]) => Ok(summary(world)),
        ("GET", ["books", "requests", id]) => body_of(world, id),
        ("GET", ["books", "batches", id]) => items_of(world, id),
        _ => Err(ApiError::not_found("Not Found")),
    };
    answer.unwrap_or_else(|error| Reply::json(error.status, error.body("req_control")))
}

/// Ends every batch that is in progress.
pub(in crate::simulator) async fn end_batches(world: &Arc<World>) {
    let now = world.now();
    world.batches().hurry(now);
    world.settle().await;
}

fn arm(world: &World, body: &[u8]) -> Result<Reply, ApiError> {
    let fault: Fault = serde_json::from_slice(body).map_err(|fault| ApiError::invalid(fault.to_string()))?;
    world.faults().inject(fault);
    Ok(armed(world))
}

fn armed(world: &World) -> Reply {
    Reply::json(200, json!({ "armed": world.faults().len() }).to_string())
}

fn summary(world: &World) -> Reply {
    let books = world.books();
    let requests: Vec<_> = books.requests.iter().map(|received| request(received)).collect();
    let batches: Vec<_> = books.batches.iter().map(batch).collect();
    let disconnects = books.disconnects;
    Reply::json(200, json!({ "requests": requests, "batches": batches, "disconnects": disconnects }).to_string())
}

fn request(received: &Received) -> Value {
    json!({
        "request_id": received.request_id,
        "at": received.at,
        "endpoint": received.endpoint,
        "method": received.method.as_str(),
        "path": received.path,
        "query": received.query,
        "credential": SECRET.iter().find(|name| received.headers.contains_key(**name)),
        "headers": shown(&received.headers),
        "bytes": received.body.len(),
    })
}

fn shown(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let open = headers.iter().filter(|(name, _)| !SECRET.contains(&name.as_str()));
    open.map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default())).collect()
}

fn batch(batch: &BatchRecord) -> Value {
    json!({
        "id": batch.id,
        "workspace": batch.workspace,
        "created_at": batch.created_at,
        "ended_at": batch.ended_at,
        "deleted": batch.deleted,
        "items": batch.items.len(),
    })
}

fn body_of(world: &World, id: &str) -> Result<Reply, ApiError> {
    let books = world.books();
    let received = books.requests.iter().find(|received| received.request_id == id);
    received
        .map(|received| Reply { content_type: "application/octet-stream", ..Reply::json(200, received.body.clone()) })
        .ok_or_else(|| ApiError::not_found("No such request"))
}

fn items_of(world: &World, id: &str) -> Result<Reply, ApiError> {
    let books = world.books();
    let batch = books.batches.into_iter().find(|batch| batch.id == id);
    let items = batch.ok_or_else(|| ApiError::not_found("No such batch"))?.items;
    let lines = (0..items.len()).map(move |at| {
        let mut line = format!("{{\"custom_id\":\"{}\",\"params\":", items[at].custom_id).into_bytes();
        line.extend_from_slice(&items[at].params);
        line.extend_from_slice(b"}\n");
        Ok(line.into())
    });
    Ok(Reply::pieces("application/x-jsonl", Box::new(lines), std::time::Duration::ZERO))
}
