//! Asking the policy about one call that does not say itself what is to become of it.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::clock::Timestamp;
use crate::domain::decision::{Decision, LiveReason};
use crate::domain::glance::BodyFacts;
use crate::domain::id::DeferralId;
use crate::domain::policy::{Action, Cache, Course, Facts, Reply, Rule, Said, Standing, rollout};
use crate::intake::policy::Rules;
use crate::intake::tags::{self, Tags};
use crate::intake::{READ_ASIDE_BYTES, Settings, Terms};

/// The policy's way through its rules with one call.
#[derive(Clone, Debug)]
pub struct Asking {
    rules: Arc<Rules>,
    course: Course,
    tags: Tags,
    tenant: String,
    asked_at: Timestamp,
    /// The budget beyond which the call is, by its headers, and that wants it to be deferred.
    budget: Option<String>,
    is_cut_short: bool,
}

/// The rule that decides over a call.
#[derive(Clone, Debug)]
pub struct Chosen {
    rules: Arc<Rules>,
    index: usize,
    tags: Tags,
    asked_at: Timestamp,
}

/// What a rule promises for a call, and did not leave to its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The rule's name.
    pub rule: Arc<str>,
    /// What the caller gets.
    pub reply: Reply,
    /// Whether the callback is the rule's own.
    pub callback: bool,
    /// Whether the prompt may be marked for caching.
    pub cache: bool,
}

impl Asking {
    /// Begins to ask these rules about a call with these tags, which came at this time from this tenant.
    pub fn begin(rules: Arc<Rules>, tags: Tags, tenant: String, asked_at: Timestamp) -> Self {
        Self { rules, course: Course::default(), tags, tenant, asked_at, budget: None, is_cut_short: false }
    }

    /// The call is beyond this budget by its headers alone, which wants it to be deferred.
    pub(super) fn beyond(self, budget: Option<String>) -> Self {
        Self { budget, ..self }
    }

    /// The budget beyond which the call is by its headers alone, and that wants it to be deferred.
    pub fn budget(&self) -> Option<&str> {
        self.budget.as_deref()
    }

    /// The rule of this number.
    pub(super) fn rule(&self, index: usize) -> Option<&Rule> {
        self.rules.policy().rules().get(index)
    }

    /// The workload that this rule gives to the call, where its caller names none.
    pub(super) fn named_by<'a>(&self, rule: &'a Rule) -> Option<&'a str> {
        rule.workload.as_deref().filter(|_| self.tags.workload.is_none())
    }

    /// The same call, to be deferred by this name if it may be, whatever rules say that serve it live; it keeps the workload
    /// that one of them gave to it. What they said up to now is not counted. `None` if it cannot be asked so.
    pub(super) fn deferring(&self, name: &str, workload: Option<&str>) -> Option<Self> {
        let mut tags = self.tags.clone();
        tags.workload = tags.workload.or_else(|| workload.map(str::to_owned));
        let rules = Arc::new(self.rules.deferring(name)?);
        Some(Self::begin(rules, tags, self.tenant.clone(), self.asked_at))
    }

    /// Asks on, with what is known of the body by now.
    pub fn go_on(&mut self, headers: &HeaderMap, path: &str, body: &BodyFacts) -> Standing {
        let facts = Facts {
            headers,
            path,
            tenant: &self.tenant,
            workload: self.tags.workload.as_deref().unwrap_or_default(),
            now: self.asked_at,
            body,
            is_record: false,
        };
        self.rules.policy().go_on(&mut self.course, &facts)
    }

    /// No more of the body is read, although a rule would have had to see it.
    pub fn cut_short(&mut self) {
        self.is_cut_short = true;
    }

    /// What each rule said that was asked.
    pub fn said(&self) -> &[Said] {
        &self.course.said
    }

    /// No rule matches. Counts what they said.
    pub fn nobody(self) {
        self.count();
    }

    /// The rule of this number decides. Counts what all said.
    pub fn chosen(self, index: usize) -> Chosen {
        self.count();
        Chosen { rules: self.rules, index, tags: self.tags, asked_at: self.asked_at }
    }

    fn count(&self) {
        self.rules.count_said(&self.course.said);
        if self.is_cut_short {
            self.rules.count_cut_short();
        }
    }
}

impl Chosen {
    /// The rule.
    pub fn rule(&self) -> Option<&Rule> {
        self.rules.policy().rules().get(self.index)
    }

    /// The call's workload: as its caller names it, else as the rule does.
    pub fn workload(&self) -> Option<&str> {
        self.tags.workload.as_deref().or_else(|| self.rule()?.workload.as_deref())
    }

    /// Whether its body has to be seen whole before it is known whether the rule means it already.
    pub fn depends_on_body(&self) -> bool {
        self.rule().is_some_and(|rule| (1..100).contains(&rule.rollout))
    }

    /// Why it is served live, as far as the rule says so; none if it is to be deferred.
    pub async fn live_reason(&self, body: Bytes) -> Option<LiveReason> {
        let Some(rule) = self.rule() else { return Some(LiveReason::NoRule) };
        if !is_included(rule, body).await {
            return Some(LiveReason::Rollout);
        }
        (rule.action != Action::Defer).then_some(LiveReason::Rule)
    }

    /// What is promised for it, where it is to be deferred: what its headers say, else what the rule says.
    ///
    /// # Errors
    /// If its deadline is too close.
    pub fn terms(&self, settings: &Settings, headers: &HeaderMap) -> Result<Terms, LiveReason> {
        let Some(rule) = self.rule() else { return Err(LiveReason::NoRule) };
        let deadline = self.asked_at.plus(rule.deadline.unwrap_or(settings.default_deadline));
        if deadline < self.asked_at.plus(settings.min_deadline) {
            return Err(LiveReason::DeadlineTooClose);
        }
        let mut tags = self.tags.clone();
        let promise = Promise {
            rule: Arc::clone(&rule.name),
            reply: rule.reply,
            callback: tags.callback.is_none(),
            cache: rule.cache == Cache::Auto,
        };
        tags.workload = tags.workload.or_else(|| rule.workload.clone());
        tags.callback = tags.callback.or_else(|| rule.callback.clone());
        // A key of another form than ours is none of our business, since nobody asked us to defer.
        tags.idempotency_key = tags::idempotency_key(headers).unwrap_or_default();
        Ok(Terms { asked_at: self.asked_at, deadline, tags, promise: Some(promise) })
    }

    /// Fills what a caller left open who asked to be deferred himself. Deadline and reply are those of his asking.
    pub(super) fn complete(&self, tags: &mut Tags) {
        let Some(rule) = self.rule() else { return };
        tags.workload = tags.workload.take().or_else(|| rule.workload.clone());
        if rule.action == Action::Defer {
            tags.callback = tags.callback.take().or_else(|| rule.callback.clone());
        }
    }

    /// The decision to defer it.
    pub fn deferred(&self, id: DeferralId) -> Decision {
        Decision::Deferred(self.rule().map(|rule| Arc::clone(&rule.name)), id)
    }

    /// The decision to serve it live.
    pub fn live(&self, reason: LiveReason) -> Decision {
        Decision::Live(self.rule().map(|rule| Arc::clone(&rule.name)), reason)
    }

    /// Counts what became of it.
    pub fn count(&self, decision: &Decision) {
        let reason = if let Decision::Live(_, reason) = decision { Some(*reason) } else { None };
        self.rules.count_decided(self.index, decision.words(), reason);
    }
}

/// Whether a rule means a call already that it matches.
async fn is_included(rule: &Rule, body: Bytes) -> bool {
    let (name, rollout) = (Arc::clone(&rule.name), rule.rollout);
    if body.len() <= READ_ASIDE_BYTES {
        return rollout::includes(&name, rollout, &body);
    }
    let hashing = tokio::task::spawn_blocking(move || rollout::includes(&name, rollout, &body));
    hashing.await.unwrap_or(false)
}
