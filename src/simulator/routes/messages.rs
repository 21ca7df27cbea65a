//! Live calls, and counting the tokens of one.

use bytes::Bytes;

use crate::simulator::answer::{self, Tier};
use crate::simulator::auth::Caller;
use crate::simulator::cache;
use crate::simulator::call::Fields;
use crate::simulator::error::ApiError;
use crate::simulator::fault::Effect;
use crate::simulator::reply::Reply;
use crate::simulator::service::Ask;
use crate::simulator::stream::{events, frame};
use crate::simulator::validate;
use crate::simulator::world::World;

/// `POST /v1/messages`
pub(super) fn create(world: &World, ask: &Ask, caller: &Caller) -> Result<Reply, ApiError> {
    let call = Fields::parse(&ask.body)?;
    let facts = validate::live(&call, caller)?;
    if let Some(error) = answer::failure(&facts) {
        return Err(error);
    }
    let now = world.now();
    let plan = cache::plan(&call, &caller.workspace, Tier::Standard)?;
    let visit = plan.map(|plan| world.cache().visit(&plan, now)).unwrap_or_default();
    let message = answer::answer(&call, &facts, Tier::Standard, visit.usage);
    world.cache().keep(visit, now);
    let reply = if facts.stream {
        let frames = spoiled(events(&message), ask).into_iter().map(|frame| Ok(Bytes::from(frame)));
        Reply::pieces("text/event-stream; charset=utf-8", Box::new(frames), world.settings.event_pause)
    } else {
        Reply::json(200, crate::simulator::error::json(&message))
    };
    Ok(limited(reply, world))
}

/// `POST /v1/messages/count_tokens`
pub(super) fn count_tokens(ask: &Ask, caller: &Caller) -> Result<Reply, ApiError> {
    let call = Fields::parse(&ask.body)?;
    validate::count(&call, caller)?;
    Ok(Reply::json(200, format!(r#"{{"input_tokens":{}}}"#, call.said().prompt_tokens)))
}

/// A stream into which a fault puts an error.
fn spoiled(mut frames: Vec<String>, ask: &Ask) -> Vec<String> {
    let error = ask.effects.find(|effect| match effect {
        Effect::StreamError { events, error_type } => Some((*events, error_type.clone())),
        _ => None,
    });
    if let Some((events, kind)) = error {
        frames.truncate(events);
        let error = ApiError::of(kind, "The simulator was asked to fail");
        frames.push(frame("error", &error.body(&ask.request_id)));
    }
    frames
}

/// With the headers that tell how much may still be asked for; here, always nearly all.
fn limited(mut reply: Reply, world: &World) -> Reply {
    let reset = world.now().to_string();
    for (family, limit, remaining) in [
        ("requests", "4000", "3999"),
        ("tokens", "2400000", "2399000"),
        ("input-tokens", "2000000", "1999000"),
        ("output-tokens", "400000", "399000"),
    ] {
        for (part, value) in [("limit", limit), ("remaining", remaining), ("reset", &reset)] {
            reply.headers.push((format!("anthropic-ratelimit-{family}-{part}").into(), value.to_owned()));
        }
    }
    reply
}
