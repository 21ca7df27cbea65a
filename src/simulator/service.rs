//! What becomes of one request: read, written into the books, met by faults, answered.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::auth::{Caller, credential};
use super::books::{Endpoint, Received};
use super::decode::decode;
use super::error::ApiError;
use super::fault::Effect;
use super::faults::{Effects, Target, error_of};
use super::reply::{Content, Cut, Reply, Watch, Watched};
use super::routes::{self, Route, control};
use super::world::World;

/// The largest body of a live call, as the provider's edge has it.
const CALL_BYTES_MAX: usize = 32_000_000;
/// The largest body that creates a batch.
const BATCH_BYTES_MAX: usize = 256_000_000;

/// A request that was read, with all that an endpoint needs.
pub(super) struct Ask {
    pub(super) route: Route,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) effects: Effects,
    pub(super) request_id: String,
    /// The scheme and host under which the client reaches us.
    pub(super) origin: String,
}

/// Serves one request. `Err` cuts the connection.
pub(super) async fn serve(world: Arc<World>, request: Request<Incoming>) -> Result<Response<Watched>, Cut> {
    let (parts, body) = request.into_parts();
    let mut watch = Watch::new(Arc::clone(&world));
    let route = Route::of(&parts.method, parts.uri.path());
    let limit = if route.endpoint == Endpoint::BatchCreate { BATCH_BYTES_MAX } else { CALL_BYTES_MAX };
    let body = read(body, limit).await;
    if parts.uri.path().starts_with(control::PREFIX) {
        watch.done();
        let reply = control::answer(&world, &parts.method, parts.uri.path(), &body.unwrap_or_default()).await;
        return Ok(reply.into_response(watch));
    }
    let body = match body {
        Ok(body) => Ok(body),
        Err(Unread::TooLarge) => Err(ApiError::of("request_too_large", "Request exceeds the maximum size")),
        Err(Unread::Broken) => return Err(Cut),
    };
    watch.waiting();
    let mut ask = book(&world, route, parts, body.as_ref().map_or(Bytes::new(), Clone::clone));
    meet(&ask.effects, &mut watch).await?;
    let reply = match forced(&ask) {
        Some(reply) => Ok(reply),
        None => match read_through(body, &ask.headers, limit).await {
            Ok(body) => {
                ask.body = body;
                routes::answer(&world, &ask).await
            }
            Err(error) => Err(error),
        },
    };
    let reply = reply.unwrap_or_else(|error| Reply::json(error.status, error.body(&ask.request_id)));
    let reply = shaken(reply, &ask.effects, &mut watch).await?;
    Ok(dressed(reply, &ask).into_response(watch))
}

/// Writes the request into the books, and finds the faults that it meets.
fn book(world: &World, route: Route, parts: Parts, body: Bytes) -> Ask {
    let target = Target { endpoint: route.endpoint, credential: credential(&parts.headers), body: &body };
    let effects = world.faults().meet(&target);
    let request_id = world.request_id();
    let query = parts.uri.query().map(str::to_owned);
    world.received(Received {
        request_id: request_id.clone(),
        at: world.now(),
        endpoint: route.endpoint,
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: query.clone(),
        headers: parts.headers.clone(),
        body: body.clone(),
    });
    let origin = origin(&parts.uri, &parts.headers);
    Ask { route, query, headers: parts.headers, body, effects, request_id, origin }
}

/// HTTP/2 has an authority where HTTP/1.1 has a `host`.
fn origin(uri: &Uri, headers: &HeaderMap) -> String {
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(|authority| authority.as_str()));
    format!("http://{}", host.unwrap_or("localhost"))
}

/// What a fault does before the work.
async fn meet(effects: &Effects, watch: &mut Watch) -> Result<(), Cut> {
    if let Some(wait) = effects.slow_before() {
        tokio::time::sleep(wait).await;
    }
    if effects.has(|effect| matches!(effect, Effect::CutBefore)) {
        watch.done();
        return Err(Cut);
    }
    if effects.has(|effect| matches!(effect, Effect::Hang { worked: false })) {
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// The answer that a fault puts in the place of the work.
fn forced(ask: &Ask) -> Option<Reply> {
    ask.effects.find(|effect| {
        let Effect::Status { status, error_type, message, retry_after, should_retry, html } = effect else {
            return None;
        };
        let error = error_of(*status, error_type.clone(), message.clone());
        let mut reply = Reply::json(*status, error.body(&ask.request_id));
        if let Some(html) = html {
            reply.content_type = "text/html";
            reply.content = Content::Whole(html.clone().into());
        }
        reply.headers.extend(retry_after.map(|seconds| ("retry-after".into(), seconds.to_string())));
        reply.headers.extend(should_retry.map(|retry| ("x-should-retry".into(), retry.to_string())));
        Some(reply)
    })
}

/// What a fault does after the work.
async fn shaken(mut reply: Reply, effects: &Effects, watch: &mut Watch) -> Result<Reply, Cut> {
    if effects.has(|effect| matches!(effect, Effect::CutAfter)) {
        watch.done();
        return Err(Cut);
    }
    if effects.has(|effect| matches!(effect, Effect::Hang { worked: true })) {
        std::future::pending::<()>().await;
    }
    if let Some(pause) = effects.slow_between() {
        reply = reply.slowed(pause);
    }
    if let Some(pieces) = effects.cut_midway() {
        reply = reply.cut_after(pieces);
    }
    Ok(reply)
}

/// The body as it was before it was compressed.
async fn read_through(body: Result<Bytes, ApiError>, headers: &HeaderMap, limit: usize) -> Result<Bytes, ApiError> {
    match headers.get(http::header::CONTENT_ENCODING) {
        Some(encoding) => decode(encoding.as_bytes(), body?, limit).await,
        None => body,
    }
}

/// Adds the headers that every answer has.
fn dressed(mut reply: Reply, ask: &Ask) -> Reply {
    reply.headers.push(("request-id".into(), ask.request_id.clone()));
    reply.headers.push(("anthropic-organization-id".into(), "5ca1ab1e-0000-4000-8000-000000000000".into()));
    if let Ok(caller) = Caller::of(&ask.headers) {
        reply.headers.push(("anthropic-workspace-id".into(), caller.workspace));
    }
    reply
}

/// Why a request's body was not read.
enum Unread {
    TooLarge,
    Broken,
}

/// Reads a body into one piece, which is as large as the client says it will be. One that is too large is read on for
/// a while and forgotten: a client that is still sending when the connection closes may never see why.
async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, Unread> {
    let announced = usize::try_from(http_body::Body::size_hint(&body).lower()).unwrap_or(usize::MAX);
    let mut whole = BytesMut::with_capacity(if announced > limit { 0 } else { announced });
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
        size += data.len();
        if announced.max(size) <= limit {
            whole.extend_from_slice(&data);
        } else if size > 2 * limit {
            break;
        }
    }
    if announced.max(size) > limit { Err(Unread::TooLarge) } else { Ok(whole.freeze()) }
}
