//! The Message Batches API.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::simulator::auth::Caller;
use crate::simulator::batch::{Batch, Results};
use crate::simulator::envelope;
use crate::simulator::error::ApiError;
use crate::simulator::fault::Effect;
use crate::simulator::faults::Effects;
use crate::simulator::page::{Wanted, page};
use crate::simulator::reply::{Cut, Pieces, Reply};
use crate::simulator::service::Ask;
use crate::simulator::world::World;

/// How many lines of results go out one by one, so that a fault may strike between them.
const LINES_ALONE: usize = 64;
/// How large the pieces are in which all further lines go out.
const PIECE_BYTES: usize = 64 * 1024;

/// `POST /v1/messages/batches`
pub(super) async fn create(world: &Arc<World>, ask: &Ask, caller: Caller) -> Result<Reply, ApiError> {
    let body = ask.body.clone();
    // A body of 256 MB takes a second to read.
    let items = tokio::task::spawn_blocking(move || envelope::items(&body)).await;
    let items = items.map_err(|_| ApiError::of("api_error", "Internal server error"))??;
    let time = ask.effects.find(|effect| match effect {
        Effect::BatchTime { time } => Some(*time),
        _ => None,
    });
    let hidden = ask.effects.find(|effect| match effect {
        Effect::HideBatch { during } => Some(*during),
        _ => None,
    });
    let times = (time.unwrap_or(world.settings.batch_time), hidden.unwrap_or(Duration::ZERO));
    let now = world.now();
    let object = world.batches().create(caller, items, now, times).object(&ask.origin, now);
    world.changed();
    Ok(Reply::json(200, object))
}

/// `GET /v1/messages/batches`
pub(super) async fn list(world: &Arc<World>, ask: &Ask, caller: &Caller) -> Result<Reply, ApiError> {
    world.settle().await;
    let wanted = Wanted::parse(ask.query.as_deref())?;
    let now = world.now();
    let batches = world.batches();
    let listed = batches.listed(&caller.workspace, now);
    let ids: Vec<_> = listed.iter().map(|batch| batch.id()).collect();
    let entry = |at: usize| {
        RawValue::from_string(listed[at].object(&ask.origin, now)).unwrap_or_else(|_| RawValue::NULL.to_owned())
    };
    Ok(Reply::json(200, page(&wanted, &ids, entry)?))
}

/// `GET /v1/messages/batches/{id}`
pub(super) async fn retrieve(world: &Arc<World>, ask: &Ask, caller: &Caller) -> Result<Reply, ApiError> {
    with_batch(world, ask, caller, |batch| Ok(Reply::json(200, batch.object(&ask.origin, world.now())))).await
}

/// `POST /v1/messages/batches/{id}/cancel`
pub(super) async fn cancel(world: &Arc<World>, ask: &Ask, caller: &Caller) -> Result<Reply, ApiError> {
    with_batch(world, ask, caller, |batch| {
        batch.cancel(world.now())?;
        Ok(Reply::json(200, batch.object(&ask.origin, world.now())))
    })
    .await
}

/// `DELETE /v1/messages/batches/{id}`
pub(super) async fn delete(world: &Arc<World>, ask: &Ask, caller: &Caller) -> Result<Reply, ApiError> {
    with_batch(world, ask, caller, |batch| {
        batch.delete()?;
        Ok(Reply::json(200, format!(r#"{{"id":"{}","type":"message_batch_deleted"}}"#, batch.id())))
    })
    .await
}

/// `GET /v1/messages/batches/{id}/results`
pub(super) async fn results(world: &Arc<World>, ask: &Ask, caller: &Caller) -> Result<Reply, ApiError> {
    let results = with_batch(world, ask, caller, |batch| batch.results(world.now())).await?;
    Ok(Reply::pieces("application/x-jsonl", spoiled(Arc::new(results), &ask.effects), Duration::ZERO))
}

/// Finds the batch that a request names, in the state that it has by now.
async fn with_batch<T>(
    world: &Arc<World>,
    ask: &Ask,
    caller: &Caller,
    look: impl FnOnce(&mut Batch) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    world.settle().await;
    let mut batches = world.batches();
    if ask.effects.has(|effect| matches!(effect, Effect::LoseBatch)) {
        batches.get(&caller.workspace, &ask.route.id)?.lose();
    }
    let batch = batches.get(&caller.workspace, &ask.route.id)?;
    if ask.effects.has(|effect| matches!(effect, Effect::ArchiveBatch)) {
        batch.archive(world.now());
    }
    look(batch)
}

/// The lines of results with the faults that they meet.
fn spoiled(results: Arc<Results>, effects: &Effects) -> Pieces {
    let count = |pick: fn(&Effect) -> Option<usize>| effects.find(pick).unwrap_or(0).min(results.len());
    let omitted = count(|effect| if let Effect::OmitResults { lines } = effect { Some(*lines) } else { None });
    let repeated = count(|effect| if let Effect::RepeatResults { lines } = effect { Some(*lines) } else { None });
    let foreign = count(|effect| if let Effect::ForeignResults { lines } = effect { Some(*lines) } else { None });
    let end = effects.find(|effect| match effect {
        Effect::TruncateResults { lines, clean } => Some((*lines, *clean)),
        _ => None,
    });
    let (of, source) = (results.len(), results);
    let strange = Arc::clone(&source);
    let lines = (0..foreign)
        .map(move |nth| strange.foreign_line(nth))
        .chain((0..repeated).chain(omitted..of).map(move |nth| source.line(nth)));
    match end {
        None => Box::new(pieces(lines).map(Ok)),
        Some((whole, clean)) => {
            let half = move |(nth, mut line): (usize, String)| {
                line.truncate(if nth < whole { line.len() } else { line.len() / 2 });
                line
            };
            let torn = lines.enumerate().take(whole + 1).map(half);
            let cut = (!clean).then_some(Err(Cut));
            Box::new(pieces(torn).map(Ok).chain(cut))
        }
    }
}

/// Lines as they go out: the first one by one, then many together.
fn pieces(mut lines: impl Iterator<Item = String>) -> impl Iterator<Item = Bytes> {
    let mut sent = 0;
    std::iter::from_fn(move || {
        let mut piece = lines.next()?;
        sent += 1;
        while sent > LINES_ALONE && piece.len() < PIECE_BYTES {
            let Some(line) = lines.next() else { break };
            piece.push_str(&line);
        }
        Some(piece.into())
    })
}
