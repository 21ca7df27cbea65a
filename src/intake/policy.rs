//! The policy in force, and what its rules have done so far.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use crate::clock::Timestamp;
use crate::domain::decision::LiveReason;
use crate::domain::policy::{Action, Cache, Condition, Policy, Reply, Rule, Said};

/// The policy in force. Clones share it.
#[derive(Clone, Debug)]
pub struct InForce(Arc<Held>);

#[derive(Debug)]
struct Held {
    rules: RwLock<Arc<Rules>>,
    /// What is wrong with the settings that were read last, if they were not taken over.
    fault: Mutex<Option<Refused>>,
}

/// Settings that were read again and not taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// All that is wrong with them, a line each.
    pub faults: Vec<String>,
}

/// The condition that every call meets; compiled once.
fn every_call() -> Option<Condition> {
    static EVERY_CALL: OnceLock<Option<Condition>> = OnceLock::new();
    EVERY_CALL.get_or_init(|| Condition::compile("true").ok()).clone()
}

/// A policy, with what each of its rules has done.
#[derive(Debug, Default)]
pub struct Rules {
    policy: Policy,
    tallies: Vec<Arc<Tally>>,
    /// Calls of which a rule would have had to see more than is read of a body.
    cut_short: Arc<AtomicU64>,
}

/// What a rule has done, since this process began to know a rule of its name.
#[derive(Debug, Default)]
pub struct Tally {
    matched: AtomicU64,
    failed: AtomicU64,
    done: Mutex<Done>,
}

/// What became of the calls that a rule matched, and what it last failed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// How many were decided this way and why, in a word each.
    pub decided: BTreeMap<(&'static str, &'static str), u64>,
    /// How many could not be deferred, by what stood in the way.
    pub blocked: BTreeMap<&'static str, u64>,
    /// What it failed on last.
    pub last_error: Option<String>,
}

impl InForce {
    /// These rules are in force.
    pub fn new(rules: Vec<Rule>) -> Self {
        let rules = RwLock::new(Arc::new(Rules::of(rules)));
        Self(Arc::new(Held { rules, fault: Mutex::default() }))
    }

    /// What is in force now; a call that has it keeps it.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.0.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on these rules are in force, and no others.
    pub fn replace(&self, rules: Vec<Rule>) {
        let mut held = self.0.rules.write().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::new(Rules::following(&held, rules));
        *self.fault() = None;
    }

    /// Settings were read again, and not taken over.
    pub fn refuse(&self, refused: Refused) {
        *self.fault() = Some(refused);
    }

    /// What is wrong with the settings that were read last, if they were not taken over.
    pub fn refused(&self) -> Option<Refused> {
        self.fault().clone()
    }

    fn fault(&self) -> MutexGuard<'_, Option<Refused>> {
        self.0.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    /// These rules, which have done nothing yet.
    pub fn of(rules: Vec<Rule>) -> Self {
        Self::following(&Self::default(), rules)
    }

    /// These rules; one whose name was known before goes on counting.
    fn following(before: &Self, rules: Vec<Rule>) -> Self {
        let tally = |rule: &Rule| {
            let known = before.policy.rules().iter().position(|other| other.name == rule.name);
            known.and_then(|index| before.tallies.get(index)).map(Arc::clone).unwrap_or_default()
        };
        let tallies = rules.iter().map(tally).collect();
        Self { policy: Policy::new(rules), tallies, cut_short: Arc::clone(&before.cut_short) }
    }

    /// Those of these rules that defer, and behind them one that defers all other calls; `None` if it cannot be made, of which
    /// a test assures.
    pub(super) fn deferring(&self, name: &str) -> Option<Self> {
        let mut rules: Vec<Rule> =
            self.policy.rules().iter().filter(|rule| rule.action == Action::Defer).cloned().collect();
        rules.push(Rule {
            name: name.into(),
            when: every_call()?,
            action: Action::Defer,
            rollout: 100,
            deadline: None,
            reply: Reply::Hold,
            workload: None,
            callback: None,
            cache: Cache::Off,
        });
        Some(Self::following(self, rules))
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Each rule with what it has done, in their order.
    pub fn each(&self) -> impl Iterator<Item = (&Rule, &Tally)> {
        self.policy.rules().iter().zip(self.tallies.iter().map(Arc::as_ref))
    }

    /// Calls of which a rule would have had to see more than is read of a body.
    pub fn cut_short(&self) -> u64 {
        self.cut_short.load(Ordering::Relaxed)
    }

    pub(super) fn count_cut_short(&self) {
        self.cut_short.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what each rule said to a call.
    pub(super) fn count_said(&self, said: &[Said]) {
        for (tally, said) in self.tallies.iter().zip(said) {
            match said {
                Said::No => {}
                Said::Matches => _ = tally.matched.fetch_add(1, Ordering::Relaxed),
                Said::Fails(why) => {
                    tally.failed.fetch_add(1, Ordering::Relaxed);
                    tally.lock().last_error = Some(why.clone());
                }
            }
        }
    }

    /// Counts what became of a call that the rule of this number matched.
    pub(super) fn count_decided(&self, rule: usize, words: (&'static str, &'static str), reason: Option<LiveReason>) {
        let Some(tally) = self.tallies.get(rule) else { return };
        let mut done = tally.lock();
        *done.decided.entry(words).or_default() += 1;
        if let Some(LiveReason::NotDeferrable(blocked_by)) = reason {
            *done.blocked.entry(blocked_by).or_default() += 1;
        }
    }
}

impl Tally {
    /// How many calls it matched.
    pub fn matched(&self) -> u64 {
        self.matched.load(Ordering::Relaxed)
    }

    /// How many calls its condition failed on.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// What became of them.
    pub fn done(&self) -> Done {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
