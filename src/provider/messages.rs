//! Live calls of our own: what no batch brings home in time.

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;

use crate::domain::lane::Lane;
use crate::provider::{Provider, ProviderError, error};

impl Provider {
    /// Sends a call live, and gives the Message in the provider's own text.
    ///
    /// # Errors
    /// As the upstream says. After [`ProviderError::NoAnswer`] it may have been billed.
    pub async fn message(&self, lane: &Lane, text: &str) -> Result<String, ProviderError> {
        let request = self
            .request(Method::POST, "/v1/messages", lane)?
            .header(CONTENT_TYPE, "application/json")
            .timeout(self.answer_limit)
            .body(text.to_owned());
        let response = error::accept(request.send().await.map_err(ProviderError::from_send)?).await?;
        let message = response.text().await.map_err(ProviderError::from_read)?;
        if crate::domain::json::is_valid(&message) { Ok(message) } else { Err(ProviderError::Unreadable("no Message")) }
    }
}
