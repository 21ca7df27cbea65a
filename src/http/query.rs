//! Queries, read strictly: a filter with a typo would show everything.

use std::time::Duration;

use http::Uri;

use crate::domain::deferral::State;
use crate::domain::delivery::DeliveryState;
use crate::domain::id::{DeferralId, DeliveryId};
use crate::domain::units::{DURATION_FORM, parse_duration};
use crate::domain::workload::WorkloadId;
use crate::http::cursor::Cursor;
use crate::http::error::ApiError;
use crate::store::{DeliveryFilter, Filter, PageCursor, Position};

/// Entries of a page, as with the provider.
const LIMIT_DEFAULT: u32 = 20;
const LIMIT_MAX: u32 = 1_000;

/// Lines of the feed in one answer. They are sent a page at a time, so many of them cost no memory.
const LINES_DEFAULT: u32 = 1_000;
const LINES_MAX: u32 = 100_000;

/// The time of which calls are counted, unless another is asked for.
const SINCE_DEFAULT: Duration = Duration::from_hours(7 * 24);

/// The longest that a question may wait for its answer.
const WAIT_MAX_SECONDS: u64 = 300;

/// Which page of deferrals is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageQuery {
    pub(super) filter: Filter,
    pub(super) cursor: PageCursor,
    pub(super) limit: u32,
}

impl PageQuery {
    pub(super) fn read(uri: &Uri) -> Result<Self, ApiError> {
        let mut query = Self { filter: Filter::default(), cursor: PageCursor::Newest, limit: LIMIT_DEFAULT };
        for (name, value) in pairs(uri)? {
            match name.as_str() {
                "status" => query.filter.state = Some(state(&value)?),
                "workload" => query.filter.workload = Some(value),
                "group" => query.filter.group = Some(value),
                "limit" => query.limit = number(&name, &value, 1, LIMIT_MAX.into())?.try_into().unwrap_or(LIMIT_MAX),
                "after_id" | "before_id" if query.cursor != PageCursor::Newest => {
                    return Err(ApiError::invalid_query("after_id and before_id exclude each other"));
                }
                "after_id" => query.cursor = PageCursor::After(id(&name, &value)?),
                "before_id" => query.cursor = PageCursor::Before(id(&name, &value)?),
                _ => return Err(unknown(&name, "status, workload, group, limit, after_id and before_id")),
            }
        }
        Ok(query)
    }
}

/// Which lines of the feed are asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FeedQuery {
    pub(super) after: Position,
    pub(super) limit: u32,
    pub(super) wait: Duration,
}

impl FeedQuery {
    pub(super) fn read(uri: &Uri) -> Result<Self, ApiError> {
        let mut query = Self { after: Position::START, limit: LINES_DEFAULT, wait: Duration::ZERO };
        for (name, value) in pairs(uri)? {
            match name.as_str() {
                "after" => query.after = cursor(&name, &value)?.0,
                "limit" => query.limit = number(&name, &value, 1, LINES_MAX.into())?.try_into().unwrap_or(LINES_MAX),
                "wait" => query.wait = Duration::from_secs(number(&name, &value, 0, WAIT_MAX_SECONDS)?),
                _ => return Err(unknown(&name, "after, limit and wait")),
            }
        }
        Ok(query)
    }
}

/// Which deliveries are asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DeliveriesQuery {
    pub(super) filter: DeliveryFilter,
    pub(super) limit: u32,
}

impl DeliveriesQuery {
    pub(super) fn read(uri: &Uri) -> Result<Self, ApiError> {
        let mut query = Self { filter: DeliveryFilter::default(), limit: LIMIT_DEFAULT };
        for (name, value) in pairs(uri)? {
            match name.as_str() {
                "status" => query.filter.state = Some(delivery_state(&value)?),
                "receiver" => query.filter.receiver = Some(value),
                "limit" => query.limit = number(&name, &value, 1, LIMIT_MAX.into())?.try_into().unwrap_or(LIMIT_MAX),
                "after_id" => query.filter.after = Some(delivery_id(&name, &value)?),
                _ => return Err(unknown(&name, "status, receiver, limit and after_id")),
            }
        }
        Ok(query)
    }
}

/// Which workloads are asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WorkloadsQuery {
    pub(super) since: Duration,
    pub(super) tenant: Option<String>,
    pub(super) after: Option<WorkloadId>,
    pub(super) limit: u32,
    /// Whether rules are to be suggested.
    pub(super) suggest: bool,
}

impl WorkloadsQuery {
    pub(super) fn read(uri: &Uri) -> Result<Self, ApiError> {
        let mut query = Self { since: SINCE_DEFAULT, tenant: None, after: None, limit: LIMIT_DEFAULT, suggest: false };
        for (name, value) in pairs(uri)? {
            match name.as_str() {
                "suggest" => query.suggest = flag(&name, &value)?,
                "since" => query.since = duration(&name, &value)?,
                "tenant" => query.tenant = Some(value),
                "limit" => query.limit = number(&name, &value, 1, LIMIT_MAX.into())?.try_into().unwrap_or(LIMIT_MAX),
                "after_id" => query.after = Some(workload_id(&name, &value)?),
                _ => return Err(unknown(&name, "since, tenant, limit, after_id and suggest")),
            }
        }
        Ok(query)
    }
}

/// How long to wait for an answer, in seconds: the only thing that `/message` can be asked.
pub(super) fn wait_seconds(uri: &Uri) -> Result<u64, ApiError> {
    let mut wait = 0;
    for (name, value) in pairs(uri)? {
        match name.as_str() {
            "wait" => wait = number(&name, &value, 0, WAIT_MAX_SECONDS)?,
            _ => return Err(unknown(&name, "wait")),
        }
    }
    Ok(wait)
}

/// Whether the submissions are asked for: the only thing that a deferral can be asked.
pub(super) fn history(uri: &Uri) -> Result<bool, ApiError> {
    let mut history = false;
    for (name, value) in pairs(uri)? {
        match name.as_str() {
            "history" => history = flag(&name, &value)?,
            _ => return Err(unknown(&name, "history")),
        }
    }
    Ok(history)
}

/// Nothing can be asked here.
pub(super) fn none(uri: &Uri) -> Result<(), ApiError> {
    match pairs(uri)?.first() {
        Some((name, _)) => Err(unknown(name, "none")),
        None => Ok(()),
    }
}

/// How far back to look, and nothing else.
pub(super) fn since(uri: &Uri) -> Result<Option<Duration>, ApiError> {
    let mut since = None;
    for (name, value) in pairs(uri)? {
        match name.as_str() {
            "since" => since = Some(parse_duration(&value).ok_or_else(|| not_a_duration(&name))?),
            _ => return Err(unknown(&name, "since")),
        }
    }
    Ok(since)
}

fn not_a_duration(name: &str) -> ApiError {
    ApiError::invalid_query(format!("{name} must be {DURATION_FORM}"))
}

/// A page size alone.
pub(super) fn limit(uri: &Uri) -> Result<u32, ApiError> {
    let mut limit = LIMIT_DEFAULT;
    for (name, value) in pairs(uri)? {
        match name.as_str() {
            "limit" => limit = number(&name, &value, 1, LIMIT_MAX.into())?.try_into().unwrap_or(LIMIT_MAX),
            _ => return Err(unknown(&name, "limit")),
        }
    }
    Ok(limit)
}

/// The pairs of a query; one without a value counts as not given, and a name may stand once.
pub(super) fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, ApiError> {
    let form = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
    let axum::extract::Query(pairs) = form.map_err(|_| ApiError::invalid_query("the query does not decode"))?;
    for (index, (name, _)) in pairs.iter().enumerate() {
        if pairs[..index].iter().any(|(before, _)| before == name) {
            return Err(ApiError::invalid_query(format!("{} stands twice in the query", printable(name))));
        }
    }
    Ok(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect())
}

/// A yes or a no.
pub(super) fn flag(name: &str, value: &str) -> Result<bool, ApiError> {
    match value {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => Err(ApiError::invalid_query(format!("{name} must be 1 or 0"))),
    }
}

fn state(value: &str) -> Result<State, ApiError> {
    State::parse(value).ok_or_else(|| {
        let words: Vec<&str> = State::ALL.into_iter().map(State::as_str).collect();
        ApiError::invalid_query(format!("status must be one of {}", words.join(", ")))
    })
}

fn id(name: &str, value: &str) -> Result<DeferralId, ApiError> {
    DeferralId::parse(value)
        .ok_or_else(|| ApiError::invalid_query(format!("{name} must be the id of a deferral: dfr_ and 32 hex digits")))
}

fn cursor(name: &str, value: &str) -> Result<Cursor, ApiError> {
    Cursor::parse(value).ok_or_else(|| {
        ApiError::invalid_query(format!(
            "{name} must be a cursor out of the feed, or be left out to begin at its start"
        ))
    })
}

fn delivery_state(value: &str) -> Result<DeliveryState, ApiError> {
    DeliveryState::parse(value).ok_or_else(|| {
        let words = DeliveryState::ALL.map(DeliveryState::as_str);
        ApiError::invalid_query(format!("status must be one of {}", words.join(", ")))
    })
}

fn delivery_id(name: &str, value: &str) -> Result<DeliveryId, ApiError> {
    DeliveryId::parse(value)
        .ok_or_else(|| ApiError::invalid_query(format!("{name} must be the id of a delivery: dlv_ and 32 hex digits")))
}

fn workload_id(name: &str, value: &str) -> Result<WorkloadId, ApiError> {
    WorkloadId::parse(value)
        .ok_or_else(|| ApiError::invalid_query(format!("{name} must be the id of a workload: wkl_ and 16 hex digits")))
}

fn duration(name: &str, value: &str) -> Result<Duration, ApiError> {
    let duration = parse_duration(value).filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| ApiError::invalid_query(format!("{name} must be a duration: {DURATION_FORM}")))
}

fn number(name: &str, value: &str, min: u64, max: u64) -> Result<u64, ApiError> {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_digit());
    let read = value.parse().ok().filter(|number| is_plain && (min..=max).contains(number));
    read.ok_or_else(|| ApiError::invalid_query(format!("{name} must be an integer from {min} to {max}")))
}

/// That there is no such parameter.
pub(super) fn unknown(name: &str, known: &str) -> ApiError {
    ApiError::invalid_query(format!("there is no parameter {}; known here: {known}", printable(name)))
}

/// A caller's own word in an error, kept short and plain.
fn printable(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_graphic()).take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Option<PageQuery> {
        PageQuery::read(&format!("/deferred?{query}").parse().unwrap()).ok()
    }

    #[test]
    fn a_page_is_asked_for_as_with_the_provider() {
        let default = PageQuery { filter: Filter::default(), cursor: PageCursor::Newest, limit: 20 };
        assert_eq!(page(""), Some(default));
        let id = DeferralId(uuid::Uuid::nil());
        let query = page(&format!("status=queued&workload=w&group=g&limit=1000&after_id={id}")).unwrap();
        assert_eq!(query.filter.state, Some(State::Queued));
        assert_eq!((query.filter.workload.as_deref(), query.filter.group.as_deref()), (Some("w"), Some("g")));
        assert_eq!((query.limit, query.cursor), (1_000, PageCursor::After(id)));
        assert_eq!(page("status=&limit="), page(""));
    }

    #[test]
    fn the_feed_is_asked_for_by_its_cursors() {
        let feed = |query: &str| FeedQuery::read(&format!("/deferred/results?{query}").parse().unwrap()).ok();
        let default = FeedQuery { after: Position::START, limit: 1_000, wait: Duration::ZERO };
        assert_eq!(feed(""), Some(default));
        let query = feed("after=cur_000000000000000a&limit=100000&wait=300").unwrap();
        assert_eq!((query.after, query.limit, query.wait), (Position(10), 100_000, Duration::from_secs(300)));
        for wrong in
            ["after=10", "after=dfr_1", "limit=0", "limit=100001", "wait=301", "wait=1s", "cursor=1", "wait=1&wait=1"]
        {
            assert_eq!(feed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn deliveries_are_asked_for_likewise() {
        let read = |query: &str| DeliveriesQuery::read(&format!("/api/deliveries?{query}").parse().unwrap()).ok();
        let id = DeliveryId(uuid::Uuid::nil());
        let query = read(&format!("status=dead&receiver=https://a.b:81&limit=5&after_id={id}")).unwrap();
        assert_eq!((query.filter.state, query.filter.after, query.limit), (Some(DeliveryState::Dead), Some(id), 5));
        assert_eq!(query.filter.receiver.as_deref(), Some("https://a.b:81"));
        assert_eq!(read("receiver=https%3A%2F%2Fa.b").unwrap().filter.receiver.as_deref(), Some("https://a.b"));
        let foreign = "after_id=dfr_00000000000000000000000000000000";
        for wrong in ["status=queued", foreign, "before_id=x", "limit=0", "reciever=a", "receiver=a&receiver=b"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn workloads_are_asked_for_likewise() {
        let read = |query: &str| WorkloadsQuery::read(&format!("/api/workloads?{query}").parse().unwrap()).ok();
        let week = Duration::from_hours(7 * 24);
        assert_eq!(
            read(""),
            Some(WorkloadsQuery { since: week, tenant: None, after: None, limit: 20, suggest: false })
        );
        let query = read("since=30d&tenant=team&limit=5&suggest=1&after_id=wkl_00000000000000ff").unwrap();
        assert_eq!((query.since, query.after), (Duration::from_hours(30 * 24), Some(WorkloadId(255))));
        for wrong in
            ["since=week", "since=0", "suggest=yes", "limit=0", "after_id=dfr_1", "workload=x", "since=1d&since=2d"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_does_not_parse_is_refused() {
        let id = DeferralId(uuid::Uuid::nil());
        let both = format!("after_id={id}&before_id={id}");
        for wrong in [
            "status=done",
            "limit=0",
            "limit=1001",
            "limit=+5",
            "limit=x",
            "after_id=1",
            "stauts=queued",
            "limit=1&limit=2",
            &both,
        ] {
            assert_eq!(page(wrong), None, "{wrong}");
        }
        let wait = |query: &str| wait_seconds(&format!("/x?{query}").parse().unwrap()).ok();
        assert_eq!([wait(""), wait("wait=60"), wait("wait=300")], [Some(0), Some(60), Some(300)]);
        assert_eq!([wait("wait=301"), wait("wait=-1"), wait("wiat=1")], [None; 3]);
    }
}
