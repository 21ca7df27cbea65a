//! Holding: callers who wait for something to become final are woken when it has, whichever replica brought it about.
//!
//! Nobody asks the store for himself while he waits. One worker follows the end of the feed for all who wait in this
//! process and rings their bells; each then looks once, together with the others. So waiting costs a few small queries a
//! second for a process, however many wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::domain::deferral::Deferral;
use crate::domain::id::DeferralId;
use crate::nudge::{Bells, Listener};
use crate::store::{Position, Scope, Store, StoreError};

/// How often the end of the feed is looked at while anybody waits: what another replica settles is known this soon.
pub const WATCH_EVERY: Duration = Duration::from_millis(50);

/// Lines of the feed read at a time.
const LINES: u32 = 5_000;

/// Whoever could not look when his bell rang looks again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Wakes those who wait. Clones share it.
#[derive(Clone)]
pub struct Hold {
    store: Store,
    /// A bell for each deferral whose result somebody waits for.
    results: Bells<DeferralId>,
    /// A bell for each feed whose next line somebody waits for.
    feeds: Bells<Scope>,
    /// Up to where the feed was seen; unknown while nobody waits.
    seen: Arc<Mutex<Option<Position>>>,
    /// Ends every wait.
    ending: CancellationToken,
}

impl Hold {
    /// Nobody waits yet.
    pub fn new(store: Store) -> Self {
        let ending = CancellationToken::new();
        Self { store, results: Bells::default(), feeds: Bells::default(), seen: Arc::default(), ending }
    }

    /// Ends every wait at once, and all that begin later.
    pub fn let_go(&self) {
        self.ending.cancel();
    }

    /// Completes when every wait is to end.
    pub async fn lets_go(&self) {
        self.ending.cancelled().await;
    }

    /// The deferral as soon as it is final, or as it is when `over` completes; `None` if it is gone. Whose it is has to
    /// be checked by whoever asks.
    ///
    /// # Errors
    /// If the store is unavailable at the first look. Later it is waited for.
    pub async fn until_final(
        &self,
        id: DeferralId,
        over: impl Future<Output = ()>,
    ) -> Result<Option<Deferral>, StoreError> {
        let listener = self.results.listen(id);
        let mut over = std::pin::pin!(over);
        // Listening begins before looking, so that no ring falls between.
        let mut rung = std::pin::pin!(listener.rung());
        let mut last = self.store.gathered(id).await?;
        while last.as_ref().is_some_and(|deferral| !deferral.state.is_final()) {
            tokio::select! {
                () = &mut over => break,
                () = &mut rung => {}
            }
            rung.set(listener.rung());
            last = loop {
                match self.store.gathered(id).await {
                    Ok(found) => break found,
                    Err(_) => tokio::select! {
                        () = &mut over => return Ok(last),
                        () = tokio::time::sleep(LOOK_AGAIN) => {}
                    },
                }
            };
        }
        Ok(last)
    }

    /// Listens for the next line of a feed.
    pub fn listen(&self, scope: &Scope) -> Listener<Scope> {
        self.feeds.listen(scope.clone())
    }

    /// One look at the end of the feed: rings for whatever is new. Says whether there is more at once.
    ///
    /// # Errors
    /// If the store is unavailable; the next look goes on from the same place.
    pub async fn watch(&self) -> Result<bool, StoreError> {
        let mut seen = self.seen.lock().await;
        if self.results.is_empty() && self.feeds.is_empty() {
            *seen = None;
            return Ok(false);
        }
        let Some(position) = *seen else {
            // Whoever listens already may have looked before this place was reached.
            *seen = Some(self.store.feed_end().await?);
            self.ring_all();
            return Ok(false);
        };
        let lines = self.store.feed(&Scope::All, position, LINES).await?;
        self.results.ring(lines.iter().map(|line| &line.deferral_id));
        if !self.feeds.is_empty() && !lines.is_empty() {
            let mut scopes: Vec<Scope> = lines.iter().map(|line| Scope::Tenant(line.tenant.clone())).collect();
            scopes.push(Scope::All);
            scopes.sort_unstable();
            scopes.dedup();
            self.feeds.ring(&scopes);
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
        let waited_for = self.results.names();
        self.results.ring(&self.store.finals_among(&waited_for).await?);
        let end = self.store.feed_end().await?;
        let mut seen = self.seen.lock().await;
        if seen.is_some_and(|position| position > end) {
            *seen = None;
        }
        Ok(false)
    }

    fn ring_all(&self) {
        self.results.ring(&self.results.names());
        self.feeds.ring(&self.feeds.names());
    }
}
