//! Watching: one worker follows the end of the feed, and rings the bells of all who wait for what it tells.

use std::time::Duration;

use crate::hold::Hold;
use crate::store::{Scope, StoreError};

/// How often the end of the feed is looked at while anybody waits: what another replica settles is known this soon.
pub const WATCH_EVERY: Duration = Duration::from_millis(50);

/// Lines of the feed read at a time.
const LINES: u32 = 5_000;

impl Hold {
    /// One look at the end of the feed: rings for whatever is new. Says whether there is more at once.
    ///
    /// # Errors
    /// If the store is unavailable; the next look goes on from the same place.
    pub async fn watch(&self) -> Result<bool, StoreError> {
        let mut seen = self.0.seen.lock().await;
        if self.0.results.is_empty() && self.0.feeds.is_empty() {
            *seen = None;
            return Ok(false);
        }
        let Some(position) = *seen else {
            // Whoever listens already may have looked before this place was reached.
            *seen = Some(self.0.store.feed_end().await?);
            self.ring_all();
            return Ok(false);
        };
        let lines = self.0.store.feed(&Scope::All, position, LINES).await?;
        self.0.results.ring(lines.iter().map(|line| &line.deferral_id));
        if !self.0.feeds.is_empty() && !lines.is_empty() {
            let mut scopes: Vec<Scope> = lines.iter().map(|line| Scope::Tenant(line.tenant.clone())).collect();
            scopes.push(Scope::All);
            scopes.sort_unstable();
            scopes.dedup();
            self.0.feeds.ring(&scopes);
        }
        *seen = lines.last().map(|line| line.position).or(*seen);
        Ok(lines.len() == LINES as usize)
    }

    /// Rings for those whose deferral is final, in case the feed did not tell: a database that was put back to an earlier
    /// state begins it anew.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn sweep(&self) -> Result<bool, StoreError> {
        let waited_for = self.0.results.names();
        self.0.results.ring(&self.0.store.finals_among(&waited_for).await?);
        let end = self.0.store.feed_end().await?;
        let mut seen = self.0.seen.lock().await;
        if seen.is_some_and(|position| position > end) {
            *seen = None;
        }
        Ok(false)
    }

    fn ring_all(&self) {
        self.0.results.ring(&self.0.results.names());
        self.0.feeds.ring(&self.0.feeds.names());
    }
}
