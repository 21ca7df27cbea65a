//! Who makes a call, as those know who let callers in.

use std::sync::Arc;

use http::HeaderMap;

/// The holder of a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// The tenant; empty without a credential.
    pub tenant: String,
    /// Why the Batches API does not take calls with this credential, in a word.
    pub blocked_by: Option<&'static str>,
}

/// Tells from the headers of a credential whose it is.
pub type AskWho = Arc<dyn Fn(&HeaderMap) -> Option<Who> + Send + Sync>;
