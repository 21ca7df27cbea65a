//! Recorded calls, for export: a line of JSON for each, in the order of their arrival, which `offpeak inventory --import`
//! reads back.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;
use http::Uri;
use http::header::CONTENT_TYPE;

use crate::http::Rooms;
use crate::http::deferrals::unavailable;
use crate::http::error::ApiError;
use crate::http::feed::JSON_LINES;
use crate::http::query;
use crate::inventory::import::line;
use crate::store::{RecordCursor, RecordPage, Store, StoreError, WorkloadFilter};
use crate::telemetry::chain;

/// Calls that are read at a time: half a megabyte of text.
const AT_ONCE: u32 = 1_000;

/// Workloads whose prompts' beginnings go along with their calls.
const WORKLOADS_MAX: u32 = 10_000;

/// Why an answer breaks off.
#[derive(Debug, thiserror::Error)]
enum BreakOff {
    #[error("recorded calls were not read")]
    Unread(#[from] StoreError),
    #[error("a recorded call cannot be shown")]
    Unshown(#[from] serde_json::Error),
}

/// `GET /api/calls`
pub(super) async fn export(State(rooms): State<Rooms>, uri: Uri) -> Result<Response, ApiError> {
    let since = rooms.clock.now().minus(query::since(&uri)?.unwrap_or(query::SINCE_DEFAULT));
    let filter = WorkloadFilter { since, ..WorkloadFilter::default() };
    let workloads = rooms.store.workloads(&filter, WORKLOADS_MAX).await.map_err(unavailable)?;
    let beginnings = workloads.into_iter().filter_map(|one| Some((one.name, one.preview?))).collect();
    let export = Export { store: rooms.store.clone(), beginnings: Arc::new(beginnings) };
    // The first page tells whether there will be any.
    let first = export.store.records(None, RecordCursor::before(since), AT_ONCE).await.map_err(unavailable)?;
    let mut response = Response::new(export.body(first));
    response.headers_mut().insert(CONTENT_TYPE, JSON_LINES);
    Ok(response)
}

#[derive(Clone)]
struct Export {
    store: Store,
    /// How the system prompts of workloads begin.
    beginnings: Arc<HashMap<String, String>>,
}

/// What an answer goes on with.
enum Next {
    Page(RecordPage),
    After(RecordCursor),
    Nothing,
}

impl Export {
    /// A body that reads each page when the one before it has been taken.
    fn body(self, first: RecordPage) -> Body {
        Body::from_stream(stream::try_unfold(Next::Page(first), move |next| {
            let export = self.clone();
            async move {
                let turned = export.turn(next).await;
                turned.inspect_err(|error| tracing::error!(error = %chain(error), "an export broke off"))
            }
        }))
    }

    async fn turn(&self, next: Next) -> Result<Option<(Bytes, Next)>, BreakOff> {
        let page = match next {
            Next::Page(page) => page,
            Next::After(after) => self.store.records(None, after, AT_ONCE).await?,
            Next::Nothing => return Ok(None),
        };
        let mut text = String::new();
        for call in &page.records {
            text.push_str(&line(call, self.beginnings.get(&call.workload).map(String::as_str))?);
            text.push('\n');
        }
        Ok(Some((text.into(), page.next.map_or(Next::Nothing, Next::After))))
    }
}
