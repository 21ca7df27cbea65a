//! The body of a call: the few facts read from it, whether a batch can take it, and the item it becomes.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::domain::json::{self, Member};

/// A body that a batch can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The caller's own text without `stream`.
    pub text: String,
    /// The model that it asks for.
    pub model: String,
    /// Whether the caller asked for a stream.
    pub stream: bool,
    /// SHA-256 of `text`: the same for the same call.
    pub hash: [u8; 32],
}

/// Why a batch cannot take a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotDeferrable {
    /// What stands in the way, in a word: the field's name, or `body`.
    pub blocked_by: &'static str,
    /// The same for a person, with what is allowed.
    pub message: String,
}

/// Fields whose mere presence (with any value but null) a batch refuses, and what to do about it.
const REFUSED: &[(&str, &str, &str)] = &[
    ("thread", "thread", "message threads live outside batches; send the whole conversation in `messages`"),
    ("store", "thread", "message threads live outside batches; leave it out"),
    ("previous_thread_event_id", "thread", "message threads live outside batches; leave it out"),
    ("fallbacks", "fallbacks", "batches have no server-side fallback; leave it out"),
    ("cache_hint", "cache_hint", "batches do not take it; leave it out"),
    ("context_hint", "context_hint", "batches do not take it; leave it out"),
];

impl Item {
    /// Reads a body as the caller sent it (decoded, if it was compressed).
    ///
    /// `user_profile` is the `anthropic-user-profile-id` header, with which the body has to agree.
    ///
    /// # Errors
    /// If a batch cannot take the call: the reason.
    pub fn read(body: &[u8], user_profile: Option<&str>) -> Result<Self, NotDeferrable> {
        let text = std::str::from_utf8(body).map_err(|_| invalid("the body is not UTF-8 text"))?;
        if !json::is_valid(text) {
            return Err(invalid("the body is not valid JSON"));
        }
        let members = json::members(text).ok_or_else(|| invalid("the body is not a JSON object"))?;
        let (model, stream) = check(&members, user_profile)?;

        let item = match json::without(text, &members, "stream") {
            Cow::Borrowed(same) => same.to_owned(),
            Cow::Owned(without) => without,
        };
        let hash = Sha256::digest(item.as_bytes()).into();
        Ok(Self { model, stream, hash, text: item })
    }
}

/// Why a batch could not take a call with these members, in a word; `None` if it could.
pub fn blocked_by(members: &[Member<'_>], user_profile: Option<&str>) -> Option<&'static str> {
    check(members, user_profile).err().map(|no| no.blocked_by)
}

/// The model of a call that a batch can take, and whether it asks for a stream.
fn check(members: &[Member<'_>], user_profile: Option<&str>) -> Result<(String, bool), NotDeferrable> {
    // Of a name that stands twice the last counts, as in the parsers that will read the item.
    let last = |name: &str| members.iter().rev().find(|member| member.name == name).map(|member| member.value);

    let model = last("model").and_then(json::unescape).filter(|model| is_model_name(model));
    let model = model.ok_or_else(|| invalid("`model` must be a string of 1 to 256 printable characters"))?;
    check_messages(last("messages"))?;
    check_max_tokens(last("max_tokens"))?;
    check_refused(members)?;
    check_profile(members, user_profile)?;
    let stream = match last("stream") {
        None | Some("null" | "false") => false,
        Some("true") => true,
        Some(_) => return Err(blocked("stream", "`stream` must be true or false")),
    };
    Ok((model.into_owned(), stream))
}

/// Far longer than any model's name, and short enough to keep in a column of its own.
const MODEL_MAX: usize = 256;

fn is_model_name(model: &str) -> bool {
    !model.is_empty() && model.len() <= MODEL_MAX && !model.chars().any(char::is_control)
}

fn check_messages(messages: Option<&str>) -> Result<(), NotDeferrable> {
    let is_filled = |list: &str| list.starts_with('[') && !list[1..].trim_start().starts_with(']');
    match messages {
        Some(list) if is_filled(list) => Ok(()),
        _ => Err(invalid("`messages` must be a list with at least one message")),
    }
}

fn check_max_tokens(max_tokens: Option<&str>) -> Result<(), NotDeferrable> {
    match max_tokens.map(str::parse::<u64>) {
        Some(Ok(0)) => Err(blocked("max_tokens", "a batch cannot warm the cache: `max_tokens` must be 1 or more")),
        Some(Ok(_)) => Ok(()),
        _ => Err(blocked("max_tokens", "`max_tokens` must be an integer of 1 or more")),
    }
}

fn check_refused(members: &[Member<'_>]) -> Result<(), NotDeferrable> {
    for member in members {
        if member.name == "speed" {
            return Err(blocked("speed", "batches have no fast mode: leave `speed` out"));
        }
        if member.name == "research_preview_2026_02" && member.value == "\"active\"" {
            return Err(blocked("research_preview_2026_02", "batches do not take `research_preview_2026_02`"));
        }
        if member.name == "billing_policy" && bills_user_profile(member.value) {
            let message = "batches cannot be billed to a user profile: leave `billing_policy` out";
            return Err(blocked("billing_policy", message));
        }
        let refused = REFUSED.iter().find(|(name, ..)| member.name == *name && member.value != "null");
        if let Some((name, blocked_by, remedy)) = refused {
            return Err(NotDeferrable { blocked_by, message: format!("`{name}`: {remedy}") });
        }
    }
    Ok(())
}

fn check_profile(members: &[Member<'_>], header: Option<&str>) -> Result<(), NotDeferrable> {
    let named = members.iter().filter(|member| member.name == "user_profile_id" && member.value != "null");
    for member in named {
        if json::unescape(member.value).as_deref() != Some(header.unwrap_or_default()) {
            let message = "in a batch `user_profile_id` must agree with the anthropic-user-profile-id header";
            return Err(blocked("user_profile_id", message));
        }
    }
    Ok(())
}

fn bills_user_profile(policy: &str) -> bool {
    let members = json::members(policy).unwrap_or_default();
    let is_profile = |member: &Member<'_>| json::unescape(member.value).as_deref() == Some("user_profile");
    members.iter().any(|member| member.name == "bill_to" && is_profile(member)) || policy == "\"user_profile\""
}

fn invalid(message: &str) -> NotDeferrable {
    blocked("body", message)
}

fn blocked(blocked_by: &'static str, message: &str) -> NotDeferrable {
    NotDeferrable { blocked_by, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#""model":"claude-haiku-4-5","max_tokens":5,"messages":[{"role":"user","content":"hi"}]"#;

    fn read(extra: &str) -> Result<Item, &'static str> {
        Item::read(format!("{{{PLAIN}{extra}}}").as_bytes(), Some("up_1")).map_err(|no| no.blocked_by)
    }

    #[test]
    fn the_item_is_the_callers_text_without_stream() {
        let item = Item::read(format!("\n{{ \"stream\": true, {PLAIN} ,\"x\":1.0}}").as_bytes(), None).unwrap();
        assert_eq!(item.text, format!("\n{{ {PLAIN} ,\"x\":1.0}}"));
        assert_eq!((item.model.as_str(), item.stream), ("claude-haiku-4-5", true));
        let plain = read("").unwrap();
        assert_eq!((plain.hash, plain.stream), (read(r#","stream":false"#).unwrap().hash, false));
    }

    #[test]
    fn what_a_batch_cannot_take_is_named() {
        for (extra, blocked_by) in [
            (r#","speed":"standard""#, "speed"),
            (r#","thread":{"type":"create"}"#, "thread"),
            (r#","\u0074hread":{}"#, "thread"),
            (r#","store":true"#, "thread"),
            (r#","fallbacks":[]"#, "fallbacks"),
            (r#","billing_policy":{"bill_to":"user_profile"}"#, "billing_policy"),
            (r#","user_profile_id":"up_2""#, "user_profile_id"),
            (r#","max_tokens":0"#, "max_tokens"),
            (r#","max_tokens":1.5"#, "max_tokens"),
            (r#","max_tokens":"5""#, "max_tokens"),
            (r#","messages":[ ]"#, "body"),
            (r#","messages":{}"#, "body"),
            (r#","model":"""#, "body"),
            (r#","model":7"#, "body"),
            (r#","model":"a\u0000""#, "body"),
            (r#","stream":"yes""#, "stream"),
            (",", "body"),
        ] {
            assert_eq!(read(extra), Err(blocked_by), "{extra}");
        }
    }

    #[test]
    fn what_a_batch_can_take_passes() {
        for extra in [
            "",
            r#","thread":null"#,
            r#","billing_policy":{"bill_to":"self"}"#,
            r#","user_profile_id":"up_1""#,
            r#","tools":[{"name":"t","input_schema":{"properties":{"speed":{},"thread":{}}}}]"#,
            r#","fallback_credit_token":"x","temperature":0.5,"unknown":[1e5,"\ud800"]"#,
        ] {
            assert!(read(extra).is_ok(), "{extra}");
        }
    }

    #[test]
    fn a_body_that_is_plainly_invalid_is_refused() {
        for body in ["", "[]", "{}", "null", "{\"model\":", "\u{feff}{}"] {
            assert_eq!(Item::read(body.as_bytes(), None).map_err(|no| no.blocked_by), Err("body"), "{body}");
        }
        assert!(Item::read(b"{\"model\":\"\xff\"}", None).is_err());
        let deep = format!("{{{PLAIN},\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let _ = Item::read(deep.as_bytes(), None);
    }
}
