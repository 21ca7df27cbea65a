//! Groups: deferrals of one job, announced together when all are final.

use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

use crate::clock::Timestamp;
use crate::domain::deferral::{Cost, State};

/// The longest name of a group or workload, in characters.
pub const NAME_MAX: usize = 64;

/// Whether a group or workload may have this name.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum GroupState {
    /// It takes members.
    Open,
    /// It takes no more, or only up to the number that is expected.
    Closed,
    /// All of its members were final, and that was told.
    Announced,
}

impl GroupState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Announced => "announced",
        }
    }
}

/// A group as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Whose it is; names of different tenants have nothing to do with each other.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: GroupState,
    /// How many members it will have, if whoever closed it said so.
    pub expect: Option<u64>,
    /// Members by state.
    pub counts: Counts,
    /// When the first of them became final.
    pub first_completed_at: Option<Timestamp>,
    /// When the last of them did, so far.
    pub last_completed_at: Option<Timestamp>,
    /// What the members cost whose model has a known price.
    pub cost: Cost,
}

/// How many members a group has in each state, in the order of [`State::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub [u64; State::ALL.len()]);

impl Counts {
    /// All members.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(State::ALL.len()))?;
        for (state, count) in State::ALL.iter().zip(self.0) {
            object.serialize_entry(state.as_str(), &count)?;
        }
        object.end()
    }
}

impl Serialize for Group {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Group", 8)?;
        object.serialize_field("type", "group")?;
        object.serialize_field("name", &self.name)?;
        object.serialize_field("status", self.state.as_str())?;
        object.serialize_field("expect", &self.expect)?;
        object.serialize_field("counts", &self.counts)?;
        object.serialize_field("first_completed_at", &self.first_completed_at)?;
        object.serialize_field("last_completed_at", &self.last_completed_at)?;
        object.serialize_field("cost", &self.cost)?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::NanoUsd;

    #[test]
    fn a_group_is_shown_as_agreed() {
        let group = Group {
            tenant: "somebody".into(),
            name: "nightly".into(),
            state: GroupState::Closed,
            expect: Some(3),
            counts: Counts([1, 0, 0, 2, 0, 0, 0]),
            first_completed_at: Some(Timestamp::from_millis(0)),
            last_completed_at: None,
            cost: Cost::once(NanoUsd(5_000_000), NanoUsd(10_000_000)),
        };
        insta::assert_snapshot!(serde_json::to_string(&group).unwrap(), @r#"{"type":"group","name":"nightly","status":"closed","expect":3,"counts":{"queued":1,"batched":0,"rescuing":0,"succeeded":2,"failed":0,"expired":0,"canceled":0},"first_completed_at":"1970-01-01T00:00:00.000Z","last_completed_at":null,"cost":{"currency":"USD","paid":0.005,"live_price":0.01}}"#);
    }
}
