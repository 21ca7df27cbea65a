//! Settings of webhooks: what they are signed with, and the receivers that the operator has configured.

use std::fmt;
use std::time::Duration;

use url::Url;

use super::signature::SigningKey;

/// What webhooks are signed with, and whom they may go to by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What callbacks to URLs are signed with, the newest first; with none, a key derived from the master key.
    pub keys: Vec<SigningKey>,
    /// The receivers that have names.
    pub receivers: Vec<Receiver>,
    /// After this silence of a process others take over what it held, once a webhook cannot be under way any more.
    pub lease: Duration,
}

/// A configured receiver.
#[derive(Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Its name; unique.
    pub name: String,
    /// Where it is; it may hold a token.
    pub url: Url,
    /// What its webhooks are signed with, the newest first; never none.
    pub keys: Vec<SigningKey>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("name", &self.name).finish_non_exhaustive()
    }
}
