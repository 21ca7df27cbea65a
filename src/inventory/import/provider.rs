//! The provider's own exports: sums of calls by day or hour, from its Console as a table, or from its API.
//!
//! The Console's tables have the columns `usage_date_utc, model_version, api_key, workspace, usage_type,
//! context_window, usage_input_tokens_no_cache, usage_input_tokens_cache_write_5m, usage_input_tokens_cache_write_1h,
//! usage_input_tokens_cache_read, usage_output_tokens, web_search_count, inference_geo, speed`, and in dollars
//! `usage_date_utc, model, workspace, api_key, usage_type, context_window, token_type, cost_usd, list_price_usd,
//! cost_type, …`. The API's answers are those of `GET /v1/organizations/usage_report/messages` and `…/cost_report`,
//! whose amounts are cents.

use serde::Deserialize;

use super::row::Row;
use super::{Item, values};
use crate::clock::Timestamp;
use crate::domain::money::NanoUsd;
use crate::domain::usage::Tokens;
use crate::inventory::collect::UsageSum;

const HOUR_MILLIS: i64 = 3_600_000;
const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;

/// A line of the table of tokens.
pub(super) fn usage_line(row: &Row<'_>) -> Result<Item, String> {
    let model = row.text("model_version").ok_or("model_version is missing")?;
    let tokens = Tokens {
        input: row.count("usage_input_tokens_no_cache")?,
        output: row.count("usage_output_tokens")?,
        // An older form of the table has but one kind of writing.
        cache_write_5m: row.count_of(&["usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write"])?,
        cache_write_1h: row.count("usage_input_tokens_cache_write_1h")?,
        cache_read: row.count("usage_input_tokens_cache_read")?,
    };
    line(row, &model, tokens, None).map(Item::Sum)
}

/// A line of the table of dollars.
pub(super) fn cost_line(row: &Row<'_>) -> Result<Item, String> {
    let cost = row.dollars(&["cost_usd"]).ok_or("cost_usd is no amount")?;
    let model = row.text("model").unwrap_or_default();
    let mut sum = line(row, &named(&model), Tokens::default(), Some(cost))?;
    sum.is_fee = row.text("cost_type").is_some_and(|kind| !kind.starts_with("token"));
    Ok(Item::Sum(sum))
}

fn line(row: &Row<'_>, model: &str, tokens: Tokens, stated: Option<NanoUsd>) -> Result<UsageSum, String> {
    let from = row.time(&["usage_date_utc"])?;
    let is_day = row.text("usage_date_utc").is_some_and(|text| text.len() == 10);
    let key = row.text("api_key").unwrap_or_default();
    Ok(UsageSum {
        from,
        to: Timestamp::from_millis(from.as_millis() + if is_day { DAY_MILLIS } else { HOUR_MILLIS }),
        tenant: row.text("workspace").unwrap_or_default().into_owned(),
        workload: joined(&[&key, model]),
        model: model.to_owned(),
        tokens,
        batch: row.text("usage_type").is_some_and(|kind| kind.contains("batch")),
        stated,
        is_fee: false,
    })
}

/// The model's id for the name that bills have: `Claude Haiku 4.5` is `claude-haiku-4-5`.
fn named(model: &str) -> String {
    model.trim().to_lowercase().replace([' ', '.'], "-")
}

fn joined(parts: &[&str]) -> String {
    parts.iter().copied().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Bucket>,
}

#[derive(Deserialize)]
struct Bucket {
    starting_at: String,
    ending_at: Option<String>,
    results: Vec<Entry>,
}

/// An entry of either report.
#[derive(Deserialize)]
struct Entry {
    model: Option<String>,
    workspace_id: Option<String>,
    api_key_id: Option<String>,
    service_tier: Option<String>,
    #[serde(default)]
    uncached_input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default)]
    cache_read_input_tokens: u64,
    cache_creation: Option<CacheCreation>,
    amount: Option<String>,
    cost_type: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
struct CacheCreation {
    #[serde(default)]
    ephemeral_5m_input_tokens: u64,
    #[serde(default)]
    ephemeral_1h_input_tokens: u64,
}

/// An answer of the API, or one of its buckets.
pub(super) fn report(row: &Row<'_>, give: &mut dyn FnMut(Item)) -> Result<(), String> {
    let Row::Object(members) = row else { return Err("it is no object".to_owned()) };
    let whole = |name: &str| members.get(name).map(|value| value.get());
    let buckets: Vec<Bucket> = match whole("data") {
        Some(data) => serde_json::from_str(&format!("{{\"data\":{data}}}")).map(|page: Page| page.data),
        None => bucket(whole("starting_at"), whole("ending_at"), whole("results")).map(|bucket| vec![bucket]),
    }
    .map_err(|_| "data is no list of buckets with starting_at and results".to_owned())?;
    for bucket in buckets {
        let from = values::time(&bucket.starting_at).ok_or("starting_at is no time")?;
        let to = bucket.ending_at.as_deref().and_then(values::time);
        let to = to.unwrap_or(Timestamp::from_millis(from.as_millis() + DAY_MILLIS));
        for entry in bucket.results {
            give(Item::Sum(entry.sum(from, to)?));
        }
    }
    Ok(())
}

fn bucket(from: Option<&str>, to: Option<&str>, results: Option<&str>) -> serde_json::Result<Bucket> {
    let (from, to, results) = (from.unwrap_or("null"), to.unwrap_or("null"), results.unwrap_or("null"));
    serde_json::from_str(&format!("{{\"starting_at\":{from},\"ending_at\":{to},\"results\":{results}}}"))
}

impl Entry {
    fn sum(self, from: Timestamp, to: Timestamp) -> Result<UsageSum, String> {
        let cents = self.amount.as_deref().map(|amount| values::dollars(amount).ok_or("amount is no amount"));
        let stated = cents.transpose()?.map(|cents| NanoUsd(cents.0 / 100));
        let model = self.model.as_deref().or(self.description.as_deref()).unwrap_or_default();
        let key = self.api_key_id.as_deref().or(self.workspace_id.as_deref()).unwrap_or_default();
        Ok(UsageSum {
            from,
            to,
            tenant: self.workspace_id.clone().unwrap_or_default(),
            workload: joined(&[key, model]),
            model: model.to_owned(),
            tokens: Tokens {
                input: self.uncached_input_tokens,
                output: self.output_tokens,
                cache_write_5m: self.cache_creation.as_ref().map_or(0, |written| written.ephemeral_5m_input_tokens),
                cache_write_1h: self.cache_creation.as_ref().map_or(0, |written| written.ephemeral_1h_input_tokens),
                cache_read: self.cache_read_input_tokens,
            },
            batch: self.service_tier.as_deref() == Some("batch"),
            is_fee: stated.is_some() && self.cost_type.as_deref().is_some_and(|kind| kind != "tokens"),
            stated,
        })
    }
}
