//! Models: whether one can batch, asked of the upstream and remembered for an hour.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;

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
    known: Arc<Mutex<HashMap<String, (bool, Timestamp)>>>,
}

impl ModelKnowledge {
    /// Nothing is known yet.
    pub fn new(provider: Provider, clock: Clock) -> Self {
        Self { provider, clock, known: Arc::default() }
    }

    /// Whether the model can batch; yes, unless the upstream says that it cannot.
    pub async fn can_batch(&self, model: &str, lane: &Lane) -> bool {
        let now = self.clock.now();
        if let Some((can, until)) = self.lock().get(model).copied()
            && now < until
        {
            return can;
        }
        let asked = tokio::time::timeout(ASK_LIMIT, self.provider.model_can_batch(model, lane)).await;
        let (can, hold) = match asked {
            Ok(Ok(can)) => (can, REMEMBER_FOR),
            Ok(Err(_)) | Err(_) => (true, FORGIVE_FOR),
        };
        let mut known = self.lock();
        if known.len() >= MODELS_MAX {
            known.clear();
        }
        known.insert(model.to_owned(), (can, now.plus(hold)));
        can
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (bool, Timestamp)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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
