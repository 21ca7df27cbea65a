//! Deferrals: our durable promise for one call, and how it is shown.

use serde::ser::{Error, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::domain::error_type;
use crate::domain::id::DeferralId;
use crate::domain::money::NanoUsd;

/// Where a deferral stands. The last four are final and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum State {
    /// Waits to be put into a batch.
    Queued,
    /// Is in a batch.
    Batched,
    /// Is being sent live.
    Rescuing,
    /// Has a Message.
    Succeeded,
    /// Has an error that trying again will not mend.
    Failed,
    /// Had no result by its deadline.
    Expired,
    /// Was canceled by its caller.
    Canceled,
}

impl State {
    /// Every state, in the order of a deferral's life.
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::Batched, Self::Rescuing, Self::Succeeded, Self::Failed, Self::Expired, Self::Canceled];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Batched => "batched",
            Self::Rescuing => "rescuing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Canceled => "canceled",
        }
    }

    /// Reads the word for it.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether nothing will change it any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Expired | Self::Canceled)
    }
}

/// What becomes of a call without a result when its deadline comes near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDeadline {
    /// It is sent live.
    Live,
    /// It goes on waiting for its batch.
    Wait,
    /// It expires.
    Expire,
}

/// Who gave the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum ServedBy {
    /// A batch, at half the price.
    Batch,
    /// The live API.
    Live,
}

/// What came back for a call, as the live API would have given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body's own text: a Message, or an error envelope.
    pub body: String,
}

impl Answer {
    /// What the caller of an expired deferral gets.
    pub fn expired(id: DeferralId) -> Self {
        let message = "no batch had a result for this call before its deadline";
        Self { status: 504, body: error_type::envelope("timeout_error", message, &id.to_string()) }
    }

    /// What the caller of a canceled deferral gets.
    pub fn canceled(id: DeferralId) -> Self {
        let message = "this deferral was canceled before it had a result";
        Self { status: 410, body: error_type::envelope("invalid_request_error", message, &id.to_string()) }
    }
}

/// What a deferral cost beside what it would have cost live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// What was paid, for everything that came back.
    pub paid: NanoUsd,
    /// What the same answer costs live.
    pub live_price: NanoUsd,
    /// The part of `paid` that went for an answer which came when there was one already.
    pub paid_twice: NanoUsd,
}

impl Cost {
    /// The cost of an answer without a second one.
    pub fn once(paid: NanoUsd, live_price: NanoUsd) -> Self {
        Self { paid, live_price, paid_twice: NanoUsd(0) }
    }
}

/// A deferral as its caller sees it.
#[derive(Clone, Debug)]
pub struct Deferral {
    /// Its id, the ticket.
    pub id: DeferralId,
    /// Whose it is; nobody else can see it.
    pub tenant: String,
    /// Where it stands.
    pub state: State,
    /// The model that the call asks for.
    pub model: String,
    /// The workload that the caller named.
    pub workload: Option<String>,
    /// The caller's own reference.
    pub reference: Option<String>,
    /// The group that it belongs to.
    pub group: Option<String>,
    /// When it was made durable.
    pub created_at: Timestamp,
    /// When the result is wanted.
    pub deadline: Timestamp,
    /// When it became final.
    pub completed_at: Option<Timestamp>,
    /// Whether its caller has asked to cancel it.
    pub cancel_requested: bool,
    /// The provider's id of the batch that it is or was last in.
    pub provider_batch_id: Option<String>,
    /// How often it was submitted.
    pub attempts: u32,
    /// Who gave the result.
    pub served_by: Option<ServedBy>,
    /// The result.
    pub answer: Option<Answer>,
    /// What it cost, where the model has a known price.
    pub cost: Option<Cost>,
    /// Its submissions, if they were asked for.
    pub history: Option<Vec<Attempt>>,
}

/// One submission of a deferral.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// Which it was, from 1.
    pub number: u32,
    /// Whether it went into a batch or live.
    pub served_by: &'static str,
    /// The provider's id of the batch.
    pub batch_id: Option<String>,
    /// What it came to; for the last one, where the deferral stands.
    pub outcome: String,
    /// The provider's error type, where there is one.
    pub error_type: Option<String>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Serialize for Deferral {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = |wanted: bool| match &self.answer {
            Some(answer) if wanted => {
                serde_json::from_str::<&RawValue>(&answer.body).map(Some).map_err(S::Error::custom)
            }
            _ => Ok(None),
        };
        let succeeded = self.state == State::Succeeded;
        let mut object = serializer.serialize_struct("Deferral", 19)?;
        object.serialize_field("type", "deferral")?;
        object.serialize_field("id", &self.id)?;
        object.serialize_field("status", self.state.as_str())?;
        object.serialize_field("model", &self.model)?;
        object.serialize_field("workload", &self.workload)?;
        object.serialize_field("ref", &self.reference)?;
        object.serialize_field("group", &self.group)?;
        object.serialize_field("created_at", &self.created_at)?;
        object.serialize_field("deadline", &self.deadline)?;
        object.serialize_field("completed_at", &self.completed_at)?;
        object.serialize_field("cancel_requested", &self.cancel_requested)?;
        object.serialize_field("batch_id", &self.provider_batch_id)?;
        object.serialize_field("attempts", &self.attempts)?;
        object.serialize_field(
            "served_by",
            &self.served_by.map(|by| match by {
                ServedBy::Batch => "batch",
                ServedBy::Live => "live",
            }),
        )?;
        object.serialize_field("message", &raw(succeeded)?)?;
        object.serialize_field("error", &raw(!succeeded)?)?;
        object.serialize_field("cost", &self.cost)?;
        if let Some(history) = &self.history {
            object.serialize_field("history", history)?;
        }
        object.end()
    }
}

impl Serialize for Cost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Cost", 4)?;
        object.serialize_field("currency", "USD")?;
        object.serialize_field("paid", &self.paid)?;
        object.serialize_field("live_price", &self.live_price)?;
        if self.paid_twice != NanoUsd(0) {
            object.serialize_field("paid_twice", &self.paid_twice)?;
        }
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deferral() -> Deferral {
        Deferral {
            id: DeferralId(uuid::Uuid::nil()),
            tenant: "t".into(),
            state: State::Queued,
            model: "m".into(),
            workload: None,
            reference: None,
            group: None,
            created_at: Timestamp::from_millis(0),
            deadline: Timestamp::from_millis(1),
            completed_at: None,
            cancel_requested: false,
            provider_batch_id: None,
            attempts: 0,
            served_by: None,
            answer: None,
            cost: None,
            history: None,
        }
    }

    #[test]
    fn a_queued_deferral_is_shown_whole() {
        insta::assert_snapshot!(serde_json::to_string(&deferral()).unwrap(), @r#"{"type":"deferral","id":"dfr_00000000000000000000000000000000","status":"queued","model":"m","workload":null,"ref":null,"group":null,"created_at":"1970-01-01T00:00:00.000Z","deadline":"1970-01-01T00:00:00.001Z","completed_at":null,"cancel_requested":false,"batch_id":null,"attempts":0,"served_by":null,"message":null,"error":null,"cost":null}"#);
    }

    #[test]
    fn an_answer_is_shown_in_its_own_text() {
        let body = r#"{ "a": 1.0, "a":1e5 }"#.to_owned();
        let cost = Some(Cost::once(NanoUsd(12_300_000), NanoUsd(24_600_000)));
        let done = Deferral { state: State::Succeeded, answer: Some(Answer { status: 200, body }), cost, ..deferral() };
        let shown = serde_json::to_string(&done).unwrap();
        assert!(shown.contains(r#""message":{ "a": 1.0, "a":1e5 },"error":null"#), "{shown}");
        assert!(shown.ends_with(r#""cost":{"currency":"USD","paid":0.0123,"live_price":0.0246}}"#), "{shown}");
    }

    #[test]
    fn states_read_back() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(State::parse("Queued"), None);
    }
}
