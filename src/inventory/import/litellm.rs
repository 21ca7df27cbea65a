//! LiteLLM's spend logs: rows of its table `LiteLLM_SpendLogs`, as its API lists them or as the database exports them.
//!
//! The columns are those of `schema.prisma` in the repository BerriAI/litellm. Tokens of the cache stand in `metadata`
//! (`usage_object`, `additional_usage_values`; see `spend_tracking_utils.py` there), and are part of `prompt_tokens`.

use super::row::Row;
use super::{Item, shape, values};
use crate::domain::record::CallRecord;
use crate::domain::usage::Tokens;

/// Kinds of calls that are no Messages: their names hold one of these.
const OTHER_CALLS: [&str; 9] =
    ["embedding", "image", "speech", "transcription", "rerank", "moderation", "batch", "file", "ocr"];

/// What the Batches API cannot take, since another provider serves it.
const ELSEWHERE: &str = "other-provider";

/// So many characters of a key's hash make a name.
const KEY_CHARS: usize = 8;

pub(super) fn read(row: &Row<'_>) -> Result<Item, String> {
    let kind = row.text("call_type").unwrap_or_default();
    if OTHER_CALLS.iter().any(|other| kind.contains(other)) || row.is("cache_hit") {
        return Ok(Item::Other);
    }
    let metadata = row.json("metadata");
    let metadata = metadata.as_deref().and_then(Row::object);
    let (at, end) = (row.time(&["startTime"])?, row.time(&["endTime", "startTime"])?);
    let first = row.time_if("completionStartTime").filter(|first| *first < end);
    let provider = row.text("custom_llm_provider").unwrap_or_default();
    let model = row.text("model").ok_or("model is missing")?;
    let model = model.strip_prefix("anthropic/").unwrap_or(&model);
    let failed = row.text("status").as_deref() == Some("failure");
    let tags = row.json("request_tags").unwrap_or_default();
    let tags: Vec<String> = serde_json::from_str(&tags).unwrap_or_default();
    let mut call = CallRecord {
        at,
        tenant: key(row, metadata.as_ref()),
        workload: workload(row, metadata.as_ref(), model, &tags),
        blocked_by: is_elsewhere(&provider, model).then(|| ELSEWHERE.to_owned()),
        model: model.to_owned(),
        tokens: tokens(row, metadata.as_ref())?,
        status: if failed { 500 } else { 200 },
        duration_ms: end.since(at).as_millis() as u64,
        first_byte_ms: first.unwrap_or(end).since(at).as_millis() as u64,
        retries: metadata.as_ref().map_or(Ok(0), |metadata| metadata.count("attempted_retries"))? as u32,
        client: client(&tags),
        stream: first.is_some(),
        opening_hash: row.text("session_id").map_or(0, |session| values::hash(&session)),
        ..CallRecord::default()
    };
    if let Some(request) = row.json("proxy_server_request") {
        shape::add(&request, &mut call);
    }
    Ok(Item::Call(Box::new(call), row.dollars(&["spend"])))
}

fn tokens(row: &Row<'_>, metadata: Option<&Row<'_>>) -> Result<Tokens, String> {
    let cached = |name: &str| -> Result<u64, String> {
        for part in ["usage_object", "additional_usage_values"] {
            let inner = metadata.and_then(|metadata| metadata.json(part));
            if let Some(inner) = inner.as_deref().and_then(Row::object)
                && inner.text(name).is_some()
            {
                return inner.count(name);
            }
        }
        row.count(name)
    };
    let (prompt, output) = (row.count("prompt_tokens")?, row.count("completion_tokens")?);
    let (read, write) = (cached("cache_read_input_tokens")?, cached("cache_creation_input_tokens")?);
    // Some versions leave the cached ones out.
    let input = prompt.checked_sub(read + write).unwrap_or(prompt);
    Ok(Tokens { input, output, cache_read: read, cache_write_5m: write, cache_write_1h: 0 })
}

fn is_elsewhere(provider: &str, model: &str) -> bool {
    let theirs = provider.is_empty() || provider == "anthropic";
    !theirs || !model.starts_with("claude")
}

/// The key's name, else what its hash begins with.
fn key(row: &Row<'_>, metadata: Option<&Row<'_>>) -> String {
    if let Some(alias) = metadata.and_then(|metadata| metadata.text("user_api_key_alias")) {
        return alias.into_owned();
    }
    row.text("api_key").map_or_else(String::new, |hash| hash.chars().take(KEY_CHARS).collect())
}

/// What the calls of one job have in common: their key, their model, and the first tag that is not each call's own.
fn workload(row: &Row<'_>, metadata: Option<&Row<'_>>, model: &str, tags: &[String]) -> String {
    let lasting = |tag: &&String| !tag.starts_with("User-Agent") && !tag.contains(|c: char| c.is_ascii_digit());
    let parts = [Some(key(row, metadata)), tags.iter().find(lasting).cloned(), Some(model.to_owned())];
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// LiteLLM tags calls with their `user-agent`, once with and once without its version.
fn client(tags: &[String]) -> String {
    let agents = tags.iter().filter_map(|tag| tag.strip_prefix("User-Agent: "));
    agents.max_by_key(|agent| agent.len()).unwrap_or_default().to_owned()
}
