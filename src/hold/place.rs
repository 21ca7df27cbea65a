//! Places: the connections that are held, how many there are, and how each ends.

use crate::clock::Timestamp;
use crate::metrics::Metrics;
use crate::store::Presence;

/// What a held caller gets in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON text.
    Json,
    /// A stream of events.
    Events,
}

/// How a hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the result, whatever it is.
    Answer,
    /// With the ticket.
    Ticket,
    /// With an event that says where the result will be.
    TimeOver,
    /// Without a word, so that the caller asks again.
    Cut,
    /// The caller has gone.
    Left,
}

/// The place of one held caller; dropped without another end, it was left.
pub struct Place {
    metrics: Metrics,
    form: Form,
    /// Gone once the answer is handed over.
    presence: Option<Presence>,
    end: End,
}

impl Place {
    /// Takes a place.
    pub(super) fn take(metrics: &Metrics, form: Form, presence: Presence) -> Self {
        metrics.hold_began(form.as_str());
        Self { metrics: metrics.clone(), form, presence: Some(presence), end: End::Left }
    }

    /// The caller has all that it gets.
    pub fn served(&mut self, end: End) {
        self.end = end;
        if let Some(presence) = self.presence.take() {
            presence.served();
        }
    }

    /// The caller will be cut off. It counts as gone, so that what it sends again attaches to what it waited for: also
    /// where that was canceled at `completed_at`, which it has not heard.
    pub fn cut(&mut self, completed_at: Option<Timestamp>) {
        self.end = End::Cut;
        if let (Some(presence), Some(completed_at)) = (&mut self.presence, completed_at) {
            presence.untold(completed_at);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.hold_ended(self.form.as_str(), self.end.as_str());
    }
}

impl Form {
    fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Events => "events",
        }
    }
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Ticket => "ticket",
            Self::TimeOver => "time-over",
            Self::Cut => "cut",
            Self::Left => "left",
        }
    }
}
