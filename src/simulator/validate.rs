//! Whether the provider would take a call: live, for counting, or as a batch item.

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::auth::{Caller, Version};
use super::call::{Fields, text};
use super::error::ApiError;
use super::models::{self, Model};

/// What a valid call comes down to.
pub(super) struct Facts {
    pub(super) model: &'static Model,
    pub(super) max_tokens: u64,
    pub(super) stream: bool,
    /// The text of the last user message, which steers the answer.
    pub(super) prompt: String,
    /// The name of the first tool that the caller would run.
    pub(super) tool: Option<String>,
    pub(super) stop_sequence: Option<String>,
    pub(super) geo: Option<String>,
    pub(super) speed: Option<String>,
}

/// The most output tokens of a batch item under the extended-output beta.
const EXTENDED_MAX_TOKENS: u64 = 300_000;
const EXTENDED_OUTPUT: &str = "output-300k-2026-03-24";

/// Every member that a call may have.
const MEMBERS: [&str; 34] = [
    "model",
    "messages",
    "max_tokens",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "cache_control",
    "stop_sequences",
    "stream",
    "metadata",
    "service_tier",
    "speed",
    "inference_geo",
    "container",
    "diagnostics",
    "temperature",
    "top_p",
    "top_k",
    "context_management",
    "compaction",
    "mcp_servers",
    "thread",
    "fallbacks",
    "fallback_credit_token",
    "billing_policy",
    "user_profile_id",
    "store",
    "previous_thread_event_id",
    "cache_hint",
    "context_hint",
    "research_preview_2026_02",
];

/// What only the old version of the API takes.
const SAMPLING: [&str; 3] = ["temperature", "top_p", "top_k"];

/// What no batch item may have, whatever its value.
const NEVER_IN_A_BATCH: [&str; 7] =
    ["speed", "thread", "fallbacks", "store", "previous_thread_event_id", "cache_hint", "context_hint"];

/// Checks a live call.
pub(super) fn live(call: &Fields<'_>, caller: &Caller) -> Result<Facts, ApiError> {
    let facts = checked(call, caller, 0)?;
    if let Some(thread) = call.given("thread") {
        check_thread(thread, caller)?;
    }
    if facts.max_tokens == 0 && facts.stream {
        return Err(ApiError::invalid("max_tokens: 0 is not supported together with stream"));
    }
    Ok(facts)
}

/// Checks the `params` of a batch item.
pub(super) fn item(call: &Fields<'_>, caller: &Caller) -> Result<Facts, ApiError> {
    let refuse = |what: &str| Err(ApiError::invalid(format!("{what} is not supported in the Message Batches API")));
    if let Some(name) = NEVER_IN_A_BATCH.into_iter().find(|name| call.given(name).is_some()) {
        return refuse(name);
    }
    if call.read::<bool>("stream") == Some(true) {
        return refuse("stream");
    }
    if call.text("research_preview_2026_02").as_deref() == Some("active") {
        return refuse("research_preview_2026_02: active");
    }
    if let Some(policy) = call.read::<Fields<'_>>("billing_policy")
        && policy.text("bill_to").as_deref() == Some("user_profile")
    {
        return refuse("billing_policy: user_profile");
    }
    if let Some(profile) = call.text("user_profile_id")
        && caller.user_profile.as_deref() != Some(profile.as_ref())
    {
        return Err(ApiError::invalid("user_profile_id: does not match the anthropic-user-profile-id header"));
    }
    let extended = if caller.betas.contains(EXTENDED_OUTPUT) { EXTENDED_MAX_TOKENS } else { 0 };
    let facts = checked(call, caller, extended)?;
    if facts.max_tokens == 0 {
        return Err(ApiError::invalid("max_tokens: Input should be greater than or equal to 1"));
    }
    if !facts.model.batch {
        return refuse(facts.model.id);
    }
    Ok(facts)
}

/// Checks a request to count tokens, which need not say how many to make.
pub(super) fn count(call: &Fields<'_>, caller: &Caller) -> Result<(), ApiError> {
    check_members(call, caller)?;
    model_of(call)?;
    check_messages(call)
}

/// What live calls and batch items have to keep alike.
fn checked(call: &Fields<'_>, caller: &Caller, extended: u64) -> Result<Facts, ApiError> {
    check_members(call, caller)?;
    let model = model_of(call)?;
    let max_tokens = required(call, "max_tokens")?;
    let max_tokens: u64 = serde_json::from_str(max_tokens.get())
        .map_err(|_| ApiError::invalid("max_tokens: Input should be a valid integer"))?;
    check_messages(call)?;
    let allowed = if model.extended_output { model.max_tokens.max(extended) } else { model.max_tokens };
    if max_tokens > allowed {
        return Err(ApiError::invalid(format!(
            "max_tokens: {max_tokens} > {allowed}, which is the maximum allowed number of output tokens for {}",
            model.id
        )));
    }
    if call.given("stream").is_some() && call.read::<bool>("stream").is_none() {
        return Err(ApiError::invalid("stream: Input should be a valid boolean"));
    }
    Ok(Facts {
        model,
        max_tokens,
        stream: call.read("stream").unwrap_or(false),
        prompt: call.last_user_text(),
        tool: first_tool(call),
        stop_sequence: call.read::<Vec<String>>("stop_sequences").and_then(|list| list.into_iter().next()),
        geo: call.text("inference_geo").map(Into::into),
        speed: call.text("speed").map(Into::into),
    })
}

fn check_members(call: &Fields<'_>, caller: &Caller) -> Result<(), ApiError> {
    let refused =
        |name: &&str| !MEMBERS.contains(name) || (caller.version == Version::V2026 && SAMPLING.contains(name));
    match call.names().find(refused) {
        Some(name) => Err(ApiError::invalid(format!("{name}: Extra inputs are not permitted"))),
        None => Ok(()),
    }
}

fn model_of(call: &Fields<'_>) -> Result<&'static Model, ApiError> {
    let id =
        text(required(call, "model")?).ok_or_else(|| ApiError::invalid("model: Input should be a valid string"))?;
    models::find(&id).ok_or_else(|| ApiError::not_found(format!("model: {id}")))
}

fn check_messages(call: &Fields<'_>) -> Result<(), ApiError> {
    let messages: Vec<&RawValue> = serde_json::from_str(required(call, "messages")?.get())
        .map_err(|_| ApiError::invalid("messages: Input should be a valid list"))?;
    if messages.is_empty() {
        return Err(ApiError::invalid("messages: at least one message is required"));
    }
    messages.iter().enumerate().try_for_each(|(index, message)| {
        check_message(message).map_err(|fault| ApiError::invalid(format!("messages.{index}{fault}")))
    })
}

fn check_message(message: &RawValue) -> Result<(), &'static str> {
    let Ok(message) = serde_json::from_str::<Fields<'_>>(message.get()) else {
        return Err(": Input should be a valid dictionary");
    };
    if !matches!(message.text("role").as_deref(), Some("user" | "assistant" | "system")) {
        return Err(".role: Input should be 'user', 'assistant' or 'system'");
    }
    let content = message.get("content").ok_or(".content: Field required")?;
    match content.get().as_bytes().first() {
        Some(b'"' | b'[') => Ok(()),
        _ => Err(".content: Input should be a valid list"),
    }
}

/// Threads need their beta. One may be begun; none is kept, so none is there to be continued, which the provider's
/// best effort allows as well.
fn check_thread(thread: &RawValue, caller: &Caller) -> Result<(), ApiError> {
    if !caller.betas.contains("message-threads-2026-08-12") {
        return Err(ApiError::invalid("thread: Extra inputs are not permitted"));
    }
    let continues = serde_json::from_str::<Fields<'_>>(thread.get())
        .is_ok_and(|thread| thread.given("previous_message_id").is_some());
    if continues {
        return Err(ApiError::not_found("thread: no such thread").with_code("thread_not_found"));
    }
    Ok(())
}

fn required<'a>(call: &Fields<'a>, name: &str) -> Result<&'a RawValue, ApiError> {
    call.get(name).ok_or_else(|| ApiError::invalid(format!("{name}: Field required")))
}

/// Tools of a known server type have a `type`; those of the caller have an `input_schema`.
fn first_tool(call: &Fields<'_>) -> Option<String> {
    let tools: Vec<Fields<'_>> = call.read("tools")?;
    let own = |tool: &&Fields<'_>| tool.read::<IgnoredAny>("input_schema").is_some();
    tools.iter().find(own).and_then(|tool| tool.text("name")).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(version: Version, betas: &[&str]) -> Caller {
        Caller {
            workspace: "w".into(),
            version,
            betas: betas.iter().map(|beta| (*beta).to_owned()).collect(),
            user_profile: Some("profile_1".into()),
        }
    }

    type Check = fn(&Fields<'_>, &Caller) -> Result<Facts, ApiError>;

    /// The outcome of a check of a minimal call with `more` members: status and message of the error.
    fn fault(check: Check, caller: &Caller, more: &str) -> Option<(u16, String)> {
        let body = format!(
            r#"{{"model":"claude-opus-5-5","messages":[{{"role":"user","content":"Hi"}}],"max_tokens":9{more}}}"#
        );
        let call = Fields::parse(body.as_bytes()).unwrap();
        check(&call, caller).err().map(|error| (error.status, error.message))
    }

    #[test]
    fn names_what_is_missing_or_wrong() {
        let caller = caller(Version::V2023, &[]);
        for (body, status, message) in [
            (r"{}", 400, "model: Field required"),
            (r#"{"model":1}"#, 400, "model: Input should be a valid string"),
            (r#"{"model":"gpt-1"}"#, 404, "model: gpt-1"),
            (r#"{"model":"claude-opus-5"}"#, 400, "max_tokens: Field required"),
            (r#"{"model":"claude-opus-5","max_tokens":"9"}"#, 400, "max_tokens: Input should be a valid integer"),
            (r#"{"model":"claude-opus-5","max_tokens":9}"#, 400, "messages: Field required"),
            (
                r#"{"model":"claude-opus-5","max_tokens":9,"messages":[]}"#,
                400,
                "messages: at least one message is required",
            ),
            (
                r#"{"model":"claude-opus-5","max_tokens":9,"messages":[{"role":"user"}]}"#,
                400,
                "messages.0.content: Field required",
            ),
            (
                r#"{"model":"claude-opus-5","max_tokens":9,"messages":[{"role":"me","content":""}]}"#,
                400,
                "messages.0.role: Input should be 'user', 'assistant' or 'system'",
            ),
        ] {
            let call = Fields::parse(body.as_bytes()).unwrap();
            let error = live(&call, &caller).err().unwrap();
            assert_eq!((error.status, error.message.as_str()), (status, message), "{body}");
        }
    }

    #[test]
    fn the_new_version_refuses_sampling_parameters() {
        for more in [r#","temperature":1.0"#, r#","top_p":1"#, r#","top_k":3"#] {
            assert_eq!(fault(live, &caller(Version::V2023, &[]), more), None, "{more}");
            assert_eq!(fault(live, &caller(Version::V2026, &[]), more).map(|f| f.0), Some(400), "{more}");
            assert_eq!(fault(item, &caller(Version::V2026, &[]), more).map(|f| f.0), Some(400), "{more}");
        }
    }

    #[test]
    fn a_batch_item_refuses_what_a_live_call_may_have() {
        let caller = caller(Version::V2023, &["message-threads-2026-08-12"]);
        for more in [
            r#","stream":true"#,
            r#","speed":"standard""#,
            r#","max_tokens":0"#,
            r#","thread":{"type":"create"}"#,
            r#","fallbacks":[]"#,
            r#","store":true"#,
            r#","cache_hint":"x""#,
            r#","research_preview_2026_02":"active""#,
            r#","billing_policy":{"bill_to":"user_profile"}"#,
            r#","user_profile_id":"profile_2""#,
            r#","model":"claude-livonly-1""#,
        ] {
            assert_eq!(fault(live, &caller, more), None, "{more}");
            assert_eq!(fault(item, &caller, more).map(|f| f.0), Some(400), "{more}");
        }
        for more in
            [r#","stream":false"#, r#","user_profile_id":"profile_1""#, r#","billing_policy":{"bill_to":"self"}"#]
        {
            assert_eq!(fault(item, &caller, more), None, "{more}");
        }
    }

    #[test]
    fn betas_belong_in_the_header() {
        let error = fault(item, &caller(Version::V2023, &[]), r#","betas":["x"]"#);
        assert_eq!(error, Some((400, "betas: Extra inputs are not permitted".into())));
    }

    #[test]
    fn a_beta_lifts_the_output_limit_in_batches_only() {
        let (plain, extended) = (caller(Version::V2023, &[]), caller(Version::V2023, &[EXTENDED_OUTPUT]));
        let more = r#","max_tokens":300000"#;
        assert_eq!(fault(item, &plain, more).map(|f| f.0), Some(400));
        assert_eq!(fault(item, &extended, more), None);
        assert_eq!(fault(live, &extended, more).map(|f| f.0), Some(400));
        assert_eq!(fault(item, &extended, r#","max_tokens":300001"#).map(|f| f.0), Some(400));
    }

    #[test]
    fn threads_begin_and_never_continue() {
        let more = r#","thread":{"type":"continue","previous_message_id":"msg_1"}"#;
        assert_eq!(fault(live, &caller(Version::V2023, &[]), more).map(|f| f.0), Some(400));
        assert_eq!(fault(live, &caller(Version::V2023, &["message-threads-2026-08-12"]), more).map(|f| f.0), Some(404));
    }
}
