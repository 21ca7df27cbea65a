//! Workloads: streams of calls that do one job, and how one is told from another.

use std::fmt;

use crate::clock::Timestamp;

/// What the names of workloads begin with that nobody has named.
const PREFIX: &str = "wkl_";
const DIGITS: usize = 16;

/// The id of a workload: a hash of what makes it one, the same after a restart and on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct WorkloadId(pub i64);

impl WorkloadId {
    /// The id that a hash begins with.
    pub fn of(hash: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = hash;
        Self(i64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// Reads an id as [`fmt::Display`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == DIGITS)?;
        let is_canonical = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        u64::from_str_radix(digits, 16).ok().filter(|_| is_canonical).map(|id| Self(id.cast_signed()))
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:0DIGITS$x}", self.0.cast_unsigned())
    }
}

/// How a workload came to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum WorkloadKind {
    /// A header or a rule named it.
    Named,
    /// Its calls are alike.
    Alike,
    /// It is what is left over of a tenant who has too many.
    Other,
    /// Its calls were not read, for want of time.
    Unread,
}

impl WorkloadKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Alike => "alike",
            Self::Other => "other",
            Self::Unread => "unread",
        }
    }
}

/// A workload when its first call is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWorkload {
    /// Its id.
    pub id: WorkloadId,
    /// Whose it is.
    pub tenant: String,
    /// Its name, or its id as a text.
    pub name: String,
    /// How it came to be one.
    pub kind: WorkloadKind,
    /// The models that it asks for, without their version.
    pub family: String,
    /// The kind of its client.
    pub client: String,
    /// What other prompts are compared with.
    pub sketch: Option<Vec<u8>>,
    /// The beginning of its system prompt.
    pub preview: Option<String>,
    /// When its first call came.
    pub seen_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back() {
        for id in [0, 1, -1, i64::MIN, i64::MAX] {
            assert_eq!(WorkloadId::parse(&WorkloadId(id).to_string()), Some(WorkloadId(id)));
        }
        assert_eq!(WorkloadId(-1).to_string(), "wkl_ffffffffffffffff");
        for wrong in ["", "wkl_", "wkl_1", "wkl_FFFFFFFFFFFFFFFF", "wkl_+fffffffffffffff", "dfr_ffffffffffffffff"] {
            assert_eq!(WorkloadId::parse(wrong), None, "{wrong}");
        }
    }
}
