//! Groups: one as it stands, and its closing.

use std::num::NonZeroU32;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{StatusCode, Uri};
use serde::Deserialize;

use crate::domain::group::{Group, GroupState, is_name};
use crate::http::Rooms;
use crate::http::answer::json;
use crate::http::caller::Caller;
use crate::http::deferrals::unavailable;
use crate::http::error::ApiError;
use crate::http::{messages, query};
use crate::intake::Refusal;
use crate::store::{Closed, Scope};

/// The body of a closing holds a URL and a number.
const CLOSING_MAX: u64 = 16_000;

/// What whoever closes a group says besides.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Closing {
    callback: Option<String>,
    expect: Option<NonZeroU32>,
}

/// `GET /deferred/groups/{group}`
pub(super) async fn show(
    State(rooms): State<Rooms>,
    Caller(scope): Caller,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    json(StatusCode::OK, &find(&rooms, &scope, &name).await?)
}

/// `POST /deferred/groups/{group}/close`
pub(super) async fn close(
    State(rooms): State<Rooms>,
    Caller(scope): Caller,
    Path(name): Path<String>,
    uri: Uri,
    body: Body,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let closing = Closing::read(body).await?;
    if !is_name(&name) {
        // No call can ever belong to it.
        return Err(ApiError::no_such_group());
    }
    let tenant = match scope {
        Scope::Tenant(tenant) => tenant,
        Scope::All => find(&rooms, &scope, &name).await?.tenant,
    };
    let callback = match &closing.callback {
        Some(text) => Some(rooms.intake.callback(text).await.map_err(refused)?),
        None => None,
    };
    let expect = closing.expect.map(|expect| expect.get().into());
    let closed = rooms.store.close_group(&tenant, &name, expect, callback.as_ref(), rooms.clock.now()).await;
    match closed.map_err(unavailable)? {
        Closed::Yes(group) => {
            if group.state == GroupState::Announced {
                rooms.settled.deliver.wake();
            }
            json(StatusCode::OK, &group)
        }
        Closed::Unknown => Err(ApiError::no_such_group()),
        Closed::TooMany(members) => {
            let message = format!("expect must be at least {members}: the group has so many members already");
            Err(ApiError::invalid_body(message))
        }
    }
}

/// What a call is told of its header is told of the member of a body here.
fn refused(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::InvalidHeader { allowed, .. } => {
            ApiError::invalid_body(format!("callback does not parse; allowed: {allowed}"))
        }
        other => other.into(),
    }
}

/// The group of this name; for an operator, the one that there is.
async fn find(rooms: &Rooms, scope: &Scope, name: &str) -> Result<Group, ApiError> {
    let mut groups = rooms.store.groups(name, scope).await.map_err(unavailable)?;
    match (groups.pop(), groups.is_empty()) {
        (Some(group), true) => Ok(group),
        (Some(_), false) => Err(ApiError::ambiguous_group()),
        (None, _) => Err(ApiError::no_such_group()),
    }
}

impl Closing {
    async fn read(body: Body) -> Result<Self, ApiError> {
        Self::parse(&messages::read(body, CLOSING_MAX).await?)
    }

    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        // An object alone: the deserializer would take a list for the fields in their order.
        let is_object = body.trim_ascii_start().starts_with(b"{");
        let read = is_object.then(|| serde_json::from_slice(body).ok()).flatten();
        read.ok_or_else(|| {
            ApiError::invalid_body(format!(
                "the body must be empty, or a JSON object with nothing but callback (an https URL, or the name of a \
                 receiver) and expect (how many members there will be, an integer from 1 to {})",
                u32::MAX
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closing_is_read_strictly() {
        let parse = |text: &str| Closing::parse(text.as_bytes()).ok().map(|it| (it.callback, it.expect.map(u32::from)));
        for nothing in ["", " \n", "{}", r#"{"callback":null,"expect":null}"#] {
            assert_eq!(parse(nothing), Some((None, None)), "{nothing}");
        }
        assert_eq!(parse(r#"{"expect":3,"callback":"warehouse"}"#), Some((Some("warehouse".to_owned()), Some(3))));
        for wrong in [
            "null",
            "[]",
            r#"["warehouse",3]"#,
            "3",
            "{",
            r#"{"expect":0}"#,
            r#"{"expect":-1}"#,
            r#"{"expect":1.0}"#,
            r#"{"expect":"3"}"#,
            r#"{"expect":4294967296}"#,
            r#"{"expect":1,"expect":1}"#,
            r#"{"callback":7}"#,
            r#"{"callbck":"x"}"#,
            r#"{"expect":3} {}"#,
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
