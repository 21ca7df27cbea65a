//! Announcing: a closed group is announced, once, when its last member has become final.

use crate::clock::Clock;
use crate::nudge::Nudge;
use crate::store::{Store, StoreError};

/// Announces groups.
#[derive(Clone)]
pub struct Announce {
    store: Store,
    clock: Clock,
    /// Wakes whoever delivers what was announced.
    deliver: Nudge,
}

impl Announce {
    /// All that announcing needs.
    pub fn new(store: Store, clock: Clock, deliver: Nudge) -> Self {
        Self { store, clock, deliver }
    }

    /// One bite. Says whether there may be more.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn run(&self) -> Result<bool, StoreError> {
        let (announced, has_more) = self.store.announce_groups(self.clock.now()).await?;
        if announced > 0 {
            tracing::info!(groups = announced, "groups announced");
            self.deliver.wake();
        }
        Ok(has_more || announced > 0)
    }
}
