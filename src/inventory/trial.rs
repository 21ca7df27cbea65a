//! Trials: what rules would have done with the calls that were recorded.
//!
//! A record keeps no header but `user-agent`, and of a system prompt at most its beginning. A rule that asks for more cannot
//! be told about some calls, and these are counted apart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue, USER_AGENT};

use crate::domain::glance::BodyFacts;
use crate::domain::money::NanoUsd;
use crate::domain::policy::{Course, Facts, Policy, Rule, Said, Standing};
use crate::domain::record::{CallRecord, Way};
use crate::domain::workload::WorkloadId;

/// The path of calls, which are all that is recorded.
const CALLS: &str = "/v1/messages";

/// What a batch costs of the live price.
const BATCH_SHARE: i64 = 2;

/// How long something took is kept by its binary logarithm, in so many steps for each doubling: within a tenth.
const STEPS: f64 = 8.0;
const STEPS_MAX: usize = 40 * 8;

/// What is not the rules' own, but holds for all of them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The deadline of a rule that names none.
    pub default_deadline: Duration,
    /// What is wanted sooner is served live.
    pub min_deadline: Duration,
    /// What is longer, in bytes, is not queued.
    pub max_body: u64,
}

/// Rules that are tried.
#[derive(Debug)]
pub struct Trial {
    policy: Policy,
    limits: Limits,
    tried: Vec<Tried>,
    /// The calls that were seen.
    pub calls: u64,
}

/// What a rule would have done.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// Its name.
    pub rule: Arc<str>,
    /// The calls that it would have decided over.
    pub matched: u64,
    /// Those of which that cannot be told, since a record does not have what the rule asks for.
    pub unknown: u64,
    /// Those that its condition failed on.
    pub failed: u64,
    /// Those of the matched that could have been deferred, before any rollout.
    pub eligible: u64,
    /// Those of the matched that could not, by what stands in the way.
    pub ineligible: BTreeMap<String, u64>,
    /// Those of the matched that were deferred anyway.
    pub deferred_already: u64,
    /// What those that could have been deferred cost live.
    pub live_cost: NanoUsd,
    /// The part of that which no batch lowers.
    pub fees: NanoUsd,
    /// What a batch would have saved on them.
    pub saving: NanoUsd,
    /// Those without a known price.
    pub unpriced: u64,
    /// Of those that could have been deferred: turns of a tool loop, streams, and clients that left; each a sign that
    /// somebody waits.
    pub tool_turns: u64,
    /// Streams.
    pub streams: u64,
    /// Clients that left before the answer's end.
    pub hung_up: u64,
    /// How long these took live.
    pub live_time: Times,
    /// How long calls took that were served by batches, of the matched.
    pub batch_time: Times,
}

/// How long many things took.
#[derive(Clone, Debug, Default)]
pub struct Times {
    steps: BTreeMap<usize, u64>,
    count: u64,
}

impl Trial {
    /// Tries these rules, in their order.
    pub fn new(rules: Vec<Rule>, limits: Limits) -> Self {
        let tried = rules.iter().map(|rule| Tried { rule: Arc::clone(&rule.name), ..Tried::default() }).collect();
        Self { policy: Policy::new(rules), limits, tried, calls: 0 }
    }

    /// Asks the rules about one call; of its system prompt this may be the beginning.
    pub fn see(&mut self, call: &CallRecord, preview: Option<&str>) {
        self.calls += 1;
        let mut headers = HeaderMap::with_capacity(1);
        if let Some(client) = HeaderValue::from_str(&call.client).ok().filter(|client| !client.is_empty()) {
            headers.insert(USER_AGENT, client);
        }
        // A workload's own name is one that a header gave; what it was recognised by no rule sees.
        let workload = if WorkloadId::parse(&call.workload).is_some() { "" } else { &call.workload };
        let body = BodyFacts::of_record(call, preview);
        let (headers, tenant, now) = (&headers, call.tenant.as_str(), call.at);
        let facts = Facts { headers, path: CALLS, tenant, workload, now, body: &body, is_record: true };
        let mut course = Course::default();
        let standing = self.policy.go_on(&mut course, &facts);
        for (tried, said) in self.tried.iter_mut().zip(&course.said) {
            tried.failed += u64::from(matches!(said, Said::Fails(_)));
        }
        match standing {
            Standing::Decided(index) => self.count(index, call),
            Standing::WantsBody => {
                if let Some(tried) = self.tried.get_mut(course.said.len()) {
                    tried.unknown += 1;
                }
            }
            Standing::NoRule => {}
        }
    }

    /// What each rule would have done.
    pub fn tried(&self) -> impl Iterator<Item = (&Rule, &Tried)> {
        self.policy.rules().iter().zip(&self.tried)
    }

    fn count(&mut self, index: usize, call: &CallRecord) {
        let (Some(rule), Some(tried)) = (self.policy.rules().get(index), self.tried.get_mut(index)) else { return };
        tried.matched += 1;
        if call.way != Way::Live {
            tried.deferred_already += 1;
            if call.way == Way::Batch {
                tried.batch_time.note(call.duration_ms);
            }
            return;
        }
        if let Some(reason) = in_the_way(rule, call, &self.limits) {
            *tried.ineligible.entry(reason).or_default() += 1;
            return;
        }
        tried.eligible += 1;
        match call.cost {
            Some((_, live)) => {
                tried.live_cost = NanoUsd(tried.live_cost.0.saturating_add(live.0));
                tried.fees = NanoUsd(tried.fees.0.saturating_add(call.fees.0));
                tried.saving = NanoUsd((tried.live_cost - tried.fees).0.max(0) / BATCH_SHARE);
            }
            None => tried.unpriced += 1,
        }
        tried.tool_turns += u64::from(call.tool_turn);
        tried.streams += u64::from(call.stream);
        tried.hung_up += u64::from(call.hung_up);
        tried.live_time.note(call.duration_ms);
    }
}

/// Why a call could not have been deferred, in the word that a decision has for it.
fn in_the_way(rule: &Rule, call: &CallRecord, limits: &Limits) -> Option<String> {
    if let Some(blocked_by) = &call.blocked_by {
        return Some(blocked_by.clone());
    }
    if call.request_bytes > limits.max_body {
        return Some("too-large".to_owned());
    }
    let is_close = rule.deadline.unwrap_or(limits.default_deadline) < limits.min_deadline;
    is_close.then(|| "deadline-too-close".to_owned())
}

impl Times {
    fn note(&mut self, millis: u64) {
        let step = ((millis as f64 + 1.0).log2() * STEPS).round() as usize;
        *self.steps.entry(step.min(STEPS_MAX)).or_default() += 1;
        self.count += 1;
    }

    /// What so many in a hundred stay within, in milliseconds; none if nothing was noted.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let step = self.steps.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        })?;
        Some(((*step.0 as f64 / STEPS).exp2() - 1.0).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::domain::policy::{Action, Cache, Condition, Reply};

    const LIMITS: Limits =
        Limits { default_deadline: Duration::from_hours(24), min_deadline: Duration::from_mins(5), max_body: 10_000 };

    fn rule(when: &str) -> Rule {
        let (action, reply, cache) = (Action::Defer, Reply::Hold, Cache::Off);
        let (name, when) = (when.into(), Condition::compile(when).unwrap());
        Rule { name, when, action, rollout: 100, deadline: None, reply, workload: None, callback: None, cache }
    }

    fn call() -> CallRecord {
        CallRecord {
            at: Timestamp::from_millis(1_795_350_000_000),
            tenant: "team".into(),
            workload: "wkl_0123456789abcdef".into(),
            model: "claude-haiku-4-5".into(),
            cost: Some((NanoUsd(1_000), NanoUsd(1_000))),
            status: 200,
            request_bytes: 500,
            duration_ms: 2_000,
            client: "airflow/2.9".into(),
            max_tokens: 64,
            messages: 1,
            system_hash: 7,
            ..CallRecord::default()
        }
    }

    fn tried(rules: &[&str], calls: &[CallRecord]) -> Vec<Tried> {
        let mut trial = Trial::new(rules.iter().map(|when| rule(when)).collect(), LIMITS);
        calls.iter().for_each(|call| trial.see(call, Some("You summarise reports")));
        assert_eq!(trial.calls, calls.len() as u64);
        trial.tried().map(|(_, tried)| tried.clone()).collect()
    }

    #[test]
    fn records_answer_what_they_keep() {
        for when in [
            "request.model.startsWith('claude-haiku') && request.max_tokens == 64 && request.messages == 1",
            "headers['user-agent'].startsWith('airflow/') && request.tools == 0 && !request.stream",
            "request.system_prefix.startsWith('You summarise') && request.bytes == 500",
            "tenant == 'team' && workload == '' && path == '/v1/messages' && now.getHours() == 12",
            "headers['x-team'] == 'a' || request.messages == 1",
        ] {
            assert_eq!(tried(&[when], &[call()])[0].matched, 1, "{when}");
        }
        let named = CallRecord { workload: "digests".into(), ..call() };
        assert_eq!(tried(&["workload == 'digests'"], &[named, call()])[0].matched, 1);
        let plain = CallRecord { system_hash: 0, ..call() };
        assert_eq!(tried(&["request.system_prefix == ''"], &[plain, call()])[0].matched, 1);
    }

    #[test]
    fn what_a_record_does_not_keep_is_unknown_and_no_guess() {
        for when in
            ["headers['x-team'] == 'a'", "has(headers.host)", "headers['x-team'] == '' && request.messages == 1"]
        {
            let seen = &tried(&[when, "true"], &[call()]);
            assert_eq!((seen[0].unknown, seen[0].matched, seen[1].matched), (1, 0, 0), "{when}");
        }
        let unread = CallRecord { messages: 0, model: String::new(), ..call() };
        assert_eq!(tried(&["request.model == ''"], &[unread])[0].unknown, 1);
        let mut trial = Trial::new(vec![rule("request.system_prefix == 'x'")], LIMITS);
        trial.see(&call(), None);
        assert_eq!(trial.tried().next().unwrap().1.unknown, 1);
    }

    #[test]
    fn calls_that_could_not_wait_are_told_apart_and_cost_nothing_less() {
        let calls = [
            call(),
            CallRecord { blocked_by: Some("thread".into()), ..call() },
            CallRecord { request_bytes: 10_001, ..call() },
            CallRecord { way: Way::Batch, duration_ms: 600_000, ..call() },
            CallRecord { way: Way::Rescued, ..call() },
            CallRecord { cost: Some((NanoUsd(5_000), NanoUsd(5_000))), fees: NanoUsd(4_000), ..call() },
            CallRecord { cost: None, tool_turn: true, stream: true, hung_up: true, ..call() },
        ];
        let seen = tried(&["int(tenant) > 1", "true"], &calls);
        assert_eq!((seen[0].failed, seen[0].matched), (7, 0));
        let seen = &seen[1];
        assert_eq!((seen.matched, seen.eligible, seen.deferred_already), (7, 3, 2));
        let ineligible: Vec<_> = seen.ineligible.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        assert_eq!(ineligible, [("thread", 1), ("too-large", 1)]);
        assert_eq!((seen.live_cost, seen.saving, seen.unpriced), (NanoUsd(6_000), NanoUsd(1_000), 1));
        assert_eq!((seen.tool_turns, seen.streams, seen.hung_up), (1, 1, 1));
        assert!(seen.batch_time.percentile(50).unwrap().abs_diff(600_000) < 60_000);

        let hasty = Rule { deadline: Some(Duration::from_mins(1)), ..rule("true") };
        let mut trial = Trial::new(vec![hasty], LIMITS);
        trial.see(&call(), None);
        assert_eq!(trial.tried().next().unwrap().1.ineligible["deadline-too-close"], 1);
    }

    #[test]
    fn times_are_told_within_a_tenth() {
        let mut times = Times::default();
        assert_eq!(times.percentile(50), None);
        (1..=1_000).for_each(|number| times.note(number * 10));
        for (percent, expected) in [(50, 5_000), (90, 9_000), (99, 9_900)] {
            let told = times.percentile(percent).unwrap();
            assert!(told.abs_diff(expected) * 10 < expected, "{percent}: {told}");
        }
        times.note(u64::MAX);
        assert!(times.percentile(100).unwrap() > 1_000_000_000);
    }
}
