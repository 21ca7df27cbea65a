//! The results feed: whatever becomes final, in that order, a line of JSON for each.
//!
//! Where an answer ends is known before its first byte, and said in its head: to whoever has read it whole, that is where
//! to go on. What becomes final meanwhile comes with the next one.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Uri};
use serde::Serialize;

use crate::domain::deferral::Deferral;
use crate::http::Rooms;
use crate::http::caller::Caller;
use crate::http::cursor::Cursor;
use crate::http::deferrals::unavailable;
use crate::http::error::ApiError;
use crate::http::query::FeedQuery;
use crate::store::{FeedPage, Position, Scope, Store, StoreError};
use crate::telemetry::chain;

/// The content type that the provider gives to lines of JSON.
pub(super) const JSON_LINES: HeaderValue = HeaderValue::from_static("application/x-jsonl");

/// The header that says where to go on.
const CURSOR: HeaderName = HeaderName::from_static("x-defer-cursor");

/// What stands in a line beside the answer takes about so many bytes.
const BESIDE_BYTES: usize = 600;

/// `GET /deferred/results`
pub(super) async fn follow(State(rooms): State<Rooms>, Caller(scope): Caller, uri: Uri) -> Result<Response, ApiError> {
    let asked = FeedQuery::read(&uri)?;
    let feed = Feed { store: rooms.store.clone(), scope };
    let stretch = if asked.wait.is_zero() {
        feed.look(asked.after, asked.limit).await?
    } else {
        feed.wait(&rooms, &asked).await?
    };
    let cursor = Cursor(stretch.last).to_string();
    let body = if stretch.first.lines.is_empty() { Body::empty() } else { feed.body(stretch) };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, JSON_LINES);
    if let Ok(cursor) = HeaderValue::from_str(&cursor) {
        response.headers_mut().insert(CURSOR, cursor);
    }
    Ok(response)
}

/// The feed of whoever asks.
#[derive(Clone)]
struct Feed {
    store: Store,
    scope: Scope,
}

/// What one answer holds.
struct Stretch {
    /// Its first page; empty only if there is nothing at all.
    first: FeedPage,
    /// Its end.
    last: Position,
}

/// What an answer goes on with.
enum Next {
    Page(FeedPage),
    After(Position),
    Nothing,
}

/// Why an answer breaks off.
#[derive(Debug, thiserror::Error)]
enum BreakOff {
    #[error("a page of the feed was not read")]
    Unread(#[from] StoreError),
    #[error("an answer cannot be shown")]
    Unshown(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct Line<'a> {
    cursor: Cursor,
    deferral: &'a Deferral,
}

impl Feed {
    /// What there is as soon as there is anything, or nothing when the wait is over.
    async fn wait(&self, rooms: &Rooms, asked: &FeedQuery) -> Result<Stretch, ApiError> {
        let listener = rooms.hold.listen(&self.scope);
        let mut over = std::pin::pin!(tokio::time::sleep(asked.wait));
        let mut after = asked.after;
        loop {
            // Listening begins before looking, so that no ring falls between.
            let rung = listener.rung();
            let stretch = self.look(after, asked.limit).await?;
            if !stretch.first.lines.is_empty() {
                return Ok(stretch);
            }
            tokio::select! {
                () = rung => {}
                () = &mut over => return Ok(stretch),
                () = rooms.hold.lets_go() => return Ok(stretch),
            }
            after = stretch.last;
        }
    }

    /// At most `limit` lines behind a place.
    async fn look(&self, mut after: Position, limit: u32) -> Result<Stretch, ApiError> {
        loop {
            let Some(last) = self.store.feed_reach(&self.scope, after, limit).await.map_err(unavailable)? else {
                // A database that was put back to an earlier state gives out the same places anew.
                if self.store.feed_end().await.map_err(unavailable)? < after {
                    return Err(ApiError::invalid_query("after is no cursor of this feed: leave it out to begin anew"));
                }
                return Ok(Stretch { first: FeedPage { lines: Vec::new(), end: after }, last: after });
            };
            let first = self.store.feed_page(&self.scope, after, last).await.map_err(unavailable)?;
            if !first.lines.is_empty() {
                return Ok(Stretch { first, last });
            }
            // All of these are forgotten by now.
            after = first.end;
        }
    }

    /// A body that reads each page when the one before it has been taken.
    fn body(self, Stretch { first, last }: Stretch) -> Body {
        Body::from_stream(stream::try_unfold(Next::Page(first), move |next| {
            let feed = self.clone();
            async move {
                let turned = feed.turn(next, last).await;
                turned.inspect_err(|error| tracing::error!(error = %chain(error), "a feed broke off"))
            }
        }))
    }

    async fn turn(&self, next: Next, last: Position) -> Result<Option<(Bytes, Next)>, BreakOff> {
        let page = match next {
            Next::Page(page) => page,
            Next::After(after) => self.store.feed_page(&self.scope, after, last).await?,
            Next::Nothing => return Ok(None),
        };
        let next = if page.end < last { Next::After(page.end) } else { Next::Nothing };
        Ok(Some((lines(page)?, next)))
    }
}

/// A page as text.
fn lines(page: FeedPage) -> Result<Bytes, serde_json::Error> {
    let answers = page.lines.iter().filter_map(|(_, deferral)| deferral.answer.as_ref());
    let mut text = Vec::with_capacity(page.lines.len() * BESIDE_BYTES + answers.map(|it| it.body.len()).sum::<usize>());
    for (position, deferral) in page.lines {
        let start = text.len();
        serde_json::to_writer(&mut text, &Line { cursor: Cursor(position), deferral: &deferral })?;
        // The provider's own text may be broken into lines; outside of strings, where JSON has none, these are space.
        for byte in text[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
        text.push(b'\n');
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::domain::deferral::{Answer, ServedBy, State as Stands};
    use crate::domain::id::DeferralId;

    #[test]
    fn a_line_is_one_line_whatever_the_provider_wrote() {
        let body = "{\r\n  \"text\": \"a\\nb\u{2028}\",\n\t\"n\": 1.0\n}\n".to_owned();
        let deferral = Deferral {
            id: DeferralId(uuid::Uuid::nil()),
            tenant: "t".into(),
            state: Stands::Succeeded,
            model: "m".into(),
            workload: None,
            reference: None,
            group: None,
            created_at: Timestamp::from_millis(0),
            deadline: Timestamp::from_millis(1),
            completed_at: Some(Timestamp::from_millis(1)),
            cancel_requested: false,
            provider_batch_id: None,
            attempts: 1,
            served_by: Some(ServedBy::Live),
            answer: Some(Answer { status: 200, body }),
            cost: None,
            history: None,
        };
        let end = Position(2);
        let page = FeedPage { lines: vec![(Position(1), deferral.clone()), (end, deferral)], end };
        let text = lines(page).unwrap();
        let text = std::str::from_utf8(&text).unwrap();
        assert_eq!((text.matches('\n').count(), text.matches('\r').count()), (2, 0));
        let read: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read[1]["cursor"], "cur_0000000000000002");
        assert_eq!(read[1]["deferral"]["message"]["text"], "a\nb\u{2028}");
        assert!(text.contains("\"message\":{    \"text\": \"a\\nb\u{2028}\", \t\"n\": 1.0 },\"error\":null"), "{text}");
    }
}
