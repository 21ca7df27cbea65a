//! Savings, which only the operator sees: the report in each of its forms, and pricing again.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode, Uri};
use serde_json::json;

use crate::clock::{Day, Timestamp};
use crate::http::Rooms;
use crate::http::answer::json as answer;
use crate::http::deferrals::unavailable;
use crate::http::error::ApiError;
use crate::http::messages;
use crate::http::query::{flag, pairs, unknown};
use crate::savings::{self, Export, Period, Place, Sheet};

/// What a report is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Table,
    Markdown,
    Html,
    Csv,
}

const FORMATS: [(&str, Format); 5] = [
    ("json", Format::Json),
    ("table", Format::Table),
    ("md", Format::Markdown),
    ("html", Format::Html),
    ("csv", Format::Csv),
];

/// The longest export that is read: years of days by model, workspace and key.
const EXPORT_MAX: u64 = 64_000_000;

/// `GET /api/savings`
pub(super) async fn report(State(rooms): State<Rooms>, uri: Uri) -> Result<Response, ApiError> {
    let (mut since, mut month, mut format) = (None, None, Format::Json);
    for (name, value) in pairs(&uri)? {
        match name.as_str() {
            "since" => since = Some(value),
            "month" => month = Some(value),
            "format" => format = read_format(&value)?,
            _ => return Err(unknown(&name, "since, month and format")),
        }
    }
    let period = period(since.as_deref(), month.as_deref(), rooms.clock.now())?;
    let (report, lines) = rooms.savings.report(period).await.map_err(unavailable)?;
    Ok(match format {
        Format::Json => return answer(StatusCode::OK, &report),
        Format::Table => written("text/plain; charset=utf-8", savings::text(&Sheet::of(&report))),
        Format::Markdown => written("text/markdown; charset=utf-8", savings::markdown(&Sheet::of(&report))),
        Format::Html => written("text/html; charset=utf-8", savings::html::report(&report)),
        Format::Csv => written("text/csv; charset=utf-8; header=present", savings::csv::csv(&lines)),
    })
}

/// `POST /api/savings/reconcile`, with an export of the provider's
pub(super) async fn reconcile(State(rooms): State<Rooms>, uri: Uri, body: Body) -> Result<Response, ApiError> {
    let mut format = Format::Json;
    for (name, value) in pairs(&uri)? {
        match name.as_str() {
            "format" => format = read_format(&value)?,
            _ => return Err(unknown(&name, "format")),
        }
    }
    if format == Format::Csv {
        return Err(ApiError::invalid_query("a reconciliation is written as json, table, md or html"));
    }
    let body = messages::read(body, EXPORT_MAX).await?;
    let text = std::str::from_utf8(&body).map_err(|_| ApiError::invalid_body("the export is not UTF-8"))?;
    let export = Export::read(text).map_err(ApiError::invalid_body)?;
    let found = rooms.savings.reconcile(&export).await.map_err(unavailable)?;
    let found = found.ok_or_else(|| ApiError::invalid_body("the export has no days"))?;
    Ok(match format {
        Format::Table => written("text/plain; charset=utf-8", savings::text(&found.sheet())),
        Format::Markdown => written("text/markdown; charset=utf-8", savings::markdown(&found.sheet())),
        Format::Html => written("text/html; charset=utf-8", savings::html::sheet(&found.sheet())),
        Format::Json | Format::Csv => return answer(StatusCode::OK, &found),
    })
}

/// `POST /api/savings/recompute`: a bite of the ledger; `next` says where to go on.
pub(super) async fn recompute(State(rooms): State<Rooms>, uri: Uri) -> Result<Response, ApiError> {
    let (mut since, mut month, mut after, mut dry_run) = (None, None, None, false);
    for (name, value) in pairs(&uri)? {
        match name.as_str() {
            "since" => since = Some(value),
            "month" => month = Some(value),
            "after" => after = Some(Place::read(&value).ok_or_else(wrong_place)?),
            "dry_run" => dry_run = flag(&name, &value)?,
            _ => return Err(unknown(&name, "since, month, after and dry_run")),
        }
    }
    let now = rooms.clock.now();
    let all = Period { from: Day(0), until: Day::of(now).plus(1) };
    let period =
        if since.is_none() && month.is_none() { all } else { period(since.as_deref(), month.as_deref(), now)? };
    let (told, next) = rooms.savings.recompute(period, after, dry_run).await.map_err(unavailable)?;
    answer(
        StatusCode::OK,
        &json!({
            "type": "recompute",
            "dry_run": dry_run,
            "entries": told.entries,
            "changed": told.changed,
            "data": told.models,
            "has_more": next.is_some(),
            "next": next.map(|place| place.write()),
        }),
    )
}

fn period(since: Option<&str>, month: Option<&str>, now: Timestamp) -> Result<Period, ApiError> {
    Period::read(since, month, now).map_err(ApiError::invalid_query)
}

fn wrong_place() -> ApiError {
    ApiError::invalid_query("after must be the `next` of an answer before")
}

fn read_format(word: &str) -> Result<Format, ApiError> {
    let found = FORMATS.iter().find(|(name, _)| *name == word).map(|(_, format)| *format);
    found.ok_or_else(|| {
        ApiError::invalid_query(format!("format must be one of {}", FORMATS.map(|(name, _)| name).join(", ")))
    })
}

fn written(kind: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
