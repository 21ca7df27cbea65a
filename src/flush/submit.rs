//! Submitting: a batch is sent once.
//!
//! The protocol, whose order is durability:
//!
//! 1. `building` is committed with the members before anything is sent (by [`Flush::build_due`]).
//! 2. `uncertain` is committed right before the create is sent. A crash before this commit has sent nothing; after it,
//!    the batch may exist, and nobody sends it again before the provider's list has been consulted.
//! 3. The create is sent, once. Its lease is renewed for as long as it is under way, so that no other replica doubts it,
//!    and once more right before its last bytes leave: without them it makes no batch, so a sender that stood still
//!    until another took over sends nothing more that counts.
//! 4. `submitted` is committed with the provider's id. An answer that makes sure that nothing was created puts the
//!    batch back to `building`; a lost answer leaves it `uncertain`, for [`super::reconcile`].
//!
//! `tests/it/protocol_model.rs` searches all interleavings of this with crashes, lost answers and a late list, and
//! `tests/it/chaos/` kills the real program at each step.
//!
//! What remains: a batch is sent twice if the provider shows it later than `batch.reconcile_wait` after its last bytes
//! left. That takes a list that is late for longer than that; or a process that is held between the last renewal and
//! the write that follows at once, for longer than the lease and the wait together, and then goes on; or bytes that a
//! network holds back for as long; or a clock that jumps forward over the wait, or differs between replicas by as much,
//! while the list is late; or a clock more than an hour ahead of the provider's. None of these loses a call.

use std::panic::resume_unwind;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::task::JoinSet;

use crate::cache_plan;
use crate::clock::{Clock, Timestamp};
use crate::crash;
use crate::domain::backoff;
use crate::domain::batch::BatchState;
use crate::domain::caching::MARK_BYTES;
use crate::domain::deferral::{Answer, State};
use crate::domain::error_type::ErrorType;
use crate::domain::id::{BatchId, DeferralId};
use crate::domain::lane::Lane;
use crate::flush::Flush;
use crate::provider::{Envelope, ProviderBatch, ProviderError, Refusal};
use crate::store::{Claim, ClaimedBatch, Member, Settlement, Store, StoreError, Verdict};
use crate::telemetry::chain;

/// The first look at a batch follows this soon after its answer was lost.
const FIRST_DOUBT: Duration = Duration::from_secs(1);

/// Waits after a refusal that may pass: doubling between these.
const BACKOFF_FIRST: Duration = Duration::from_secs(2);
const BACKOFF_CAP: Duration = Duration::from_secs(5 * 60);

/// Waits of a credential that the provider refuses: it is tried rarely, in case the operator mends it.
const PARK_FIRST: Duration = Duration::from_secs(60);
const PARK_CAP: Duration = Duration::from_secs(60 * 60);

/// A batch of this many calls or fewer is not halved for want of room: it is small already.
const HALVE_ABOVE: u32 = 100;

/// Calls that fail in one transaction.
const FAIL_AT_ONCE: u32 = 1_000;

/// How far apart the provider's first look at a batch and ours may be.
const POLL_FIRST: Duration = Duration::from_secs(1);

impl Flush {
    /// One bite: sends the batch that is longest due. Says whether there was one.
    ///
    /// # Errors
    /// If the store is unavailable; the batch's lease lapses, and it is taken up again.
    pub async fn send_due(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let due = self.store.claim_batches(BatchState::Building, now, self.settings.lease, 1).await?;
        let Some(batch) = due.into_iter().next() else { return Ok(false) };
        self.send(&batch).await?;
        Ok(true)
    }

    async fn send(&self, batch: &ClaimedBatch) -> Result<(), StoreError> {
        let Some(lane) = self.store.lane(batch.lane).await? else {
            tracing::error!(batch.id = %batch.claim.batch, "the lane of a batch is gone");
            return self.store.release(batch.claim, self.clock.now().plus(BACKOFF_CAP)).await.map(drop);
        };
        let Some((items, bytes)) = self.store.batch_sending(batch.claim, self.clock.now()).await? else {
            // All members have left, or another replica has the claim; only the first lets it be voided.
            let all_have_left = self.store.open_members(batch.claim.batch, None, 1).await?.is_empty();
            return if all_have_left { self.store.batch_void(batch.claim).await.map(drop) } else { Ok(()) };
        };
        let batch = ClaimedBatch { item_count: items, item_bytes: bytes, ..batch.clone() };
        crash::point("submit.create");
        let outcome = self.create(&batch, &lane).await?;
        crash::point("submit.answered");
        self.record(&batch, outcome).await
    }

    /// Sends the create and renews the lease until it is answered.
    async fn create(
        &self,
        batch: &ClaimedBatch,
        lane: &Lane,
    ) -> Result<Result<ProviderBatch, ProviderError>, StoreError> {
        let length = Envelope::length(batch.item_count.into(), batch.item_bytes);
        let body = envelope(self.store.clone(), self.clock.clone(), batch.claim, self.settings.lease);
        let mut create = std::pin::pin!(self.provider.create_batch(lane, length, body));
        let mut renewal = tokio::time::interval(self.settings.lease / 3);
        loop {
            tokio::select! {
                answer = &mut create => return Ok(answer),
                _ = renewal.tick() => {
                    // A lost lease need not stop the create: either its last bytes do not go out, or it is done,
                    // and whoever has the lease finds it.
                    self.store.renew(batch.claim, self.clock.now().plus(self.settings.lease)).await?;
                }
            }
        }
    }

    async fn record(
        &self,
        batch: &ClaimedBatch,
        outcome: Result<ProviderBatch, ProviderError>,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let id = batch.claim.batch;
        match outcome {
            Ok(made) => {
                if self.store.batch_submitted(batch.claim, &made.id, false, now, now.plus(POLL_FIRST)).await? {
                    tracing::info!(batch.id = %id, provider_id = made.id, items = batch.item_count, "batch submitted");
                }
                crash::point("submit.resume");
                self.store.resume_lane(batch.lane).await?;
            }
            Err(ProviderError::Refused(refusal)) if refusal.status < 500 || refusal.status == 529 => {
                tracing::warn!(batch.id = %id, status = refusal.status, kind = refusal.kind, "batch refused");
                self.refused(batch, &refusal, now).await?;
            }
            Err(error @ (ProviderError::Unreachable(_) | ProviderError::Unsendable)) => {
                let wait = backoff::exponential(batch.looks, BACKOFF_FIRST, BACKOFF_CAP);
                tracing::warn!(batch.id = %id, error = %chain(&error), "batch not sent");
                self.store.batch_not_sent(batch.claim, now.plus(wait)).await?;
            }
            Err(error) => {
                tracing::warn!(batch.id = %id, error = %chain(&error), "batch uncertain");
                self.store.batch_doubted(batch.claim, now, now.plus(FIRST_DOUBT)).await?;
            }
        }
        Ok(())
    }

    /// The provider has answered that it made no batch.
    async fn refused(&self, batch: &ClaimedBatch, refusal: &Refusal, now: Timestamp) -> Result<(), StoreError> {
        match refusal.status {
            _ if is_for_credential(refusal) => {
                let pauses = self.store.lane_pauses(batch.lane).await?;
                let until = now.plus(backoff::exponential(pauses, PARK_FIRST, PARK_CAP));
                let answer = Answer { status: refusal.status, body: refusal.body.clone() };
                self.pause(batch, until, refusal, Some(&answer)).await?;
                self.store.batch_not_sent(batch.claim, until).await?;
            }
            400 if is_for_all(refusal) => self.fail_members(batch, refusal, now).await?,
            400 | 413 if batch.item_count > 1 => self.split(batch, now, now).await?,
            400 | 413 => self.fail_members(batch, refusal, now).await?,
            status => {
                // Without a date to come back at, a 429 is a spend limit, which lasts.
                let cap = if status == 429 && refusal.retry_after.is_none() { PARK_CAP } else { BACKOFF_CAP };
                let own = backoff::exponential(batch.looks, BACKOFF_FIRST, cap);
                let until = now.plus(refusal.retry_after.map_or(own, |asked| asked.min(PARK_CAP)));
                self.pause(batch, until, refusal, None).await?;
                if status == 429 && batch.looks > 0 && batch.item_count > HALVE_ABOVE {
                    // Refused again after waiting: the provider's own queue may have no room for so many at once.
                    self.split(batch, now, until).await?;
                } else {
                    self.store.batch_not_sent(batch.claim, until).await?;
                }
            }
        }
        Ok(())
    }

    async fn pause(
        &self,
        batch: &ClaimedBatch,
        until: Timestamp,
        refusal: &Refusal,
        answer: Option<&Answer>,
    ) -> Result<(), StoreError> {
        self.store.pause_lane(batch.lane, until, &refusal.kind, answer).await?;
        crash::point("submit.paused");
        Ok(())
    }

    async fn split(&self, batch: &ClaimedBatch, now: Timestamp, due: Timestamp) -> Result<(), StoreError> {
        let halves = [BatchId::new(now), BatchId::new(now)];
        self.store.batch_split(batch.claim, halves, now, due).await?;
        crash::point("submit.split");
        self.built.wake();
        Ok(())
    }

    /// Every call of this batch is to blame: it fails, with the provider's words.
    async fn fail_members(&self, batch: &ClaimedBatch, refusal: &Refusal, now: Timestamp) -> Result<(), StoreError> {
        let answer = Answer { status: ErrorType::read(&refusal.body).status(), body: refusal.body.clone() };
        let failed = Verdict::Final { state: State::Failed, answer, bill: None };
        loop {
            let members = self.store.open_members(batch.claim.batch, None, FAIL_AT_ONCE).await?;
            if members.is_empty() {
                return self.store.batch_void(batch.claim).await.map(drop);
            }
            let settle = |member: &Member| Settlement { id: member.id, verdict: failed.clone() };
            let settlements: Vec<Settlement> = members.iter().map(settle).collect();
            self.store.settle(batch.claim.batch, &settlements, now).await?;
            crash::point("submit.failed");
            self.settled.wake();
        }
    }
}

/// Whether the credential, or the account behind it, is refused rather than what was sent with it.
fn is_for_credential(refusal: &Refusal) -> bool {
    // Some come as a plain 400: an account on hold by its code, the account's own spend limit by its words alone.
    let on_account = ["organization_on_hold", "cmek_key_disabled", "claude_code_key_creator_not_member", "usage limit"];
    matches!(refusal.status, 401..=404)
        || (refusal.status == 400 && on_account.iter().any(|mark| refusal.body.contains(mark)))
}

/// Whether a 400 is about what all calls of the batch share, so that none of its parts would fare better.
fn is_for_all(refusal: &Refusal) -> bool {
    ["anthropic-beta", "anthropic-version", "anthropic-workspace-id", "anthropic-user-profile-id"]
        .iter()
        .any(|header| refusal.body.contains(header))
}

/// Why a create was not sent to its end.
#[derive(Debug, thiserror::Error)]
enum Unsent {
    #[error("an item cannot be read")]
    Store(#[from] StoreError),
    #[error("another replica has the batch by now")]
    LeaseLost,
}

/// The body of a create, read from the store as it goes out: while one page is sent, the next is read.
///
/// Before the last bytes leave, the lease is renewed: a body that lacks them makes no batch. So a sender that stood
/// still for so long that another has taken over sends nothing more that counts.
fn envelope(
    store: Store,
    clock: Clock,
    claim: Claim,
    lease: Duration,
) -> impl Stream<Item = Result<Bytes, Unsent>> + Send + 'static {
    let mut reading = JoinSet::new();
    reading.spawn(page(store.clone(), claim.batch, None));
    let pages = store.clone();
    let items = stream::try_unfold(reading, move |mut reading| {
        let store = pages.clone();
        async move {
            let read =
                reading.join_next().await.map(|read| read.unwrap_or_else(|join| resume_unwind(join.into_panic())));
            let Some((text, last)) = read.transpose()?.flatten() else { return Ok::<_, Unsent>(None) };
            reading.spawn(page(store, claim.batch, Some(last)));
            Ok(Some((text, reading)))
        }
    });
    let close = stream::once(async move {
        if !store.renew(claim, clock.now().plus(lease)).await? {
            return Err(Unsent::LeaseLost);
        }
        crash::point("submit.last_bytes");
        Ok(Envelope::close())
    });
    stream::iter([Ok(Envelope::open())]).chain(items).chain(close)
}

/// Some items as they go into the body, and which was the last; `None` behind the end.
async fn page(
    store: Store,
    batch: BatchId,
    after: Option<DeferralId>,
) -> Result<Option<(Bytes, DeferralId)>, StoreError> {
    let items = store.batch_items(batch, after).await?;
    let Some(last) = items.last().map(|item| item.id) else { return Ok(None) };
    let mut text = Vec::with_capacity(items.iter().map(|item| item.text.len() + 80 + usize::from(MARK_BYTES)).sum());
    for (index, item) in items.iter().enumerate() {
        let is_first = after.is_none() && index == 0;
        match item.mark {
            None => Envelope::push_item(&mut text, is_first, item.id, item.text.as_bytes()),
            // Marked here, and not in the store: what is kept is the caller's own text.
            Some(place) => Envelope::push_item(&mut text, is_first, item.id, &cache_plan::padded(&item.text, place)),
        }
    }
    Ok(Some((Bytes::from(text), last)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::body::Item;
    use crate::domain::error_type::{detailed_envelope, envelope as error};
    use crate::domain::lane::{Credential, CredentialHeader};
    use crate::secret::{MasterKey, Secret, Vault};
    use crate::store::{self, Limits, Location, NewDeferral};

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const LEASE: Duration = Duration::from_secs(30);

    /// A store with one batch, which is being sent, and the claim on it.
    async fn sending(folder: &std::path::Path) -> (Store, Claim) {
        let key = MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        let url = Location::Sqlite(folder.join("test.db"));
        let settings =
            store::Settings { url, master_key: crate::secret::KeySource::Given(key.clone()), encrypt_bodies: false };
        let store = Store::open(&settings, Vault::new(&key)).await.unwrap();
        store.migrate().await.unwrap();
        let lane = Lane {
            tenant: "tenant".into(),
            credential: Credential { header: CredentialHeader::ApiKey, secret: Secret::new("key") },
            version: None,
            betas: String::new(),
            workspace_id: None,
            user_profile_id: None,
        };
        let item = Item { text: r#"{"a":1}"#.into(), model: "model".into(), stream: false, hash: [0; 32] };
        let new = NewDeferral {
            id: DeferralId::new(NOW),
            lane,
            item,
            workload: None,
            reference: None,
            group: None,
            callback: None,
            client: None,
            rule: None,
            idempotency_key: None,
            retries: 0,
            accepted_at: NOW,
            deadline: NOW.plus(LEASE),
            caching: None,
        };
        store.accept(new).await.unwrap();
        let lane = store.backlog(NOW, 1).await.unwrap()[0].lane;
        let limits = Limits { requests: 10, bytes: 1_000, bytes_per_item: 50 };
        let batch = store.build_batch(BatchId::new(NOW), lane, limits, NOW, LEASE).await.unwrap().unwrap();
        store.batch_sending(batch.claim, NOW).await.unwrap().unwrap();
        (store, batch.claim)
    }

    #[tokio::test]
    async fn the_last_bytes_leave_only_under_a_lease() {
        let folder = tempfile::tempdir().unwrap();
        let (store, claim) = sending(folder.path()).await;
        let body = || envelope(store.clone(), Clock::manual(NOW), claim, LEASE);
        let whole: Vec<u8> = body().map(Result::unwrap).collect::<Vec<_>>().await.concat();
        assert!(crate::domain::json::is_valid(std::str::from_utf8(&whole).unwrap()));

        // Stands still until another takes over.
        let mut late = std::pin::pin!(body());
        assert!(matches!((late.next().await, late.next().await), (Some(Ok(_)), Some(Ok(_)))));
        let later = NOW.plus(2 * LEASE);
        assert_eq!(store.claim_batches(BatchState::Uncertain, later, LEASE, 1).await.unwrap().len(), 1);
        assert!(matches!(late.next().await, Some(Err(Unsent::LeaseLost))));
    }

    fn refusal(status: u16, body: String) -> Refusal {
        Refusal { status, kind: ErrorType::read(&body).as_str().to_owned(), body, retry_after: None }
    }

    #[test]
    fn what_concerns_the_account_is_told_from_what_concerns_the_calls() {
        let plain = |message: &str| error("invalid_request_error", message, "req_1");
        let on_hold = detailed_envelope("invalid_request_error", "on hold", Some("organization_on_hold"), "req_1");
        let of_account = [
            refusal(401, error("authentication_error", "invalid key", "req_1")),
            refusal(403, error("permission_error", "no", "req_1")),
            refusal(400, on_hold),
            refusal(400, plain("You have reached your specified workspace API usage limits: usage limit")),
        ];
        assert!(of_account.iter().all(is_for_credential));
        let of_calls = refusal(400, plain("requests.7.custom_id: too long"));
        assert!(!is_for_credential(&of_calls) && !is_for_all(&of_calls));
        let of_headers = refusal(400, plain("Unexpected value(s) `x` for the `anthropic-beta` header"));
        assert!(!is_for_credential(&of_headers) && is_for_all(&of_headers));
    }
}
