//! What was lately found out about names, so that a thousand calls with one callback ask the name server once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::clock::{Clock, Timestamp};

/// How long it counts. Names may lead elsewhere by then, and what is connected to is judged again in any case.
const HOLDS: Duration = Duration::from_secs(30);

/// Names that are remembered at a time.
const NAMES_MAX: usize = 10_000;

/// What kind of special address names lead to. Clones share it.
#[derive(Clone)]
pub(super) struct Known {
    clock: Clock,
    names: Arc<Mutex<HashMap<String, Arc<Seen>>>>,
}

struct Seen {
    since: Timestamp,
    kind: OnceCell<Option<&'static str>>,
}

impl Known {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, names: Arc::default() }
    }

    /// What is known of a name, or is found out now, once for all who ask.
    pub(super) async fn kind_of(
        &self,
        name: &str,
        find_out: impl Future<Output = Option<&'static str>>,
    ) -> Option<&'static str> {
        *self.seen(name).kind.get_or_init(|| find_out).await
    }

    fn seen(&self, name: &str) -> Arc<Seen> {
        let now = self.clock.now();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |seen: &Seen| now.since(seen.since) < HOLDS;
        if let Some(seen) = names.get(name).filter(|seen| holds(seen)) {
            return seen.clone();
        }
        if names.len() >= NAMES_MAX {
            names.retain(|_, seen| holds(seen));
        }
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        let seen = Arc::new(Seen { since: now, kind: OnceCell::new() });
        names.insert(name.to_owned(), seen.clone());
        seen
    }
}
