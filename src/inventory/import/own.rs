//! Offpeak's own export: JSON Lines, one recorded call each, under the names that the inventory has for it.
//!
//! Amounts are dollars, exactly; hashes are 16 hex digits, since JSON's numbers are not long enough for them.

use serde::Serialize;

use super::Item;
use super::row::Row;
use crate::clock::Timestamp;
use crate::domain::money::NanoUsd;
use crate::domain::record::{CallRecord, Way};
use crate::domain::usage::Tokens;

#[derive(Serialize)]
struct Line<'a> {
    at: Timestamp,
    tenant: &'a str,
    workload: &'a str,
    way: &'static str,
    rule: Option<&'a str>,
    blocked_by: Option<&'a str>,
    model: &'a str,
    input_tokens: u64,
    output_tokens: u64,
    cache_write_5m_tokens: u64,
    cache_write_1h_tokens: u64,
    cache_read_tokens: u64,
    paid: Option<NanoUsd>,
    live_price: Option<NanoUsd>,
    fees: NanoUsd,
    status: u16,
    request_bytes: u64,
    answer_bytes: u64,
    duration_ms: u64,
    first_byte_ms: u64,
    reader_wait_ms: u64,
    hung_up: bool,
    retries: u32,
    client: &'a str,
    stream: bool,
    max_tokens: u64,
    messages: u32,
    tools: u32,
    tool_turn: bool,
    tool_stop: bool,
    system_hash: String,
    tools_hash: String,
    opening_hash: String,
    prefix_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_prefix: Option<&'a str>,
}

/// A call as a line of the export, without its end; `system_prefix` is what is kept of the workload's system prompt.
///
/// # Errors
/// Never, as far as is known; JSON takes all that a record may hold.
pub fn line(call: &CallRecord, system_prefix: Option<&str>) -> serde_json::Result<String> {
    let hash = |hash: u64| format!("{hash:016x}");
    serde_json::to_string(&Line {
        at: call.at,
        tenant: &call.tenant,
        workload: &call.workload,
        way: call.way.as_str(),
        rule: call.rule.as_deref(),
        blocked_by: call.blocked_by.as_deref(),
        model: &call.model,
        input_tokens: call.tokens.input,
        output_tokens: call.tokens.output,
        cache_write_5m_tokens: call.tokens.cache_write_5m,
        cache_write_1h_tokens: call.tokens.cache_write_1h,
        cache_read_tokens: call.tokens.cache_read,
        paid: call.cost.map(|(paid, _)| paid),
        live_price: call.cost.map(|(_, live)| live),
        fees: call.fees,
        status: call.status,
        request_bytes: call.request_bytes,
        answer_bytes: call.answer_bytes,
        duration_ms: call.duration_ms,
        first_byte_ms: call.first_byte_ms,
        reader_wait_ms: call.reader_wait_ms,
        hung_up: call.hung_up,
        retries: call.retries,
        client: &call.client,
        stream: call.stream,
        max_tokens: call.max_tokens,
        messages: call.messages,
        tools: call.tools,
        tool_turn: call.tool_turn,
        tool_stop: call.tool_stop,
        system_hash: hash(call.system_hash),
        tools_hash: hash(call.tools_hash),
        opening_hash: hash(call.opening_hash),
        prefix_bytes: call.prefix_bytes,
        system_prefix,
    })
}

pub(super) fn read(row: &Row<'_>) -> Result<Item, String> {
    let short = |name| row.count(name).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let text = |name| row.text(name).map(|text| text.into_owned());
    let call = CallRecord {
        at: row.time(&["at"])?,
        tenant: text("tenant").unwrap_or_default(),
        workload: text("workload").ok_or("workload is missing")?,
        way: way(row)?,
        rule: text("rule"),
        blocked_by: text("blocked_by"),
        model: text("model").unwrap_or_default(),
        tokens: Tokens {
            input: row.count("input_tokens")?,
            output: row.count("output_tokens")?,
            cache_write_5m: row.count("cache_write_5m_tokens")?,
            cache_write_1h: row.count("cache_write_1h_tokens")?,
            cache_read: row.count("cache_read_tokens")?,
        },
        cost: row.dollars(&["paid"]).zip(row.dollars(&["live_price"])),
        fees: row.dollars(&["fees"]).unwrap_or_default(),
        status: u16::try_from(row.count("status")?).unwrap_or(0),
        request_bytes: row.count("request_bytes")?,
        answer_bytes: row.count("answer_bytes")?,
        duration_ms: row.count("duration_ms")?,
        first_byte_ms: row.count("first_byte_ms")?,
        reader_wait_ms: row.count("reader_wait_ms")?,
        hung_up: row.is("hung_up"),
        retries: short("retries")?,
        client: text("client").unwrap_or_default(),
        stream: row.is("stream"),
        max_tokens: row.count("max_tokens")?,
        messages: short("messages")?,
        tools: short("tools")?,
        tool_turn: row.is("tool_turn"),
        tool_stop: row.is("tool_stop"),
        system_hash: hash(row, "system_hash")?,
        tools_hash: hash(row, "tools_hash")?,
        opening_hash: hash(row, "opening_hash")?,
        prefix_bytes: row.count("prefix_bytes")?,
    };
    Ok(Item::Recorded(Box::new(call), text("system_prefix")))
}

fn way(row: &Row<'_>) -> Result<Way, String> {
    match row.text("way").as_deref() {
        Some("live") | None => Ok(Way::Live),
        Some("batch") => Ok(Way::Batch),
        Some("rescued") => Ok(Way::Rescued),
        Some("none") => Ok(Way::None),
        Some(_) => Err("way is none of live, batch, rescued and none".to_owned()),
    }
}

fn hash(row: &Row<'_>, name: &str) -> Result<u64, String> {
    let hash = row.text(name).map_or(Ok(0), |digits| u64::from_str_radix(&digits, 16));
    hash.map_err(|_| format!("{name} is no number of 16 hex digits"))
}
