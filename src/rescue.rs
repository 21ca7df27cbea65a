//! Rescuing: what no batch brings home in time is sent live, once, or expires; and so is what its caller promotes.
//!
//! A live call has no name by which it could be found again. One whose answer is lost, as by a crash between the answer
//! and its commit, is made once more, and then was paid twice; everything else about a rescue is done once.

mod settings;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use crate::clock::Clock;
use crate::crash;
use crate::domain::backoff;
use crate::domain::deferral::{Answer, Deferral, OnDeadline, State};
use crate::domain::id::DeferralId;
use crate::domain::lane::Lane;
use crate::domain::ledger::Bill;
use crate::domain::price::{Prices, Tier};
use crate::domain::usage::Billed;
use crate::nudge::{Nudge, Settled};
use crate::provider::{Provider, ProviderError, Refusal};
use crate::store::{Leave, Rescue as Claimed, Scope, Store, StoreError};
use crate::telemetry::chain;

pub use settings::Settings;

/// Deferrals looked at in one bite.
const LOOKS: u32 = 500;

/// Live calls under way at a time by one process: a rescue must not become a storm.
const CONCURRENCY: usize = 8;

/// Waits after a live call that may fare better another time: doubling between these.
const AGAIN_FIRST: Duration = Duration::from_secs(2);
const AGAIN_CAP: Duration = Duration::from_secs(2 * 60);

/// A provider that asks for more patience than this is asked again all the same: callers wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5 * 60);

/// Sends live what no batch brings home in time.
#[derive(Clone)]
pub struct Rescue {
    store: Store,
    provider: Provider,
    clock: Clock,
    settings: Settings,
    prices: Prices,
    /// Wakes whoever acts on what has become final.
    settled: Settled,
    /// Wakes whoever makes the live calls.
    due: Nudge,
}

impl Rescue {
    /// All that rescuing needs.
    pub fn new(
        store: Store,
        provider: Provider,
        clock: Clock,
        settings: Settings,
        prices: Prices,
        settled: Settled,
        due: Nudge,
    ) -> Self {
        Self { store, provider, clock, settings, prices, settled, due }
    }

    /// One look: takes off the way of the batch what is promoted, and what the deadline is near for. Never says that
    /// there is more at once: what could not leave now is looked at again in a while.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn find_due(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut batches_seen = HashMap::new();
        for id in self.store.promoted(LOOKS).await? {
            self.take_out(id, &Scope::All, &mut batches_seen).await?;
        }
        for (id, answer) in self.store.refused_and_late(now, LOOKS).await? {
            if self.store.leave(id, &Scope::All, &Leave::ToFail(answer), now).await? {
                self.settled.wake();
            }
        }
        match self.settings.on_deadline {
            OnDeadline::Wait => {}
            OnDeadline::Live => {
                for id in self.store.endangered(now.plus(self.settings.lead), LOOKS).await? {
                    self.take_out(id, &Scope::All, &mut batches_seen).await?;
                }
            }
            OnDeadline::Expire => {
                for id in self.store.endangered(now, LOOKS).await? {
                    if self.store.leave(id, &Scope::All, &Leave::ToExpire(Answer::expired(id)), now).await? {
                        self.settled.wake();
                    }
                }
            }
        }
        Ok(false)
    }

    /// Sends a deferral live now, or as soon as it is certain that no batch will answer it; gives it as it stands then.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn promote(&self, id: DeferralId, scope: &Scope) -> Result<Option<Deferral>, StoreError> {
        let open = self.store.deferral(id, scope).await?.filter(|deferral| !deferral.state.is_final());
        if open.is_some() && !self.take_out(id, scope, &mut HashMap::new()).await? {
            self.store.promote_later(id, scope, self.clock.now()).await?;
            crash::point("promote.answer");
        }
        self.store.deferral(id, scope).await
    }

    /// One bite: makes live calls that are due. Says whether there may be more.
    ///
    /// # Errors
    /// If the store is unavailable; leases lapse, and the calls are taken up again.
    pub async fn send_due(&self) -> Result<bool, StoreError> {
        let claimed = self.store.claim_rescues(self.clock.now(), self.settings.lease, CONCURRENCY as u32).await?;
        let is_full = claimed.len() == CONCURRENCY;
        let mut sent = stream::iter(claimed).map(|rescue| self.send(rescue)).buffer_unordered(CONCURRENCY);
        while let Some(outcome) = sent.next().await {
            outcome?;
        }
        Ok(is_full)
    }

    /// Takes a deferral off the way of the batch, unless its result is there already. A batch is asked after once.
    async fn take_out(
        &self,
        id: DeferralId,
        scope: &Scope,
        batches_seen: &mut HashMap<String, bool>,
    ) -> Result<bool, StoreError> {
        if let Some((lane, provider_id)) = self.store.batch_under_way(id).await? {
            let has_ended = match batches_seen.get(&provider_id) {
                Some(has_ended) => *has_ended,
                None => {
                    let has_ended = match self.store.lane(lane).await? {
                        Some(lane) => self.has_ended(&lane, &provider_id).await,
                        None => false,
                    };
                    batches_seen.insert(provider_id.clone(), has_ended);
                    has_ended
                }
            };
            if has_ended {
                // Its result is paid for and on its way.
                self.store.hurry_batch(&provider_id, self.clock.now()).await?;
                return Ok(false);
            }
        }
        let has_left = self.store.leave(id, scope, &Leave::ForRescue, self.clock.now()).await?;
        if has_left {
            crash::point("rescue.left");
            tracing::info!(deferral.id = %id, "sent live");
            self.due.wake();
        }
        Ok(has_left)
    }

    /// A provider that cannot be asked counts as still at it: the deadline is near.
    async fn has_ended(&self, lane: &Lane, provider_id: &str) -> bool {
        self.provider.batch(lane, provider_id).await.is_ok_and(|seen| seen.has_ended)
    }

    async fn send(&self, rescue: Claimed) -> Result<(), StoreError> {
        if rescue.cancel_requested {
            return self.settle(&rescue, State::Canceled, Answer::canceled(rescue.id), None).await;
        }
        let Some(lane) = self.store.lane(rescue.lane).await? else {
            tracing::error!(deferral.id = %rescue.id, "the lane of a deferral is gone");
            return self.store.rescue_due(&rescue, self.clock.now().plus(AGAIN_CAP)).await.map(drop);
        };
        crash::point("rescue.call");
        let answered = self.call(&rescue, &lane).await?;
        crash::point("rescue.answered");
        match answered {
            Ok(message) => {
                self.store.resume_live(rescue.lane).await?;
                let bill = self.bill(&message);
                self.settle(&rescue, State::Succeeded, Answer { status: 200, body: message }, bill.as_ref()).await
            }
            Err(ProviderError::Refused(refusal)) if !may_pass(&refusal) => {
                let answer = Answer { status: refusal.status, body: refusal.body };
                self.settle(&rescue, State::Failed, answer, None).await
            }
            Err(error) => self.try_again(&rescue, &error).await,
        }
    }

    /// Makes the call, and renews the lease until it is answered.
    async fn call(&self, rescue: &Claimed, lane: &Lane) -> Result<Result<String, ProviderError>, StoreError> {
        let mut call = std::pin::pin!(self.provider.message(lane, &rescue.text));
        let mut renewal = tokio::time::interval(self.settings.lease / 3);
        loop {
            tokio::select! {
                answer = &mut call => return Ok(answer),
                _ = renewal.tick() => {
                    self.store.rescue_due(rescue, self.clock.now().plus(self.settings.lease)).await?;
                }
            }
        }
    }

    /// Backs off; a provider that is short of capacity is left alone by all calls of this lane.
    async fn try_again(&self, rescue: &Claimed, error: &ProviderError) -> Result<(), StoreError> {
        tracing::warn!(deferral.id = %rescue.id, error = %chain(error), "a live call is tried again");
        let now = self.clock.now();
        let own = backoff::exponential(rescue.claims.saturating_sub(1), AGAIN_FIRST, AGAIN_CAP);
        self.store.rescue_due(rescue, now.plus(own)).await?;
        crash::point("rescue.again");
        if let ProviderError::Refused(refusal) = error {
            let pauses = self.store.live_pauses(rescue.lane).await?;
            let pause = refusal.retry_after.map(|asked| asked.min(RETRY_AFTER_MAX));
            let pause = pause.unwrap_or_else(|| backoff::exponential(pauses, AGAIN_FIRST, AGAIN_CAP));
            self.store.pause_live(rescue.lane, now.plus(pause)).await?;
        }
        Ok(())
    }

    async fn settle(
        &self,
        rescue: &Claimed,
        state: State,
        answer: Answer,
        bill: Option<&Bill>,
    ) -> Result<(), StoreError> {
        if self.store.settle_rescue(rescue, state, &answer, bill, self.clock.now()).await? {
            crash::point("rescue.settled");
            self.settled.wake();
        }
        Ok(())
    }

    fn bill(&self, message: &str) -> Option<Bill> {
        let billed = Billed::read(message)?;
        Some(Bill::new(billed, &self.prices.table(), Tier::Live, self.clock.now()))
    }
}

/// Whether the same call may fare better another time.
fn may_pass(refusal: &Refusal) -> bool {
    refusal.status >= 500 || matches!(refusal.status, 408 | 409 | 429)
}
