//! Deliveries: one event on its way to one receiver, with its attempts.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::clock::Timestamp;
use crate::domain::callback::Callback;
use crate::domain::id::{DeferralId, DeliveryId};

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum DeliveryState {
    /// It is to be tried, now or later.
    Due,
    /// The receiver has it.
    Delivered,
    /// It was tried often enough; it is kept, and can be replayed.
    Dead,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Due, Self::Delivered, Self::Dead];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    /// Reads the word for it.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A deferral that is final.
    Deferral(DeferralId),
    /// A group whose members all are, by its name.
    Group(String),
}

/// A delivery as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its id, the `webhook-id` of every attempt.
    pub id: DeliveryId,
    /// Whose event it is.
    pub tenant: String,
    /// The event's type, such as `deferral.succeeded`.
    pub event: String,
    /// What it is about.
    pub subject: Subject,
    /// Where it goes.
    pub callback: Callback,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts since it was made or replayed.
    pub attempts: u32,
    /// When it is next tried.
    pub due_at: Timestamp,
    /// When the event came about.
    pub created_at: Timestamp,
    /// When it was delivered, or given up.
    pub ended_at: Option<Timestamp>,
    /// What became of the last attempt.
    pub last_attempt: Option<DeliveryAttempt>,
    /// What became of all of them, if that was asked for.
    pub history: Option<Vec<DeliveryAttempt>>,
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeliveryAttempt {
    /// Which it was, from 1; replays count on.
    pub number: u32,
    /// The receiver's HTTP status, if it answered.
    pub status: Option<u16>,
    /// Why there was no answer, in a word.
    pub failure: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl Serialize for Delivery {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (deferral, group) = match &self.subject {
            Subject::Deferral(id) => (Some(id), None),
            Subject::Group(name) => (None, Some(name)),
        };
        let is_due = self.state == DeliveryState::Due;
        let mut object = serializer.serialize_struct("Delivery", 14)?;
        object.serialize_field("type", "delivery")?;
        object.serialize_field("id", &self.id)?;
        object.serialize_field("event", &self.event)?;
        object.serialize_field("status", self.state.as_str())?;
        // The origin alone: what follows it in a caller's URL may be a secret of theirs.
        object.serialize_field("receiver", &self.callback.receiver)?;
        object.serialize_field("tenant", &self.tenant)?;
        object.serialize_field("deferral_id", &deferral)?;
        object.serialize_field("group", &group)?;
        object.serialize_field("attempts", &self.attempts)?;
        object.serialize_field("created_at", &self.created_at)?;
        object.serialize_field("due_at", &is_due.then_some(self.due_at))?;
        object.serialize_field("ended_at", &self.ended_at)?;
        object.serialize_field("last_attempt", &self.last_attempt)?;
        if let Some(history) = &self.history {
            object.serialize_field("history", history)?;
        }
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_shown_without_more_of_the_url_than_its_origin() {
        let failed = DeliveryAttempt {
            number: 2,
            status: None,
            failure: Some("timeout".into()),
            started_at: Timestamp::from_millis(0),
            duration_ms: 15_000,
        };
        let delivery = Delivery {
            id: DeliveryId(uuid::Uuid::nil()),
            tenant: "somebody".into(),
            event: "deferral.failed".into(),
            subject: Subject::Deferral(DeferralId(uuid::Uuid::nil())),
            callback: Callback::url("https://a.example", "https://a.example/hook?token=s3cret"),
            state: DeliveryState::Due,
            attempts: 1,
            due_at: Timestamp::from_millis(1),
            created_at: Timestamp::from_millis(0),
            ended_at: None,
            last_attempt: Some(failed),
            history: None,
        };
        insta::assert_snapshot!(serde_json::to_string(&delivery).unwrap(), @r#"{"type":"delivery","id":"dlv_00000000000000000000000000000000","event":"deferral.failed","status":"due","receiver":"https://a.example","tenant":"somebody","deferral_id":"dfr_00000000000000000000000000000000","group":null,"attempts":1,"created_at":"1970-01-01T00:00:00.000Z","due_at":"1970-01-01T00:00:00.001Z","ended_at":null,"last_attempt":{"number":2,"status":null,"failure":"timeout","started_at":"1970-01-01T00:00:00.000Z","duration_ms":15000}}"#);
    }

    #[test]
    fn states_read_back() {
        for state in DeliveryState::ALL {
            assert_eq!(DeliveryState::parse(state.as_str()), Some(state));
        }
        assert_eq!(DeliveryState::parse("Due"), None);
    }
}
