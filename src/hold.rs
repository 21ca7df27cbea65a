//! Holding: callers who wait for something to become final are woken when it has, whichever replica brought it about.
//!
//! Nobody asks the store for himself while he waits. One worker follows the end of the feed for all who wait in this
//! process and rings their bells; each then looks once, together with the others. So waiting costs a few small queries a
//! second for a process, however many wait.

mod place;
mod settings;
mod watch;
mod way;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::deferral::Deferral;
use crate::domain::id::DeferralId;
use crate::metrics::Metrics;
use crate::nudge::{Bells, Listener};
use crate::store::{Position, Presence, Scope, Store};

pub use place::{End, Form, Place};
pub use settings::{Keepalive, Periods, Settings};
pub use watch::WATCH_EVERY;
pub use way::{Asked, Way};

/// Whoever could not look when his bell rang looks again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Wakes those who wait. Clones share it; each wait has one.
#[derive(Clone)]
pub struct Hold(Arc<Waits>);

struct Waits {
    store: Store,
    settings: Settings,
    metrics: Metrics,
    /// Where the store's connections are, which need not be where somebody waits.
    runtime: Handle,
    /// Looks under way. They outlive whoever wanted them, since others may look by the same.
    looks: TaskTracker,
    /// A bell for each deferral whose result somebody waits for.
    results: Bells<DeferralId>,
    /// A bell for each feed whose next line somebody waits for.
    feeds: Bells<Scope>,
    /// Up to where the feed was seen; unknown while nobody waits.
    seen: Mutex<Option<Position>>,
    /// Ends every wait.
    ending: CancellationToken,
}

/// How a wait ended.
#[derive(Clone, Debug)]
pub enum Waited {
    /// The deferral is final.
    Final(Deferral),
    /// The time is over; so it stands now.
    TimeOver(Deferral),
    /// The process is about to end; so it stood when it was last seen.
    Ending(Deferral),
    /// It was kept long enough, and is gone.
    Gone,
}

/// A wait under way. Boxed, since it may last for hours, and what it needs is little.
pub type Waiting = Pin<Box<dyn Future<Output = Waited> + Send>>;

impl Hold {
    /// Nobody waits yet. The store's connections are on this runtime.
    pub fn new(store: Store, settings: Settings, metrics: Metrics, runtime: Handle) -> Self {
        Self(Arc::new(Waits {
            store,
            settings,
            metrics,
            runtime,
            looks: TaskTracker::new(),
            results: Bells::default(),
            feeds: Bells::default(),
            seen: Mutex::default(),
            ending: CancellationToken::new(),
        }))
    }

    /// How connections are held.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Takes a place among those whose connections are held.
    pub fn place(&self, form: Form, presence: Presence) -> Place {
        Place::take(&self.0.metrics, form, presence)
    }

    /// Ends every wait at once, and all that begin later.
    pub fn let_go(&self) {
        self.0.ending.cancel();
    }

    /// Completes when every wait is to end.
    pub async fn lets_go(&self) {
        self.0.ending.cancelled().await;
    }

    /// Waits until a deferral is final, for `limit` at most. `last` is how it was seen last; whose it is has been checked.
    pub fn wait(&self, mut last: Deferral, limit: Duration) -> Waiting {
        let hold = self.clone();
        Box::pin(async move {
            tokio::select! {
                biased;
                stop = hold.until_final(&mut last, limit) => match stop {
                    Stop::Final => Waited::Final(last),
                    Stop::TimeOver => Waited::TimeOver(last),
                    Stop::Gone => Waited::Gone,
                },
                () = hold.0.ending.cancelled() => Waited::Ending(last),
            }
        })
    }

    async fn until_final(&self, last: &mut Deferral, limit: Duration) -> Stop {
        if last.state.is_final() {
            return Stop::Final;
        }
        let listener = self.0.results.listen(last.id);
        let mut over = std::pin::pin!(tokio::time::sleep(limit));
        let mut is_over = false;
        loop {
            // Listening begins before looking, so that no ring falls between.
            let rung = listener.rung();
            let has_looked = match self.look(last.id).await {
                Ok(Some(found)) => {
                    *last = found;
                    true
                }
                Ok(None) => return Stop::Gone,
                Err(Unseen) => false,
            };
            if last.state.is_final() {
                return Stop::Final;
            }
            if is_over {
                return Stop::TimeOver;
            }
            tokio::select! {
                () = rung => {}
                // Once more, since the last bell may be on its way.
                () = &mut over => is_over = true,
                () = tokio::time::sleep(LOOK_AGAIN), if !has_looked => {}
            }
        }
    }

    async fn look(&self, id: DeferralId) -> Result<Option<Deferral>, Unseen> {
        let store = self.0.store.clone();
        let look = self.0.looks.spawn_on(async move { store.gathered(id).await }, &self.0.runtime);
        look.await.ok().and_then(Result::ok).ok_or(Unseen)
    }

    /// Listens for the next line of a feed.
    pub fn listen(&self, scope: &Scope) -> Listener<Scope> {
        self.0.feeds.listen(scope.clone())
    }
}

/// The store could not be looked at.
struct Unseen;

/// Why nobody waits any longer.
enum Stop {
    Final,
    TimeOver,
    Gone,
}
