//! Helicone's requests: as `npx @helicone/export` writes them (JSON, JSON Lines or CSV), or its dashboard.
//!
//! The members are those of `HeliconeRequest` in the repository Helicone/helicone; the columns of its CSV are listed in
//! `examples/export/typescript/index.ts` there. Its prompt tokens leave cached ones out, as the provider's do.

use super::row::Row;
use super::{Item, shape, values};
use crate::domain::record::CallRecord;
use crate::domain::usage::Tokens;

/// Properties that name a job, where callers set them.
const JOB_PROPERTIES: [&str; 7] = ["Helicone-Session-Name", "workload", "Workload", "job", "Job", "feature", "Feature"];

pub(super) fn read(row: &Row<'_>) -> Result<Item, String> {
    let properties = row.json("request_properties").or_else(|| row.json("properties"));
    let properties = properties.as_deref().and_then(Row::object);
    let property = |names: &[&str]| properties.as_ref().and_then(|properties| properties.any(names));
    let at = row.time(&["request_created_at", "created_at", "response_created_at"])?;
    let model = row.any(&["request_model", "response_model", "model"]).ok_or("model is missing")?;
    let model = model.strip_prefix("anthropic/").unwrap_or(&model);
    let provider = row.text("provider").unwrap_or_default();
    let tenant = row.any(&["request_user_id", "user_id", "helicone_user"]).unwrap_or_default().into_owned();
    let job = property(&JOB_PROPERTIES).or_else(|| row.any(&["prompt_id", "prompt_name"]));
    let duration_ms = row.count_of(&["delay_ms", "latency", "latency_ms"])?;
    let first_token = row.count("time_to_first_token")?;
    let mut call = CallRecord {
        at,
        // Users are people here; a job is not one of them.
        workload: [job.as_deref(), Some(model)].into_iter().flatten().collect::<Vec<_>>().join("/"),
        tenant,
        blocked_by: is_elsewhere(&provider, model).then(|| "other-provider".to_owned()),
        model: model.to_owned(),
        tokens: Tokens {
            input: row.count("prompt_tokens")?,
            output: row.count("completion_tokens")?,
            cache_write_5m: row.count("prompt_cache_write_tokens")?,
            cache_write_1h: 0,
            cache_read: row.count("prompt_cache_read_tokens")?,
        },
        status: u16::try_from(row.count_of(&["response_status", "status"])?).unwrap_or(0),
        duration_ms,
        first_byte_ms: if first_token > 0 { first_token } else { duration_ms },
        stream: first_token > 0,
        opening_hash: property(&["Helicone-Session-Id"]).map_or(0, |session| values::hash(&session)),
        ..CallRecord::default()
    };
    if let Some(request) = row.json("request_body") {
        shape::add(&request, &mut call);
    }
    Ok(Item::Call(Box::new(call), row.dollars(&["costUSD", "cost", "cost_usd"])))
}

fn is_elsewhere(provider: &str, model: &str) -> bool {
    let theirs = provider.is_empty() || provider.eq_ignore_ascii_case("anthropic");
    !theirs || !model.starts_with("claude")
}
