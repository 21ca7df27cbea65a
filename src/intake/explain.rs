//! Explaining what would become of a call, and why, with nothing but its text and the settings at hand.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::clock::Timestamp;
use crate::domain::decision::{Decision, LiveReason};
use crate::domain::glance::BodyFacts;
use crate::domain::id::DeferralId;
use crate::domain::policy::{Facts, Said, Standing};
use crate::encoding;
use crate::intake::decide::{self, Sent};
use crate::intake::{Asking, CALLS, Caller, Refusal, Rules, Settings, Tags, Terms, item, lane_of};
use crate::secret::Vault;

/// What would become of a call.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The decision; the id of a deferral is nobody's.
    pub decision: Decision,
    /// The rules that would be asked, up to the one that decides.
    pub rules: Vec<Asked>,
    /// What would be promised, if it is deferred.
    pub terms: Option<Terms>,
    /// Why no batch takes it, as far as that can be told here.
    pub blocked: Option<Refusal>,
}

/// A rule that was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its name.
    pub name: Arc<str>,
    /// What it said.
    pub said: Said,
    /// What it reads of the call, and what that is.
    pub reads: Vec<(String, String)>,
}

/// Explains a call with these headers and this body, made at this time.
///
/// # Errors
/// If a header does not parse, for which the call would be refused.
pub async fn explain(
    settings: &Settings,
    vault: &Vault,
    headers: &HeaderMap,
    body: Bytes,
    now: Timestamp,
) -> Result<Explanation, Refusal> {
    let caller = Caller::read(headers, &settings.keys, vault);
    let tenant = caller.as_ref().map(|caller| caller.tenant.clone()).unwrap_or_default();
    let blocked = blocked(settings, caller, headers, &body).await;
    let nobody = |decision, terms| Explanation { decision, rules: Vec::new(), terms, blocked: blocked.clone() };
    let tags = match decide::sent(Tags::read(headers)?, settings, now) {
        Sent::Live(reason) => return Ok(nobody(Decision::Live(None, reason), None)),
        Sent::Defer(terms) => return Ok(nobody(Decision::Deferred(None, DeferralId(uuid::Uuid::nil())), Some(terms))),
        Sent::Unsaid(tags) => tags,
    };
    let (plain, facts) = facts(settings, headers, &body).await;
    let rules = Arc::new(Rules::of(settings.rules.clone()));
    let workload = tags.workload.clone().unwrap_or_default();
    let mut asking = Asking::begin(Arc::clone(&rules), tags, tenant.clone(), now);
    let standing = asking.go_on(headers, CALLS, &facts);
    let seen =
        Facts { headers, path: CALLS, tenant: &tenant, workload: &workload, now, body: &facts, is_record: false };
    let asked = asked(&rules, asking.said(), &seen);
    let Standing::Decided(index) = standing else {
        return Ok(Explanation { rules: asked, ..nobody(Decision::Live(None, LiveReason::NoRule), None) });
    };
    let chosen = asking.chosen(index);
    let terms = match chosen.live_reason(plain).await {
        Some(reason) => Err(reason),
        None => chosen.terms(settings, headers),
    };
    let promised = terms.as_ref().ok().and_then(|terms| terms.promise.as_ref());
    let stands_in_the_way = promised.zip(blocked.as_ref()).and_then(|(promise, no)| no.live_reason(promise));
    let decision = match terms.as_ref().err().copied().or(stands_in_the_way) {
        Some(reason) => chosen.live(reason),
        None => chosen.deferred(DeferralId(uuid::Uuid::nil())),
    };
    Ok(Explanation { decision, rules: asked, terms: terms.ok(), blocked })
}

/// What stands in the way of a batch, but for what only the provider and the store know.
async fn blocked(settings: &Settings, caller: Option<Caller>, headers: &HeaderMap, body: &Bytes) -> Option<Refusal> {
    if body.len() as u64 > settings.max_body {
        return Some(Refusal::TooLarge(settings.max_body));
    }
    let lane = match lane_of(caller, headers) {
        Ok(lane) => lane,
        Err(refusal) => return Some(refusal),
    };
    let profile = lane.user_profile_id.as_deref();
    item::read(headers, body.clone(), profile, settings.max_body, false).await.err()
}

/// What the body means, as far as it is read, and its facts.
async fn facts(settings: &Settings, headers: &HeaderMap, body: &Bytes) -> (Bytes, BodyFacts) {
    let encoding = headers.get("content-encoding").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let limit = usize::try_from(settings.max_body).unwrap_or(usize::MAX);
    let plain = encoding::begin(encoding, body, limit).await;
    let facts = item::facts_of(&plain, body.len() as u64);
    (plain, facts)
}

fn asked(rules: &Rules, said: &[Said], facts: &Facts<'_>) -> Vec<Asked> {
    let asked = |(rule, said): (&crate::domain::policy::Rule, &Said)| {
        let reads = rule.when.reads().iter();
        let shown = |variable| facts.shown(variable).unwrap_or_default();
        let reads = reads.map(|variable| (variable.to_string(), shown(variable))).collect();
        Asked { name: Arc::clone(&rule.name), said: said.clone(), reads }
    };
    rules.policy().rules().iter().zip(said).map(asked).collect()
}
