//! Ids: UUIDv7, so that they sort by the time they were made.

use std::fmt;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::clock::Timestamp;

const DEFERRAL_PREFIX: &str = "dfr_";
const DELIVERY_PREFIX: &str = "dlv_";

/// A UUIDv7 begins with its milliseconds, in 48 of its 128 bits.
const MILLIS_SHIFT: u32 = 80;

/// The id of a deferral, which is also its ticket and its `custom_id` in a batch: `dfr_` and 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct DeferralId(pub Uuid);

impl DeferralId {
    /// A new id that sorts after those of earlier milliseconds.
    pub fn new(now: Timestamp) -> Self {
        Self(new_v7(now))
    }

    /// The lowest of the ids that are made from `at` on.
    pub fn first_at(at: Timestamp) -> Self {
        Self(Uuid::from_u128(u128::from(millis(at)) << MILLIS_SHIFT))
    }

    /// When it was made.
    pub fn made_at(self) -> Timestamp {
        let millis = self.0.as_u128() >> MILLIS_SHIFT;
        Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    /// Reads an id as [`fmt::Display`] writes it, and no other form of the same number.
    pub fn parse(text: &str) -> Option<Self> {
        parse(text, DEFERRAL_PREFIX).map(Self)
    }
}

impl fmt::Display for DeferralId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DEFERRAL_PREFIX}{}", self.0.simple())
    }
}

impl Serialize for DeferralId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The id of a delivery, which is the `webhook-id` of all its attempts: `dlv_` and 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct DeliveryId(pub Uuid);

impl DeliveryId {
    /// A new id that sorts after those of earlier milliseconds.
    pub fn new(now: Timestamp) -> Self {
        Self(new_v7(now))
    }

    /// Reads an id as [`fmt::Display`] writes it, and no other form of the same number.
    pub fn parse(text: &str) -> Option<Self> {
        parse(text, DELIVERY_PREFIX).map(Self)
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DELIVERY_PREFIX}{}", self.0.simple())
    }
}

impl Serialize for DeliveryId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Our own id of a batch, given before the provider has one for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct BatchId(pub Uuid);

impl BatchId {
    /// A new id that sorts after those of earlier milliseconds.
    pub fn new(now: Timestamp) -> Self {
        Self(new_v7(now))
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl Serialize for BatchId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Who holds leases: one running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct ReplicaId(pub Uuid);

impl ReplicaId {
    /// A new id for a process that starts now.
    pub fn new(now: Timestamp) -> Self {
        Self(new_v7(now))
    }
}

fn parse(text: &str, prefix: &str) -> Option<Uuid> {
    let hex = text.strip_prefix(prefix)?;
    let canonical = hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    canonical.then(|| Uuid::try_parse(hex).ok())?
}

fn new_v7(now: Timestamp) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(millis(now), &rand::random()).into_uuid()
}

fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_reads_back_and_sorts_by_time() {
        let first = DeferralId::new(Timestamp::from_millis(1_000));
        let second = DeferralId::new(Timestamp::from_millis(1_001));
        assert!(first < second && first.to_string() < second.to_string());
        assert_eq!(DeferralId::parse(&first.to_string()), Some(first));
        assert_eq!(first.to_string().len(), 36);
        assert_eq!(first.0.get_version_num(), 7);
    }

    #[test]
    fn an_id_says_when_it_was_made() {
        let at = Timestamp::from_millis(1_800_000_000_123);
        let id = DeferralId::new(at);
        assert_eq!(id.made_at(), at);
        assert!(DeferralId::first_at(at) <= id && id < DeferralId::first_at(Timestamp::from_millis(1_800_000_000_124)));
    }

    #[test]
    fn only_the_written_form_is_an_id() {
        let id = DeferralId::new(Timestamp::from_millis(1)).to_string();
        for wrong in ["", "dfr_", &id[4..], &id.to_uppercase(), &format!("{id}0"), &id.replace("dfr_", "msg_")] {
            assert_eq!(DeferralId::parse(wrong), None, "{wrong}");
        }
    }
}
