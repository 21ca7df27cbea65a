//! What is known of a call, as the interpreter asks for it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use cel::common::types::{CelBool, CelInt, CelString, CelTimestamp};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use chrono::DateTime;
use http::{HeaderMap, HeaderName};

use super::headers::AllHeaders;
use super::pattern::Pattern;
use super::variable::Variable;
use crate::clock::Timestamp;
use crate::domain::glance::BodyFacts;

/// Headers that hold credentials: conditions never see them, since what they see shows in what they decide.
const CREDENTIALS: [&str; 4] = ["x-api-key", "authorization", "proxy-authorization", "cookie"];

/// What there is to know of a call.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The path that it asks for.
    pub path: &'a str,
    /// Who calls; empty without a credential.
    pub tenant: &'a str,
    /// The workload that a header names; empty without one.
    pub workload: &'a str,
    /// When it came.
    pub now: Timestamp,
    /// What was read of its body.
    pub body: &'a BodyFacts,
    /// Whether it is a record of a call, which keeps no header but `user-agent`.
    pub is_record: bool,
}

impl<'a> Facts<'a> {
    /// The value of a header as conditions see it: several under one name are one list, and none is empty.
    pub(super) fn header(&self, name: &str) -> Cow<'a, str> {
        if CREDENTIALS.contains(&name) {
            return Cow::Borrowed("");
        }
        let mut values = self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let Some(first) = values.next() else { return Cow::Borrowed("") };
        values.fold(first, |all, value| Cow::Owned(format!("{all}, {value}")))
    }

    /// The names of the headers that conditions see.
    pub(super) fn header_names(&self) -> impl Iterator<Item = &'a str> {
        self.headers.keys().map(HeaderName::as_str).filter(|name| !CREDENTIALS.contains(name))
    }

    /// What a variable reads as; `None` while that is not known.
    pub fn shown(&self, variable: &Variable) -> Option<String> {
        let body = self.body;
        match variable {
            Variable::Model => body.model().map(|text| format!("{text:?}")),
            Variable::SystemPrefix => body.system_prefix().map(|text| format!("{text:?}")),
            Variable::Stream => body.stream().map(|flag| flag.to_string()),
            Variable::MaxTokens => body.max_tokens().map(|count| count.to_string()),
            Variable::Bytes => body.bytes().map(|count| count.to_string()),
            Variable::Messages => body.messages().map(|count| count.to_string()),
            Variable::Tools => body.tools().map(|count| count.to_string()),
            Variable::Header(name) => Some(format!("{:?}", self.header(name))),
            Variable::Headers => Some(format!("{:?}", self.header_names().collect::<Vec<_>>())),
            Variable::Path => Some(format!("{:?}", self.path)),
            Variable::Tenant => Some(format!("{:?}", self.tenant)),
            Variable::Workload => Some(format!("{:?}", self.workload)),
            Variable::Now => Some(self.now.to_string()),
        }
    }
}

/// A variable that a policy asks for, by the name under which compiled conditions ask for it.
pub(super) type Wanted = (String, Variable);

/// The same as values, just those that a policy asks for, so that no condition makes them anew.
pub(super) struct Known<'a> {
    /// Sorted by name.
    wanted: &'a [Wanted],
    values: Vec<Option<Box<dyn Val + 'a>>>,
    patterns: &'a BTreeMap<String, Pattern>,
    /// Whether something was asked for that is not known yet.
    missed: AtomicBool,
}

impl<'a> Known<'a> {
    pub(super) fn of(facts: &Facts<'a>, wanted: &'a [Wanted], patterns: &'a BTreeMap<String, Pattern>) -> Self {
        let values = wanted.iter().map(|(_, variable)| value(facts, variable)).collect();
        Self { wanted, values, patterns, missed: AtomicBool::new(false) }
    }

    /// Whether something was missed since this was asked last.
    pub(super) fn take_missed(&self) -> bool {
        self.missed.swap(false, Ordering::Relaxed)
    }
}

fn value<'a>(facts: &Facts<'a>, variable: &Variable) -> Option<Box<dyn Val + 'a>> {
    fn text<'a>(text: impl Into<Cow<'a, str>>) -> Option<Box<dyn Val + 'a>> {
        Some(Box::new(CelString::from(text.into())))
    }
    fn count<'a>(count: Option<i64>) -> Option<Box<dyn Val + 'a>> {
        count.map(|count| Box::new(CelInt::from(count)) as Box<dyn Val + 'a>)
    }
    let body = facts.body;
    match variable {
        Variable::Model => body.model().and_then(text),
        Variable::SystemPrefix => body.system_prefix().and_then(text),
        Variable::Stream => body.stream().map(|flag| Box::new(CelBool::from(flag)) as Box<dyn Val + 'a>),
        Variable::MaxTokens => count(body.max_tokens()),
        Variable::Bytes => count(body.bytes()),
        Variable::Messages => count(body.messages()),
        Variable::Tools => count(body.tools()),
        Variable::Header(name) if facts.is_record && name != "user-agent" => None,
        Variable::Headers if facts.is_record => None,
        Variable::Header(name) => text(facts.header(name)),
        Variable::Headers => Some(Box::new(AllHeaders::of(facts))),
        Variable::Path => text(facts.path),
        Variable::Tenant => text(facts.tenant),
        Variable::Workload => text(facts.workload),
        // Beyond what a date can say, it is the beginning of time.
        Variable::Now => {
            let now = DateTime::from_timestamp_millis(facts.now.as_millis()).unwrap_or_default();
            Some(Box::new(CelTimestamp::from(now.fixed_offset())))
        }
    }
}

impl VariableResolver for Known<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if let Ok(index) = self.wanted.binary_search_by(|(key, _)| key.as_str().cmp(variable)) {
            let value = self.values.get(index).and_then(Option::as_deref);
            if value.is_none() {
                self.missed.store(true, Ordering::Relaxed);
            }
            return value.map(CowVal::Borrowed);
        }
        self.patterns.get(variable).map(|pattern| CowVal::Borrowed(pattern))
    }
}
