//! Nudges: wake a worker early. They carry no data, and a lost one costs time, never an answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;
use uuid::Uuid;

/// Wakes one sleeper, or the next that goes to sleep. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Nudge(Arc<Notify>);

impl Nudge {
    /// Wakes it.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Sleeps until woken.
    pub async fn woken(&self) {
        self.0.notified().await;
    }
}

/// A bell for each thing that somebody waits for, by its id. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Bells(Arc<Mutex<HashMap<Uuid, Weak<Notify>>>>);

/// One who waits for one bell. Listen before looking, so that no ring falls between.
#[derive(Debug)]
pub struct Listener {
    id: Uuid,
    bell: Arc<Notify>,
    bells: Bells,
}

impl Bells {
    /// Listens for the bell of `id`.
    pub fn listen(&self, id: Uuid) -> Listener {
        let mut bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bell = bells.get(&id).and_then(Weak::upgrade).unwrap_or_else(|| {
            let bell = Arc::new(Notify::new());
            bells.insert(id, Arc::downgrade(&bell));
            bell
        });
        Listener { id, bell, bells: self.clone() }
    }

    /// Rings for all who listen for one of `ids`.
    pub fn ring(&self, ids: impl IntoIterator<Item = Uuid>) {
        let bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for bell in ids.into_iter().filter_map(|id| bells.get(&id).and_then(Weak::upgrade)) {
            bell.notify_waiters();
        }
    }
}

impl Listener {
    /// Completes at the first ring after this call, not after the first poll.
    pub fn rung(&self) -> tokio::sync::futures::Notified<'_> {
        self.bell.notified()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut bells = self.bells.0.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(&self.bell) == 1 {
            bells.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bell_rings_for_all_who_listen_and_is_then_forgotten() {
        let bells = Bells::default();
        let (id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (first, second, third) = (bells.listen(id), bells.listen(id), bells.listen(other));
        let (rung, also, not) = (first.rung(), second.rung(), third.rung());
        bells.ring([id]);
        rung.await;
        also.await;
        let mut not = std::pin::pin!(not);
        assert!(futures_util::poll!(&mut not).is_pending());
        drop((first, second));
        assert_eq!(bells.0.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_nudge_before_sleep_is_not_lost() {
        let nudge = Nudge::default();
        nudge.wake();
        nudge.woken().await;
    }
}
