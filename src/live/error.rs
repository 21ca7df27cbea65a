//! What can go wrong before an answer's head is there.

/// The chain behind an error of the live path. It names hosts and causes, never a header or a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer of the upstream to pass on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or it was lost before the answer's head: 502.
    #[error("the upstream cannot be reached")]
    Unreachable(#[source] BoxError),
    /// Nothing came back within the time to the first byte: 504.
    #[error("the upstream sent no first byte in time")]
    Timeout,
    /// The caller's own body broke off, so that there was nothing whole to send: 400, if anybody still listens.
    #[error("the request's body broke off")]
    Upload(#[source] BoxError),
}
