//! Held answers: a caller gets what the live API would have given, only later, on the connection that asked for it.

mod body;
mod events;

use std::pin::Pin;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::time::sleep;

use crate::domain::deferral::{Answer, Deferral, State};
use crate::domain::id::DeferralId;
use crate::hold::{Asked, End, Form, Place, Waited, Waiting, Way};
use crate::http::Rooms;
use crate::http::answer::{json, name_request, raw_json, result};
use crate::http::error::ApiError;
use crate::http::socket::Interim;
use crate::intake::Admitted;

use body::HeldBody;

/// The header that names the deferral whose answer is held.
const DEFERRAL_ID: HeaderName = HeaderName::from_static("x-defer-id");

/// An answer that is being made; no larger than what its way needs.
type Answering<'a> = Pin<Box<dyn Future<Output = Response> + Send + 'a>>;

/// Answers a call that has been admitted: with the ticket, or with the result once it is there.
pub(super) fn answer(rooms: &Rooms, admitted: Admitted, interim: Option<Interim>) -> Answering<'_> {
    let Admitted { deferral, wait, knows_tickets, stream, is_retry, presence } = admitted;
    let Deferral { created_at, deadline, .. } = deferral;
    let asked = Asked { wait, stream, is_retry, created_at, deadline, can_interim: interim.is_some() };
    let way = Way::of(asked, rooms.hold.settings(), rooms.clock.now());
    let id = deferral.id;
    match way {
        Way::Ticket => {
            presence.served();
            let ticket = ticket(rooms, &deferral);
            Box::pin(async { ticket })
        }
        Way::Events(limit) if !has_failed(&deferral) => {
            let place = rooms.hold.place(Form::Events, presence);
            let (waiting, periods) = (rooms.hold.wait(deferral, limit), &rooms.hold.settings().periods);
            let events = event_stream(HeldBody::kept_alive(Form::Events, id, waiting, place, periods));
            Box::pin(async move { naming(events, id) })
        }
        Way::Silent(limit) | Way::Blanks(limit) | Way::Interim(limit) | Way::Events(limit) => {
            let held = Held { rooms, id, place: rooms.hold.place(Form::Json, presence), knows_tickets };
            let waiting = rooms.hold.wait(deferral, limit);
            match (way, interim) {
                (Way::Blanks(_), _) => Box::pin(held.with_blanks(waiting)),
                (Way::Interim(_), Some(interim)) => Box::pin(held.with_interim(waiting, interim)),
                _ => Box::pin(held.in_silence(waiting)),
            }
        }
    }
}

/// Whether there is a result already, and it is no Message: then a stream need not begin only to break off.
fn has_failed(deferral: &Deferral) -> bool {
    deferral.state.is_final() && deferral.state != State::Succeeded
}

/// A caller who waits for one JSON text, of which no byte was sent yet.
struct Held<'a> {
    rooms: &'a Rooms,
    id: DeferralId,
    place: Place,
    knows_tickets: bool,
}

impl Held<'_> {
    /// Keeps the caller waiting with nothing.
    async fn in_silence(self, waiting: Waiting) -> Response {
        self.ended(waiting.await)
    }

    /// Keeps the caller waiting with blanks, unless the result comes soon.
    async fn with_blanks(self, mut waiting: Waiting) -> Response {
        let periods = &self.rooms.hold.settings().periods;
        tokio::select! {
            biased;
            waited = &mut waiting => self.ended(waited),
            () = sleep(periods.silent_first) => {
                let body = HeldBody::kept_alive(Form::Json, self.id, waiting, self.place, periods);
                naming(raw_json(StatusCode::OK, Body::new(body)), self.id)
            }
        }
    }

    /// Keeps the caller waiting with interim answers.
    async fn with_interim(self, mut waiting: Waiting, interim: Interim) -> Response {
        loop {
            tokio::select! {
                biased;
                waited = &mut waiting => return self.ended(waited),
                () = sleep(self.rooms.hold.settings().periods.blank_every) => interim.send(),
            }
        }
    }

    /// The true answer, since nothing was sent before it.
    fn ended(mut self, waited: Waited) -> Response {
        let id = self.id;
        let answer = match waited {
            Waited::Final(Deferral { answer: Some(Answer { status, body }), .. }) => {
                let body = HeldBody::whole(Bytes::from(body), self.place);
                result(id, status, Body::new(body))
            }
            Waited::Ending(_) if !self.knows_tickets => return self.let_go(ApiError::ending()),
            Waited::Final(_) | Waited::TimeOver(_) if !self.knows_tickets => {
                return self.let_go(ApiError::not_in_time());
            }
            Waited::Final(deferral) | Waited::TimeOver(deferral) | Waited::Ending(deferral) => {
                self.place.served(End::Ticket);
                ticket(self.rooms, &deferral)
            }
            Waited::Gone => {
                self.place.served(End::Answer);
                return ApiError::not_found().response();
            }
        };
        naming(answer, id)
    }

    /// Sends a caller away who would take a ticket for the Message: with an error after which its client asks again, and
    /// attaches to what it waited for.
    fn let_go(mut self, error: ApiError) -> Response {
        self.place.cut(None);
        let mut answer = error.response();
        if let Ok(id) = HeaderValue::from_str(&self.id.to_string()) {
            answer.headers_mut().insert(DEFERRAL_ID, id);
        }
        answer
    }
}

/// Lets an answer name the deferral.
fn naming(mut answer: Response, id: DeferralId) -> Response {
    name_request(&mut answer, id);
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        answer.headers_mut().insert(DEFERRAL_ID, id);
    }
    answer
}

fn event_stream(body: HeldBody) -> Response {
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The answer that carries the id.
fn ticket(rooms: &Rooms, deferral: &Deferral) -> Response {
    let mut response = match json(StatusCode::ACCEPTED, deferral) {
        Ok(response) => response,
        Err(error) => return error.response(),
    };
    name_request(&mut response, deferral.id);
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, rooms.intake.retry_after_seconds().into());
    if let Ok(location) = HeaderValue::from_str(&format!("/deferred/{}", deferral.id)) {
        headers.insert(LOCATION, location);
    }
    response
}
