//! Settings of what is let in.

use std::time::Duration;

use crate::domain::policy::Rule;
use crate::secret::Secret;

/// How much may be queued, how large, until when, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The deadline of a call that names none.
    pub default_deadline: Duration,
    /// A deadline closer than this is not worth a batch.
    pub min_deadline: Duration,
    /// The longest body that is queued, in bytes, as the caller's JSON stands after decoding.
    pub max_body: u64,
    /// How many calls may be queued at a time.
    pub max_queued: u64,
    /// How long a queued call waits for company: what a ticket's `retry-after` is estimated from.
    pub linger: Duration,
    /// Keys that the gateway issues instead of the provider's.
    pub keys: Vec<Key>,
    /// The names of the receivers that callers may name.
    pub receivers: Vec<String>,
    /// The policy's rules, in their order.
    pub rules: Vec<Rule>,
}

/// A key that the gateway issues: who presents the secret calls as `upstream`, and is the tenant `name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The tenant's name; unique.
    pub name: String,
    /// What the caller presents; unique.
    pub secret: Secret,
    /// The provider's key that stands in for it.
    pub upstream: Secret,
}
