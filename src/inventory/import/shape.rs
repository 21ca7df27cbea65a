//! The shape of a request that an export holds: how many messages and tools, and whether a tool brings its result.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::values;
use crate::domain::record::CallRecord;

/// The members of a request in the provider's form, or in that of OpenAI, that are looked at.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    #[serde(borrow)]
    system: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    stream: Option<bool>,
    max_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Option<std::borrow::Cow<'a, str>>,
}

/// Adds what a request's JSON shows to a call; nothing if it is no request.
pub(super) fn add(request: &str, call: &mut CallRecord) {
    let Ok(request_read) = serde_json::from_str::<Request<'_>>(request) else { return };
    let Request { messages, system, tools, stream, max_tokens } = request_read;
    let (Some(first), Some(last)) = (messages.first(), messages.last()) else { return };
    let prefix = [system, tools].into_iter().flatten().map(|part| part.get().len()).sum::<usize>();
    call.messages = u32::try_from(messages.len()).unwrap_or(u32::MAX);
    call.opening_hash = values::hash(first.get());
    call.tool_turn = is_result(last.get());
    call.system_hash = system.map_or(0, |system| values::hash(system.get()));
    call.tools_hash = tools.map_or(0, |tools| values::hash(tools.get()));
    call.tools = tools.map_or(0, |tools| members(tools.get()));
    call.prefix_bytes = prefix as u64;
    call.request_bytes = request.len() as u64;
    call.stream |= stream.unwrap_or(false);
    call.max_tokens = max_tokens.unwrap_or(0);
}

/// Whether a message brings the result of a tool.
fn is_result(message: &str) -> bool {
    let role = serde_json::from_str::<Message<'_>>(message).ok().and_then(|message| message.role);
    role.as_deref() == Some("tool") || message.contains("\"tool_result\"")
}

fn members(list: &str) -> u32 {
    let members = serde_json::from_str::<Vec<IgnoredAny>>(list).map_or(0, |list| list.len());
    u32::try_from(members).unwrap_or(u32::MAX)
}
