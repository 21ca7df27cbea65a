//! Claude Code's telemetry: its `api_request` and `api_error` events, as the OpenTelemetry collector's file exporter
//! writes them (a line of OTLP JSON each), or flat.
//!
//! Events and their attributes are those of its documentation, page "Monitoring": `claude_code.api_request` with
//! `model`, `cost_usd`, `duration_ms`, `input_tokens`, `output_tokens`, `cache_read_tokens`, `cache_creation_tokens`
//! and `speed`; `claude_code.api_error` with `model`, `status_code`, `duration_ms` and `attempt`; all with
//! `session.id`, `prompt.id` and `event.timestamp`. Requests under one prompt belong to a loop of tools, each but the
//! first bringing a result.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::row::Row;
use super::{Item, values};
use crate::clock::Timestamp;
use crate::domain::record::CallRecord;
use crate::domain::usage::Tokens;

const REQUEST: &str = "api_request";
const ERROR: &str = "api_error";
/// What events are called in full.
const FULL: &str = "claude_code.";

/// So many sessions' last prompts are remembered; one that is forgotten has its next request taken for a prompt's
/// first.
const SESSIONS_MAX: usize = 20_000;

/// Whether a row is a flat event.
pub(super) fn is_event(row: &Row<'_>) -> bool {
    let others = row.has(&["resourceMetrics"]) || row.has(&["resourceSpans"]);
    others
        || row
            .any(&["event.name", "event_name", "name", "body"])
            .is_some_and(|name| name.starts_with(FULL) || row.has(&["session.id"]) || row.has(&["session_id"]))
}

/// Reads events; knows which prompt each session was at.
#[derive(Default)]
pub(super) struct ClaudeCode {
    prompts: HashMap<u64, u64>,
}

/// An event's attributes by name.
type Attributes = HashMap<String, String>;

impl ClaudeCode {
    pub(super) fn read(&mut self, row: &Row<'_>, give: &mut dyn FnMut(Item)) -> Result<(), String> {
        let Row::Object(members) = row else { return Err("it is no object".to_owned()) };
        let Some(logs) = members.get("resourceLogs") else {
            give(self.event(&flat(row), None)?);
            return Ok(());
        };
        let logs: Vec<ResourceLogs> =
            serde_json::from_str(logs.get()).map_err(|_| "resourceLogs is no list of logs".to_owned())?;
        for resource in logs {
            let around = attributes(resource.resource.map(|resource| resource.attributes).unwrap_or_default());
            for record in resource.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                give(self.record(record, &around)?);
            }
        }
        Ok(())
    }

    fn record(&mut self, record: LogRecord, around: &Attributes) -> Result<Item, String> {
        let mut own = attributes(record.attributes);
        if let Some(Value::String(name)) = record.body.and_then(|body| body.string_value) {
            own.entry("event.name".to_owned()).or_insert(name);
        }
        let at =
            record.time_unix_nano.or(record.observed_time_unix_nano).and_then(|nanos| values::time(&plain(&nanos)));
        for (name, value) in around {
            own.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self.event(&own, at)
    }

    fn event(&mut self, event: &Attributes, at: Option<Timestamp>) -> Result<Item, String> {
        let get = |names: &[&str]| names.iter().find_map(|name| event.get(*name)).map(String::as_str);
        let name = get(&["event.name", "event_name", "name", "body"]).unwrap_or_default();
        let is_request = match name.strip_prefix(FULL).unwrap_or(name) {
            REQUEST => true,
            ERROR => false,
            _ => return Ok(Item::Other),
        };
        let count = |name: &str| {
            get(&[name]).map_or(Ok(0), |text| values::count(text).ok_or_else(|| format!("{name} is no number")))
        };
        // The time that stands in the event is that of the request's end.
        let told = get(&["event.timestamp", "event_timestamp", "timestamp", "time"]).and_then(values::time);
        let end = told.or(at).ok_or("event.timestamp is missing, or no time")?;
        let duration_ms = count("duration_ms")?;
        let session = get(&["session.id", "session_id"]).map_or(0, values::hash);
        let prompt = get(&["prompt.id", "prompt_id"]).map(values::hash);
        let terminal = get(&["terminal.type", "terminal_type"]);
        let call = CallRecord {
            at: Timestamp::from_millis(end.as_millis().saturating_sub_unsigned(duration_ms)),
            tenant: get(&["user.account_uuid", "user.email", "user.id", "organization.id"])
                .unwrap_or_default()
                .to_owned(),
            workload: terminal.map_or("claude-code".to_owned(), |terminal| format!("claude-code/{terminal}")),
            blocked_by: (get(&["speed"]) == Some("fast")).then(|| "speed".to_owned()),
            model: get(&["model"]).unwrap_or_default().to_owned(),
            tokens: Tokens {
                input: count("input_tokens")?,
                output: count("output_tokens")?,
                cache_write_5m: count("cache_creation_tokens")?,
                cache_write_1h: 0,
                cache_read: count("cache_read_tokens")?,
            },
            status: if is_request { 200 } else { u16::try_from(count("status_code")?).unwrap_or(0) },
            duration_ms,
            retries: u32::try_from(count("attempt")?.saturating_sub(1)).unwrap_or(0),
            client: format!("claude-cli/{}", get(&["app.version", "service.version"]).unwrap_or_default()),
            stream: true,
            tool_turn: is_request && self.is_further(session, prompt),
            opening_hash: session,
            ..CallRecord::default()
        };
        let stated = get(&["cost_usd"]).and_then(values::dollars);
        Ok(Item::Call(Box::new(call), stated))
    }

    /// Whether a session's prompt has had a request already.
    fn is_further(&mut self, session: u64, prompt: Option<u64>) -> bool {
        let Some(prompt) = prompt else { return false };
        if self.prompts.len() >= SESSIONS_MAX && !self.prompts.contains_key(&session) {
            self.prompts.clear();
        }
        self.prompts.insert(session, prompt) == Some(prompt)
    }
}

/// A flat event's attributes, those that stand together under `attributes` or `resource` with them.
fn flat(row: &Row<'_>) -> Attributes {
    let Row::Object(members) = row else { return Attributes::new() };
    let mut found = Attributes::new();
    for name in ["resource", "attributes"] {
        let inner = row.json(name).and_then(|inner| serde_json::from_str::<HashMap<String, Value>>(&inner).ok());
        found.extend(inner.into_iter().flatten().map(|(name, value)| (name, plain(&value))));
    }
    found.extend(members.keys().filter_map(|name| Some((name.clone(), row.text(name)?.into_owned()))));
    found
}

fn attributes(list: Vec<Attribute>) -> Attributes {
    list.into_iter().filter_map(|Attribute { key, value }| Some((key, plain(&value?.any()?)))).collect()
}

/// A value without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceLogs {
    resource: Option<Resource>,
    #[serde(default)]
    scope_logs: Vec<ScopeLogs>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScopeLogs {
    #[serde(default)]
    log_records: Vec<LogRecord>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogRecord {
    time_unix_nano: Option<Value>,
    observed_time_unix_nano: Option<Value>,
    body: Option<AnyValue>,
    #[serde(default)]
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
struct Attribute {
    key: String,
    value: Option<AnyValue>,
}

/// A value of OTLP: 64-bit integers are texts in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyValue {
    string_value: Option<Value>,
    int_value: Option<Value>,
    double_value: Option<Value>,
    bool_value: Option<Value>,
}

impl AnyValue {
    fn any(self) -> Option<Value> {
        self.string_value.or(self.int_value).or(self.double_value).or(self.bool_value)
    }
}
