//! Nudges: wake a worker early. They carry no data, and a lost one costs time, never an answer.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

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

/// Wakes whoever acts on deferrals that have become final. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// Wakes those who wait for a result.
    pub watch: Nudge,
    /// Announces groups.
    pub announce: Nudge,
    /// Delivers webhooks.
    pub deliver: Nudge,
    /// Adds up what was spent.
    pub spending: Nudge,
}

impl Settled {
    /// Wakes all of them.
    pub fn wake(&self) {
        self.watch.wake();
        self.announce.wake();
        self.deliver.wake();
        self.spending.wake();
    }
}

/// A bell for each thing that somebody waits for, by its name. Clones share them.
#[derive(Debug)]
pub struct Bells<K>(Arc<Mutex<HashMap<K, Weak<Notify>>>>);

/// One who waits for one bell. Listen before looking, so that no ring falls between.
#[derive(Debug)]
pub struct Listener<K: Eq + Hash> {
    name: K,
    bell: Arc<Notify>,
    bells: Bells<K>,
}

impl<K> Clone for Bells<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Bells<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Eq + Hash> Bells<K> {
    /// Listens for the bell of this name.
    pub fn listen(&self, name: K) -> Listener<K> {
        let mut bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bell = bells.get(&name).and_then(Weak::upgrade).unwrap_or_else(|| {
            let bell = Arc::new(Notify::new());
            bells.insert(name.clone(), Arc::downgrade(&bell));
            bell
        });
        Listener { name, bell, bells: self.clone() }
    }

    /// Rings for all who listen for one of these.
    pub fn ring<'a>(&self, names: impl IntoIterator<Item = &'a K>)
    where
        K: 'a,
    {
        let bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for bell in names.into_iter().filter_map(|name| bells.get(name).and_then(Weak::upgrade)) {
            bell.notify_waiters();
        }
    }

    /// All names that somebody listens for.
    pub fn names(&self) -> Vec<K> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Whether nobody listens.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl<K: Eq + Hash> Listener<K> {
    /// Completes at the first ring after this call, not after the first poll.
    pub fn rung(&self) -> tokio::sync::futures::Notified<'_> {
        self.bell.notified()
    }
}

impl<K: Eq + Hash> Drop for Listener<K> {
    fn drop(&mut self) {
        let mut bells = self.bells.0.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(&self.bell) == 1 {
            bells.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bell_rings_for_all_who_listen_and_is_then_forgotten() {
        let bells = Bells::default();
        let (first, second, third) = (bells.listen("a"), bells.listen("a"), bells.listen("b"));
        let (rung, also, not) = (first.rung(), second.rung(), third.rung());
        bells.ring([&"a"]);
        rung.await;
        also.await;
        let mut not = std::pin::pin!(not);
        assert!(futures_util::poll!(&mut not).is_pending());
        drop((first, second));
        assert_eq!(bells.names(), ["b"]);
    }

    #[tokio::test]
    async fn a_nudge_before_sleep_is_not_lost() {
        let nudge = Nudge::default();
        nudge.wake();
        nudge.woken().await;
    }
}
