//! Policies: what the operator wants done with which calls. The first rule that matches a call decides.
//!
//! A rule's condition is checked when the policy is read, down to the name of every variable and the kinds of what is
//! compared, so that at a call hardly anything can go wrong any more. What still does is no match.

mod check;
mod condition;
mod constant;
mod function;
mod headers;
mod kind;
mod known;
mod operator;
mod pattern;
mod quick;
pub mod rollout;
mod rule;
mod said;
mod variable;

#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::BTreeMap;

pub use condition::{CONDITION_MAX, Condition, Mistake};
pub use known::Facts;
pub use rule::{Action, Cache, NAME_FORM, Reply, Rule, is_name};
pub use variable::Variable;

use condition::{Unanswered, place, wanted};
use known::{Known, Wanted};
use pattern::Pattern;
use quick::Part;

/// All rules, in their order.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    /// The plain part of each rule's condition, over what is wanted.
    plain: Vec<Part<usize>>,
    wanted: Vec<Wanted>,
    patterns: BTreeMap<String, Pattern>,
}

/// How far a policy has come with one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// The rule that is to be asked next.
    next: usize,
    /// What each rule before it said.
    pub said: Vec<Said>,
}

/// What a rule said to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It matches.
    Matches,
    /// It does not.
    No,
    /// Its condition fails, which is no match: why, in words that show nothing of the call.
    Fails(String),
}

/// Where a policy stands with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The rule of this number decides.
    Decided(usize),
    /// No rule matches.
    NoRule,
    /// The next rule has to know more of the body.
    WantsBody,
}

impl Policy {
    /// A policy of these rules, whose names differ.
    pub fn new(rules: Vec<Rule>) -> Self {
        let wanted = wanted(rules.iter().flat_map(|rule| rule.when.reads()));
        let patterns = rules.iter().flat_map(|rule| rule.when.patterns().clone()).collect();
        let find = |variable: &Variable| wanted.iter().position(|(_, it)| it == variable);
        let plain = rules.iter().map(|rule| rule.when.plain().over(&find)).collect();
        Self { rules, plain, wanted, patterns }
    }

    /// Its rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether any rule asks for this.
    pub fn reads(&self, variable: &Variable) -> bool {
        self.wanted.iter().any(|(_, wanted)| wanted == variable)
    }

    /// Asks rule after rule, from where `course` stands, until one matches or must know more. No rule is asked twice.
    pub fn go_on(&self, course: &mut Course, facts: &Facts<'_>) -> Standing {
        if course.next >= self.rules.len() {
            return Standing::NoRule;
        }
        if course.said.len() > course.next {
            return Standing::Decided(course.next);
        }
        course.said.reserve(self.rules.len() - course.next);
        let known = Known::of(facts, &self.wanted, &self.patterns);
        let context = OnceCell::new();
        while let Some((rule, plain)) = self.rules.get(course.next).zip(self.plain.get(course.next)) {
            let by_interpreter = || rule.when.holds(context.get_or_init(|| condition::context(&known)), &known);
            let holds = match plain {
                Part::Whole(quick) => quick.holds(known.plain()).ok_or(Unanswered::Unknown),
                Part::Needed(quick) if quick.holds(known.plain()) == Some(false) => Ok(false),
                Part::Needed(_) | Part::Nothing => by_interpreter(),
            };
            let said = match holds {
                Ok(true) => Said::Matches,
                Ok(false) => Said::No,
                Err(Unanswered::Failed(why)) => Said::Fails(why),
                Err(Unanswered::Unknown) => return Standing::WantsBody,
            };
            let decides = said == Said::Matches;
            course.said.push(said);
            if decides {
                return Standing::Decided(course.next);
            }
            course.next += 1;
        }
        Standing::NoRule
    }
}
