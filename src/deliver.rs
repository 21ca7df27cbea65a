//! Delivering: what has become final is told to whoever asked for it, by a webhook, at least once.
//!
//! A look claims what is due and starts the sends; it never waits for a receiver, and no receiver waits for another:
//! each has a few places of its own ([`places`]). A claim is a lease: what a dead process was sending is sent again by
//! another, under the same id.

mod addresses;
mod backoff;
mod event;
mod places;
mod settings;
mod signature;
mod verdict;
mod webhook;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, Timestamp};
use crate::crash;
use crate::domain::delivery::Subject;
use crate::egress::Egress;
use crate::metrics::Metrics;
use crate::nudge::Nudge;
use crate::store::{ClaimedDelivery, Next, Scope, Store, StoreError, Tried, WaitingReceiver};
use crate::telemetry::chain;

pub use settings::{Receiver, Settings};
pub use signature::{KEY_FORM, SigningKey};
pub use webhook::SetUpError;

use addresses::Addresses;
use places::{Place, Places};
use verdict::{Outcome, verdict};
use webhook::{SEND_LIMIT, Webhook};

/// Receivers looked at in one statement.
const RECEIVERS: u32 = 500;

/// Sends webhooks. Clones share everything.
#[derive(Clone)]
pub struct Deliver {
    store: Store,
    clock: Clock,
    egress: Egress,
    metrics: Metrics,
    /// Replaced as a whole when the settings are read again.
    addresses: Arc<RwLock<Arc<Addresses>>>,
    places: Places,
    /// The receiver behind which the next look begins, because the last one had no place left for those that follow.
    cut: Arc<Mutex<Option<String>>>,
    sending: TaskTracker,
    /// Wakes the next look: a place is free again.
    nudge: Nudge,
}

impl Deliver {
    /// All that delivering needs.
    ///
    /// # Errors
    /// If the system has no certificates to trust.
    pub fn new(
        store: Store,
        clock: Clock,
        egress: Egress,
        metrics: Metrics,
        own_key: SigningKey,
        settings: Settings,
        nudge: Nudge,
    ) -> Result<Self, SetUpError> {
        let addresses = Addresses::new(settings, own_key, &egress)?;
        Ok(Self {
            store,
            clock,
            egress,
            metrics,
            addresses: Arc::new(RwLock::new(addresses.into())),
            places: Places::default(),
            cut: Arc::default(),
            sending: TaskTracker::new(),
            nudge,
        })
    }

    /// From now on these receivers and secrets count, and no connection is used that was made before.
    ///
    /// # Errors
    /// If the system has no certificates to trust; then nothing has changed.
    pub fn replace(&self, settings: &Settings) -> Result<(), SetUpError> {
        let addresses = self.addresses().renewed(settings, &self.egress)?;
        *self.addresses.write().unwrap_or_else(PoisonError::into_inner) = addresses.into();
        Ok(())
    }

    /// One look: starts to send what is due, for each receiver as much as it has free places. Says whether it has
    /// started anything.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn look(&self) -> Result<bool, StoreError> {
        let mut after = self.cut().take().unwrap_or_default();
        let mut is_from_the_beginning = after.is_empty();
        let mut has_started = false;
        loop {
            let now = self.clock.now();
            let waiting = self.store.waiting_receivers(&after, now, RECEIVERS).await?;
            has_started |= self.start(&after, &waiting, now).await?;
            let is_end = waiting.len() < RECEIVERS as usize;
            after = waiting.into_iter().last().map_or(after, |last| last.receiver);
            if self.places.are_all_taken() {
                self.cut().get_or_insert(after);
                return Ok(has_started);
            }
            if is_end {
                if is_from_the_beginning {
                    return Ok(has_started);
                }
                // What stands before the place where the last look was cut short comes last.
                (after, is_from_the_beginning) = (String::new(), true);
            }
        }
    }

    /// Waits until nothing is being sent.
    pub async fn idle(&self) {
        self.sending.close();
        self.sending.wait().await;
        self.sending.reopen();
    }

    /// Waits for what is being sent, which has its time limit. The looks must have ended.
    pub async fn drain(&self) {
        self.sending.close();
        self.sending.wait().await;
    }

    /// Starts what is due for some receivers that follow on `after`, as far as there are places.
    async fn start(&self, after: &str, waiting: &[WaitingReceiver], now: Timestamp) -> Result<bool, StoreError> {
        let (mut free, cut) = self.places.share_out(after, waiting);
        if let Some(cut) = cut {
            self.cut().get_or_insert(cut);
        }
        if free.is_empty() {
            return Ok(false);
        }
        let wanted: Vec<_> = free.iter().map(|(name, places)| (name.clone(), places.len() as u32)).collect();
        let lease = SEND_LIMIT + self.addresses().settings.lease;
        let claimed = self.store.claim_deliveries(&wanted, now, lease).await?;
        let has_started = !claimed.is_empty();
        for delivery in claimed {
            if let Some(place) = free.get_mut(&delivery.callback.receiver).and_then(Vec::pop) {
                self.sending.spawn(self.clone().send(delivery, place));
            }
        }
        Ok(has_started)
    }

    /// Tries one, notes what came of it, and makes room for the next.
    async fn send(self, delivery: ClaimedDelivery, place: Place) {
        crash::point("deliver.claimed");
        let started_at = self.clock.now();
        match self.attempt(&delivery, started_at).await {
            Ok(outcome) => {
                crash::point("deliver.answered");
                self.note(&delivery, outcome, started_at).await;
                place.ended(outcome.is_delivered());
            }
            // Its lease lapses, and then it is tried again.
            Err(error) => {
                tracing::error!(delivery.id = %delivery.id, error = %chain(&error), "an event could not be read");
                drop(place);
            }
        }
        self.nudge.wake();
    }

    async fn attempt(&self, delivery: &ClaimedDelivery, at: Timestamp) -> Result<Outcome, StoreError> {
        let addresses = self.addresses();
        let Some((target, keys)) = addresses.find(&delivery.callback) else {
            return Ok(Outcome::Failed("no-such-receiver"));
        };
        match self.body(delivery).await? {
            Some(Ok(body)) => {
                let webhook = Webhook { id: delivery.id, at, keys, body };
                Ok(addresses.connections.send(target, webhook).await)
            }
            Some(Err(_)) => Ok(Outcome::Failed("unreadable")),
            None => Ok(Outcome::Forgotten),
        }
    }

    /// The text of the event; none if what it is about has been deleted since.
    async fn body(&self, delivery: &ClaimedDelivery) -> Result<Option<serde_json::Result<Bytes>>, StoreError> {
        let ClaimedDelivery { event, created_at, tenant, .. } = delivery;
        match &delivery.subject {
            Subject::Deferral(id) => {
                let deferral = self.store.gathered(*id).await?;
                Ok(deferral.map(|deferral| event::body(event, *created_at, &deferral)))
            }
            Subject::Group(name) => {
                let group = self.store.groups(name, &Scope::Tenant(tenant.clone())).await?.pop();
                Ok(group.map(|group| event::body(event, *created_at, &group)))
            }
        }
    }

    async fn note(&self, delivery: &ClaimedDelivery, outcome: Outcome, started_at: Timestamp) {
        let now = self.clock.now();
        let next = verdict(outcome, delivery.attempt, now, rand::random());
        self.metrics.webhook_attempted(outcome.word());
        tell(delivery, outcome, next);
        let (status, failure, duration) = (outcome.status(), outcome.failure(), now.since(started_at));
        let tried = Tried { status, failure, started_at, duration };
        match self.store.delivery_tried(delivery, tried, next, now).await {
            Ok(_) => crash::point("deliver.noted"),
            // Its lease lapses, and then it is sent once more.
            Err(error) => {
                tracing::error!(delivery.id = %delivery.id, error = %chain(&error), "an attempt could not be noted");
            }
        }
    }

    fn addresses(&self) -> Arc<Addresses> {
        Arc::clone(&self.addresses.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn cut(&self) -> MutexGuard<'_, Option<String>> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says what came of an attempt, with nothing of the URL but its origin.
fn tell(delivery: &ClaimedDelivery, outcome: Outcome, next: Next) {
    let ClaimedDelivery { id, attempt, .. } = delivery;
    let receiver = delivery.callback.receiver.as_str();
    let (status, failure) = (outcome.status(), outcome.failure());
    match next {
        Next::Delivered => tracing::debug!(delivery.id = %id, receiver, attempt, status, "a webhook was taken"),
        Next::Again(at) => {
            tracing::warn!(delivery.id = %id, receiver, attempt, status, failure, again_at = %at, "a webhook was not taken");
        }
        Next::Dead => tracing::warn!(delivery.id = %id, receiver, attempt, status, failure, "a webhook is given up"),
    }
}
