//! Addresses: where a webhook goes and what it is signed with, by the settings that hold at the moment.

use url::Url;

use super::settings::Settings;
use super::signature::SigningKey;
use super::webhook::{Connections, SetUpError};
use crate::domain::callback::Callback;
use crate::egress::Egress;

/// Settings, with the connections that were made under them.
pub(super) struct Addresses {
    pub(super) settings: Settings,
    pub(super) connections: Connections,
    /// What callbacks to URLs are signed with where the settings name no secret.
    own_key: SigningKey,
}

/// Where a webhook goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// To a URL that a caller has named.
    Callback(&'a str),
    /// To a receiver that the operator has named.
    Receiver(&'a Url),
}

impl Addresses {
    pub(super) fn new(settings: Settings, own_key: SigningKey, egress: &Egress) -> Result<Self, SetUpError> {
        Ok(Self { settings, connections: Connections::new(egress)?, own_key })
    }

    /// The same with other settings, and with no connection that was made under these.
    pub(super) fn renewed(&self, settings: &Settings, egress: &Egress) -> Result<Self, SetUpError> {
        Self::new(settings.clone(), self.own_key.clone(), egress)
    }

    /// Where a callback leads, and what is signed with; none if it names a receiver that is not there any more.
    pub(super) fn find<'a>(&'a self, callback: &'a Callback) -> Option<(Target<'a>, &'a [SigningKey])> {
        let Settings { keys, receivers, .. } = &self.settings;
        match &callback.url {
            Some(url) if keys.is_empty() => Some((Target::Callback(url), std::slice::from_ref(&self.own_key))),
            Some(url) => Some((Target::Callback(url), keys)),
            None => {
                let receiver = receivers.iter().find(|receiver| receiver.name == callback.receiver)?;
                Some((Target::Receiver(&receiver.url), &receiver.keys))
            }
        }
    }
}
