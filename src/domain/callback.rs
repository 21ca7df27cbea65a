//! Callbacks: where the webhook of something that becomes final goes.

/// A configured receiver, or a URL that the caller named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// Who is to receive it, as the deliveries of others are kept apart from theirs: the configured receiver's name, or
    /// the origin of the URL.
    pub receiver: String,
    /// The URL, if the caller named one. It may hold a token of theirs, and is never logged.
    pub url: Option<String>,
}

impl Callback {
    /// To a receiver out of the settings.
    pub fn receiver(name: impl Into<String>) -> Self {
        Self { receiver: name.into(), url: None }
    }

    /// To a URL, whose origin is its scheme, its host, and its port where that is not the usual one.
    pub fn url(origin: impl Into<String>, url: impl Into<String>) -> Self {
        Self { receiver: origin.into(), url: Some(url.into()) }
    }

    /// As the store has it: a receiver and a URL, or neither.
    pub fn from_columns(receiver: Option<String>, url: Option<String>) -> Option<Self> {
        receiver.map(|receiver| Self { receiver, url })
    }
}
