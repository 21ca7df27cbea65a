//! Intake: what becomes of a call, and its durable acceptance.
//!
//! [`Intake::decide`] reads the headers alone; only a call that may be deferred is read whole. [`Intake::admit`] commits
//! before it says so: a ticket is a promise that no crash breaks.

mod asking;
mod budgets;
mod caching;
mod callback;
mod caller;
mod decide;
mod depth;
mod explain;
mod item;
mod policy;
mod refusal;
mod settings;
mod tags;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, Timestamp};
use crate::domain::body::Item;
use crate::domain::budget::Budgets;
use crate::domain::callback::Callback;
use crate::domain::decision::LiveReason;
use crate::domain::deferral::{Deferral, State};
use crate::domain::glance::BodyFacts;
use crate::domain::id::DeferralId;
use crate::domain::lane::{Lane, beta_set};
use crate::domain::policy::{Reply, Standing, Variable};
use crate::domain::wait::Wait;
use crate::egress::Egress;
use crate::provider::ModelKnowledge;
use crate::secret::Vault;
use crate::store::{Accepted, Departures, NewDeferral, Presence, Store, StoreError};
use crate::telemetry::chain;

pub use asking::{Asking, Chosen, Promise};
pub use caller::Caller;
pub use decide::Terms;
pub use explain::{Asked, Explanation, explain};
pub use policy::{Done, InForce, Refused, Rules, Tally};
pub use refusal::Refusal;
pub use settings::{Key, Settings};
pub use tags::Tags;

use decide::Sent;
use depth::Depth;
use item::Reading;

/// The most that is kept of a `user-agent`.
const CLIENT_MAX: usize = 128;

/// Reading a body larger than this would hold up other calls on the same thread.
const READ_ASIDE_BYTES: usize = 256_000;

/// The path of calls.
const CALLS: &str = "/v1/messages";

/// After the store has failed a call that a rule chose, others like it are served live for so long without trying: each
/// would wait for it in vain.
const STORE_PAUSE: Duration = Duration::from_secs(5);

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
    policy: InForce,
    budgets: Budgets,
    egress: Egress,
    depth: Depth,
    departures: Departures,
    /// When the store last failed a call.
    store_failed_at: Arc<Mutex<Option<Timestamp>>>,
    /// Acceptances under way, which outlive callers who leave.
    accepting: TaskTracker,
}

/// What intake works with.
pub struct Parts {
    /// Where calls become durable.
    pub store: Store,
    /// Which models have batches.
    pub models: ModelKnowledge,
    /// What tenants get their pseudonyms by.
    pub vault: Vault,
    /// The time.
    pub clock: Clock,
    /// Where webhooks may go.
    pub egress: Egress,
    /// Who notes that callers are gone.
    pub departures: Departures,
    /// How much may be spent.
    pub budgets: Budgets,
}

/// Which way a call goes.
#[derive(Clone, Debug)]
pub enum Route {
    /// Straight to the upstream.
    Live(LiveReason),
    /// Into the queue, if a batch can take it.
    Defer(Terms),
    /// Where the policy says.
    Ask(Asking),
}

/// A call that is durable, and how its caller wants the answer.
pub struct Admitted {
    /// The deferral: a new one, or the one that this call repeats.
    pub deferral: Deferral,
    /// How long to hold the connection.
    pub wait: Wait,
    /// Whether its caller knows of tickets; one whose call a rule chose to hold does not.
    pub knows_tickets: bool,
    /// Whether a stream is wanted.
    pub stream: bool,
    /// Whether the client tries again by itself.
    pub is_retry: bool,
    /// The caller, who is there until it is served.
    pub presence: Presence,
}

impl Intake {
    /// All that intake needs.
    pub fn new(parts: Parts, settings: Settings) -> Self {
        let Parts { store, models, vault, clock, egress, departures, budgets } = parts;
        let depth = Depth::new(store.clone(), clock.clone(), settings.max_queued);
        let keys = Arc::new(RwLock::new(settings.keys.clone().into()));
        let receivers = Arc::new(RwLock::new(settings.receivers.clone().into()));
        let policy = InForce::new(settings.rules.clone());
        Self {
            store,
            models,
            vault,
            clock,
            settings: settings.into(),
            keys,
            receivers,
            policy,
            budgets,
            egress,
            depth,
            departures,
            store_failed_at: Arc::default(),
            accepting: TaskTracker::new(),
        }
    }

    /// From now on the gateway issues these keys, and no others.
    pub fn replace_keys(&self, keys: &[Key]) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }

    /// From now on these receivers can be named, and no others.
    pub fn replace_receivers(&self, names: &[String]) {
        *self.receivers.write().unwrap_or_else(PoisonError::into_inner) = names.into();
    }

    /// The policy in force.
    pub fn policy(&self) -> &InForce {
        &self.policy
    }

    /// Which way a call goes: where its headers send it, else where the policy does.
    ///
    /// # Errors
    /// If a header does not parse, or it goes beyond a budget; then nothing may be queued or sent.
    pub fn decide(&self, headers: &HeaderMap) -> Result<Route, Refusal> {
        let budget = self.beyond_by_headers(headers)?;
        let now = self.clock.now();
        let tags = match decide::sent(Tags::read(headers)?, &self.settings, now) {
            Sent::Live(reason) => return Ok(Route::Live(reason)),
            Sent::Defer(terms) => return Ok(Route::Defer(terms)),
            Sent::Unsaid(tags) => tags,
        };
        let rules = self.policy.rules();
        if rules.policy().rules().is_empty() && budget.is_none() {
            return Ok(Route::Live(LiveReason::NoRule));
        }
        let reads_tenant = rules.policy().reads(&Variable::Tenant);
        let caller = reads_tenant.then(|| self.caller(headers)).flatten();
        let tenant = caller.map(|caller| caller.tenant).unwrap_or_default();
        Ok(Route::Ask(Asking::begin(rules, tags, tenant, now).beyond(budget)))
    }

    /// What is promised for a call that a rule chose to defer.
    ///
    /// # Errors
    /// If its deadline is too close.
    pub fn terms(&self, chosen: &Chosen, headers: &HeaderMap) -> Result<Terms, LiveReason> {
        chosen.terms(&self.settings, headers)
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

    /// The deadline of a call for which none is named, and the closest for which it is deferred.
    pub fn deadlines(&self) -> (Duration, Duration) {
        (self.settings.default_deadline, self.settings.min_deadline)
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
        if terms.promise.is_some() && self.spares_the_store() {
            return Err(Refusal::StoreUnavailable);
        }
        let admitted = self.try_admit(terms, headers, body).await;
        if matches!(admitted, Err(Refusal::StoreUnavailable)) {
            *self.store_failed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.now());
        }
        admitted
    }

    /// Whether the store has failed a moment ago.
    fn spares_the_store(&self) -> bool {
        let failed_at = *self.store_failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        failed_at.is_some_and(|at| self.clock.now().since(at) < STORE_PAUSE)
    }

    async fn try_admit(&self, mut terms: Terms, headers: &HeaderMap, body: Bytes) -> Result<Admitted, Refusal> {
        let lane = lane_of(self.caller(headers), headers)?;
        let rules = self.policy.rules();
        let is_open = terms.promise.is_none() && !rules.policy().rules().is_empty();
        let profile = lane.user_profile_id.as_deref();
        let Reading { item, facts } = item::read(headers, body, profile, self.settings.max_body, is_open).await?;
        if is_open {
            self.complete(&mut terms, rules, headers, &lane.tenant, &facts)?;
        }
        let callback = match &terms.tags.callback {
            Some(text) => Some(self.callback(text).await?),
            None => None,
        };
        if !self.models.can_batch(&item.model, &lane).await {
            let message = format!("the model {} has no batches: call it live", item.model);
            return Err(Refusal::not_deferrable("model", message));
        }
        let (wait, stream) = (wait(&terms, item.stream), item.stream);
        let is_held_unasked = terms.promise.as_ref().is_some_and(|promise| promise.reply == Reply::Hold);
        let knows_tickets = !is_held_unasked || terms.tags.wait.is_some();
        let retries = retries(headers);
        let client = client(headers);
        let (deferral, presence) = self.accept(terms, lane, item, callback, client, retries).await?;
        Ok(Admitted { deferral, wait, knows_tickets, stream, is_retry: retries > 0, presence })
    }

    /// Waits for acceptances under way.
    pub async fn drain(&self) {
        self.accepting.close();
        self.accepting.wait().await;
    }

    /// A call that asked to be deferred takes of the first rule that matches it what its headers leave open.
    fn complete(
        &self,
        terms: &mut Terms,
        rules: Arc<Rules>,
        headers: &HeaderMap,
        tenant: &str,
        facts: &BodyFacts,
    ) -> Result<(), Refusal> {
        let is_named = terms.tags.workload.is_some();
        let mut asking = Asking::begin(rules, terms.tags.clone(), tenant.to_owned(), terms.asked_at);
        if let Standing::Decided(index) = asking.go_on(headers, CALLS, facts) {
            asking.chosen(index).complete(&mut terms.tags);
        } else {
            asking.nobody();
        }
        match &terms.tags.workload {
            // To be deferred is what it asks for.
            Some(workload) if !is_named => self.beyond(|| tenant.to_owned(), Some(workload)).map(|_| ()),
            _ => Ok(()),
        }
    }

    async fn accept(
        &self,
        terms: Terms,
        lane: Lane,
        item: Item,
        callback: Option<Callback>,
        client: Option<String>,
        retries: u32,
    ) -> Result<(Deferral, Presence), Refusal> {
        let ticket = queued(&terms, &lane, &item);
        let may_be_marked = terms.promise.as_ref().is_some_and(|promise| promise.cache);
        let new = NewDeferral {
            id: ticket.id,
            lane,
            item,
            workload: terms.tags.workload,
            reference: terms.tags.reference,
            group: terms.tags.group,
            callback,
            client,
            rule: terms.promise.map(|promise| promise.rule.to_string()),
            idempotency_key: terms.tags.idempotency_key,
            retries,
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

/// How long a caller waits on its connection.
fn wait(terms: &Terms, stream: bool) -> Wait {
    let unsaid = match terms.promise.as_ref().map(|promise| promise.reply) {
        Some(Reply::Hold) => Wait::UntilDeadline,
        Some(Reply::Ticket) => Wait::For(Duration::ZERO),
        // A caller who wants a stream has no use for a ticket, unless that is what it asks for.
        None if stream => Wait::UntilDeadline,
        None => Wait::For(Duration::ZERO),
    };
    terms.tags.wait.unwrap_or(unsaid)
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

/// What a batch with a call of this caller is to be sent with.
fn lane_of(caller: Option<Caller>, headers: &HeaderMap) -> Result<Lane, Refusal> {
    let caller = caller.ok_or(Refusal::MissingCredential)?;
    if caller.is_login() {
        let message = "a subscription login token cannot make batches: use an API key";
        return Err(Refusal::not_deferrable("credential", message));
    }
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

/// How often the client says that it has sent this call before.
fn retries(headers: &HeaderMap) -> u32 {
    let count = headers.get("x-stainless-retry-count").and_then(|value| value.to_str().ok());
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
