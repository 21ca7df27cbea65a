//! Intake: what becomes of a call, and its durable acceptance.
//!
//! [`Intake::decide`] reads the headers alone; only a call that may be deferred is read whole. [`Intake::admit`] commits
//! before it says so: a ticket is a promise that no crash breaks.

mod caching;
mod callback;
mod caller;
mod decide;
mod depth;
mod refusal;
mod settings;
mod tags;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::domain::body::Item;
use crate::domain::callback::Callback;
use crate::domain::deferral::{Deferral, State};
use crate::domain::id::DeferralId;
use crate::domain::lane::{Lane, beta_set};
use crate::domain::wait::Wait;
use crate::egress::Egress;
use crate::encoding::{self, DecodeError};
use crate::provider::ModelKnowledge;
use crate::secret::Vault;
use crate::store::{Accepted, Departures, NewDeferral, Presence, Store, StoreError};
use crate::telemetry::chain;

pub use caller::Caller;
pub use decide::{Route, Terms};
pub use refusal::Refusal;
pub use settings::{Key, Settings};
pub use tags::Tags;

use depth::Depth;

/// The most that is kept of a `user-agent`.
const CLIENT_MAX: usize = 128;

/// Reading a body larger than this would hold up other calls on the same thread.
const READ_ASIDE_BYTES: usize = 256_000;

/// Decides, and admits. Clones share it.
#[derive(Clone)]
pub struct Intake {
    store: Store,
    models: ModelKnowledge,
    vault: Vault,
    clock: Clock,
    settings: Arc<Settings>,
    /// The keys that the gateway issues; replaced as a whole when the settings are read again.
    keys: Arc<RwLock<Arc<[Key]>>>,
    /// The names of the configured receivers; replaced likewise.
    receivers: Arc<RwLock<Arc<[String]>>>,
    egress: Egress,
    depth: Depth,
    departures: Departures,
    /// Acceptances under way, which outlive callers who leave.
    accepting: TaskTracker,
}

/// A call that is durable, and how its caller wants the answer.
pub struct Admitted {
    /// The deferral: a new one, or the one that this call repeats.
    pub deferral: Deferral,
    /// How long to hold the connection.
    pub wait: Wait,
    /// Whether a stream is wanted.
    pub stream: bool,
    /// Whether the client tries again by itself.
    pub is_retry: bool,
    /// The caller, who is there until it is served.
    pub presence: Presence,
}

impl Intake {
    /// All that intake needs.
    pub fn new(
        store: Store,
        models: ModelKnowledge,
        vault: Vault,
        clock: Clock,
        egress: Egress,
        settings: Settings,
        departures: Departures,
    ) -> Self {
        let depth = Depth::new(store.clone(), clock.clone(), settings.max_queued);
        let keys = Arc::new(RwLock::new(settings.keys.clone().into()));
        let receivers = Arc::new(RwLock::new(settings.receivers.clone().into()));
        let (settings, accepting) = (settings.into(), TaskTracker::new());
        Self { store, models, vault, clock, settings, keys, receivers, egress, depth, departures, accepting }
    }

    /// From now on the gateway issues these keys, and no others.
    pub fn replace_keys(&self, keys: &[Key]) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }

    /// From now on these receivers can be named, and no others.
    pub fn replace_receivers(&self, names: &[String]) {
        *self.receivers.write().unwrap_or_else(PoisonError::into_inner) = names.into();
    }

    /// What its headers ask for a call.
    ///
    /// # Errors
    /// If a header does not parse; then nothing may be queued or sent.
    pub fn decide(&self, headers: &HeaderMap) -> Result<Route, Refusal> {
        decide::route(Tags::read(headers)?, &self.settings, self.clock.now())
    }

    /// Who calls, and what they act as upstream; `None` without a credential.
    pub fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        Caller::read(headers, &self.issued(), &self.vault)
    }

    /// The caller, if it presents a key that the gateway has issued; without issued keys nothing is looked at.
    pub fn issued_key(&self, headers: &HeaderMap) -> Option<Caller> {
        let keys = self.issued();
        if keys.is_empty() {
            return None;
        }
        Caller::read(headers, &keys, &self.vault).filter(|caller| caller.is_issued)
    }

    fn issued(&self) -> Arc<[Key]> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where the webhook goes that `text` asks for: the name of a configured receiver, or a URL that may be reached.
    ///
    /// # Errors
    /// If it is neither, or the URL is forbidden.
    pub async fn callback(&self, text: &str) -> Result<Callback, Refusal> {
        let receivers = Arc::clone(&self.receivers.read().unwrap_or_else(PoisonError::into_inner));
        callback::read(text, &receivers, &self.egress).await
    }

    /// The longest body that is queued, in bytes.
    pub fn max_body(&self) -> u64 {
        self.settings.max_body
    }

    /// How long a caller may wait before it makes sense to ask for a result, in seconds.
    pub fn retry_after_seconds(&self) -> u64 {
        // A batch does not end before it was sent and looked at once.
        self.settings.linger.as_secs().saturating_add(10)
    }

    /// Makes a call durable, and gives its ticket.
    ///
    /// # Errors
    /// If it is not queued; then nothing was sent either.
    pub async fn admit(&self, terms: Terms, headers: &HeaderMap, body: Bytes) -> Result<Admitted, Refusal> {
        let caller = self.caller(headers).ok_or(Refusal::MissingCredential)?;
        if caller.is_login() {
            let message = "a subscription login token cannot make batches: use an API key";
            return Err(Refusal::not_deferrable("credential", message));
        }
        let lane = lane_of(caller, headers)?;
        let item = self.read_item(headers, body, lane.user_profile_id.as_deref()).await?;
        let callback = match &terms.tags.callback {
            Some(text) => Some(self.callback(text).await?),
            None => None,
        };
        if !self.models.can_batch(&item.model, &lane).await {
            let message = format!("the model {} has no batches: call it live", item.model);
            return Err(Refusal::not_deferrable("model", message));
        }
        // A caller who wants a stream has no use for a ticket, unless that is what it asks for.
        let unsaid = if item.stream { Wait::UntilDeadline } else { Wait::For(Duration::ZERO) };
        let (wait, stream) = (terms.tags.wait.unwrap_or(unsaid), item.stream);
        let is_retry = is_retry(headers);
        let client = client(headers);
        let (deferral, presence) = self.accept(terms, lane, item, callback, client, is_retry).await?;
        Ok(Admitted { deferral, wait, stream, is_retry, presence })
    }

    /// Waits for acceptances under way.
    pub async fn drain(&self) {
        self.accepting.close();
        self.accepting.wait().await;
    }

    async fn read_item(&self, headers: &HeaderMap, body: Bytes, profile: Option<&str>) -> Result<Item, Refusal> {
        let limit = usize::try_from(self.settings.max_body).unwrap_or(usize::MAX);
        let encodings: Vec<&str> =
            headers.get_all("content-encoding").iter().map(|value| value.to_str().unwrap_or("?")).collect();
        let plain = encoding::decode(&encodings.join(","), &body, limit).await.map_err(|error| match error {
            DecodeError::TooLong => Refusal::TooLarge(self.settings.max_body),
            DecodeError::Broken => Refusal::not_deferrable("body", "the body does not decode as its content-encoding"),
            DecodeError::Unknown => {
                let message = format!("the content-encoding must be one of {}, or none", encoding::KNOWN);
                Refusal::not_deferrable("content-encoding", message)
            }
        })?;
        let read = if plain.len() <= READ_ASIDE_BYTES {
            Item::read(&plain, profile)
        } else {
            let profile = profile.map(str::to_owned);
            let reading = tokio::task::spawn_blocking(move || Item::read(&plain, profile.as_deref()));
            reading.await.map_err(|_| Refusal::StoreUnavailable)?
        };
        read.map_err(Refusal::NotDeferrable)
    }

    async fn accept(
        &self,
        terms: Terms,
        lane: Lane,
        item: Item,
        callback: Option<Callback>,
        client: Option<String>,
        is_retry: bool,
    ) -> Result<(Deferral, Presence), Refusal> {
        let ticket = queued(&terms, &lane, &item);
        let may_be_marked = terms.cache;
        let new = NewDeferral {
            id: ticket.id,
            lane,
            item,
            workload: terms.tags.workload,
            reference: terms.tags.reference,
            group: terms.tags.group,
            callback,
            client,
            idempotency_key: terms.tags.idempotency_key,
            is_retry,
            accepted_at: terms.asked_at,
            deadline: terms.deadline,
            caching: None,
        };
        // A caller who leaves must not take half an acceptance along. That he has left is noted where his presence is
        // dropped, be it with what this task gives and nobody takes.
        let intake = self.clone();
        let accepting = self.accepting.spawn(async move {
            let new = if may_be_marked { caching::read(new).await } else { new };
            let accepted = intake.make_durable(new).await?;
            let deferral = intake.standing(accepted, ticket).await?;
            let presence = intake.departures.presence(deferral.id, terms.asked_at);
            Ok((deferral, presence))
        });
        accepting.await.map_err(|_| Refusal::StoreUnavailable)?
    }

    async fn make_durable(&self, new: NewDeferral) -> Result<Accepted, Refusal> {
        let room = match self.depth.reserve(&new.lane.tenant, self.retry_after_seconds()).await {
            Ok(room) => room,
            // What is queued already needs no room.
            Err(full @ Refusal::QueueFull { .. }) => {
                return self.store.repeated(&new).await.map_err(unavailable)?.ok_or(full);
            }
            Err(other) => return Err(other),
        };
        let accepted = self.store.accept(new).await;
        room.settle(matches!(accepted, Ok(Accepted::Fresh)));
        accepted.map_err(unavailable)
    }

    /// The deferral that a call has become, or that it repeats.
    async fn standing(&self, accepted: Accepted, ticket: Deferral) -> Result<Deferral, Refusal> {
        match accepted {
            Accepted::Fresh => Ok(ticket),
            // Its own tenant's, and read with those of others who come back at the same time.
            Accepted::Existing(id) => self.store.gathered(id).await.ok().flatten().ok_or(Refusal::StoreUnavailable),
            Accepted::KeyTaken => Err(Refusal::IdempotencyMismatch),
            Accepted::GroupClosed => Err(Refusal::GroupClosed),
        }
    }
}

fn unavailable(error: StoreError) -> Refusal {
    tracing::error!(error = %chain(&error), "a call could not be made durable");
    Refusal::StoreUnavailable
}

/// The deferral as it stands right after its acceptance.
fn queued(terms: &Terms, lane: &Lane, item: &Item) -> Deferral {
    Deferral {
        id: DeferralId::new(terms.asked_at),
        tenant: lane.tenant.clone(),
        state: State::Queued,
        model: item.model.clone(),
        workload: terms.tags.workload.clone(),
        reference: terms.tags.reference.clone(),
        group: terms.tags.group.clone(),
        created_at: terms.asked_at,
        deadline: terms.deadline,
        completed_at: None,
        cancel_requested: false,
        provider_batch_id: None,
        attempts: 0,
        served_by: None,
        answer: None,
        cost: None,
        history: None,
    }
}

/// What a batch with this call is to be sent with.
fn lane_of(caller: Caller, headers: &HeaderMap) -> Result<Lane, Refusal> {
    let text = |name: &'static str| match headers.get(name).map(|value| value.to_str()) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text.to_owned())),
        Some(Err(_)) => Err(Refusal::not_deferrable(name, format!("{name} must be visible ASCII"))),
    };
    let betas: Vec<&str> = headers.get_all("anthropic-beta").iter().filter_map(|value| value.to_str().ok()).collect();
    Ok(Lane {
        tenant: caller.tenant,
        credential: caller.credential,
        version: text("anthropic-version")?,
        betas: beta_set(betas.into_iter()),
        workspace_id: text("anthropic-workspace-id")?,
        user_profile_id: text("anthropic-user-profile-id")?,
    })
}

/// What calls, as it says itself.
fn client(headers: &HeaderMap) -> Option<String> {
    let client = headers.get(http::header::USER_AGENT)?.to_str().ok()?;
    Some(client.chars().take(CLIENT_MAX).collect())
}

/// Whether the client says that it has sent this call before.
fn is_retry(headers: &HeaderMap) -> bool {
    let count = headers.get("x-stainless-retry-count").and_then(|value| value.to_str().ok());
    count.and_then(|count| count.trim().parse::<u64>().ok()).is_some_and(|count| count > 0)
}
