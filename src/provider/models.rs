//! Models: whether one can batch, asked of the upstream and remembered for an hour.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::clock::{Clock, Timestamp};
use crate::domain::lane::Lane;
use crate::provider::{Provider, ProviderError};

/// How long an answer holds.
const REMEMBER_FOR: Duration = Duration::from_secs(60 * 60);

/// How long no answer counts as one: an upstream that is down is not asked for every call.
const FORGIVE_FOR: Duration = Duration::from_secs(60);

/// A caller waits no longer than this for a capability; then the model counts as able.
const ASK_LIMIT: Duration = Duration::from_secs(3);

/// Models remembered at a time; names come from callers.
const MODELS_MAX: usize = 1_000;

/// What is known of models. Clones share it.
#[derive(Clone, Debug)]
pub struct ModelKnowledge {
    provider: Provider,
    clock: Clock,
    known: Arc<Mutex<HashMap<String, Arc<OnceCell<Known>>>>>,
}

/// Whether a model can batch, and until when this holds.
#[derive(Clone, Copy, Debug)]
struct Known {
    can_batch: bool,
    until: Timestamp,
}

impl ModelKnowledge {
    /// Nothing is known yet.
    pub fn new(provider: Provider, clock: Clock) -> Self {
        Self { provider, clock, known: Arc::default() }
    }

    /// Whether the model can batch; yes, unless the upstream says that it cannot. However many want to know at a time, one
    /// asks for all.
    pub async fn can_batch(&self, model: &str, lane: &Lane) -> bool {
        let place = self.place(model);
        place.get_or_init(|| self.ask(model, lane)).await.can_batch
    }

    /// Where the answer is or will be, for all who want it now.
    fn place(&self, model: &str) -> Arc<OnceCell<Known>> {
        let now = self.clock.now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = known.get(model)
            && place.get().is_none_or(|known| now < known.until)
        {
            return Arc::clone(place);
        }
        if known.len() >= MODELS_MAX {
            known.clear();
        }
        let place = Arc::default();
        known.insert(model.to_owned(), Arc::clone(&place));
        place
    }

    async fn ask(&self, model: &str, lane: &Lane) -> Known {
        let asked = tokio::time::timeout(ASK_LIMIT, self.provider.model_can_batch(model, lane)).await;
        let (can_batch, holds_for) = match asked {
            Ok(Ok(can)) => (can, REMEMBER_FOR),
            Ok(Err(_)) | Err(_) => (true, FORGIVE_FOR),
        };
        Known { can_batch, until: self.clock.now().plus(holds_for) }
    }
}

impl Provider {
    async fn model_can_batch(&self, model: &str, lane: &Lane) -> Result<bool, ProviderError> {
        #[derive(Deserialize)]
        struct Model {
            capabilities: Option<Capabilities>,
        }
        #[derive(Deserialize)]
        struct Capabilities {
            batch: Option<Supported>,
        }
        #[derive(Deserialize)]
        struct Supported {
            supported: bool,
        }
        let path = format!("/v1/models/{}", escape(model));
        let response = self.call(self.request(Method::GET, &path, lane)?).await?;
        let body = response.bytes().await.map_err(ProviderError::from_read)?;
        let model: Model = serde_json::from_slice(&body).map_err(|_| ProviderError::Unreadable("no model"))?;
        Ok(model.capabilities.and_then(|can| can.batch).is_none_or(|batch| batch.supported))
    }
}

/// A path segment in which nothing has a meaning of its own.
fn escape(segment: &str) -> String {
    let mut escaped = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_stays_one_segment() {
        assert_eq!(escape("claude-haiku-4-5"), "claude-haiku-4-5");
        assert_eq!(escape("../a?b/ü"), "..%2Fa%3Fb%2F%C3%BC");
    }
}
