//! The live path: a call and its answer, byte for byte, each chunk as soon as it arrives.
//!
//! [`Live::forward`] takes a request as it reached the gateway and gives the upstream's answer back. Nothing
//! here knows the store, a worker or a webhook, so that live calls are served while all of these are down.
//!
//! Whoever drops the future of [`Live::forward`], or the body that it gave, cancels the upstream request at once.

mod address;
pub mod answer;
mod batch_answer;
mod body;
mod error;
mod headers;
mod relay;
mod request;
mod results_url;
mod upload;
mod upstream;

pub use body::LiveBody;
pub use error::{BoxError, Error};
pub use relay::{Credential, Live};
