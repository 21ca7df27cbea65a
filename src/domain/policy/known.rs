//! What is known of a call, as the interpreter asks for it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;
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
        Some(match self.plain(variable)? {
            Plain::Text(text) => format!("{text:?}"),
            Plain::Number(number) => number.to_string(),
            Plain::Flag(flag) => flag.to_string(),
            Plain::Other if *variable == Variable::Headers => format!("{:?}", self.header_names().collect::<Vec<_>>()),
            Plain::Other => self.now.to_string(),
        })
    }
}

/// A variable that a policy asks for, by the name under which compiled conditions ask for it.
pub(super) type Wanted = (String, Variable);

/// What a variable is, where it is something plain.
#[derive(Clone, Debug)]
pub(super) enum Plain<'a> {
    Text(Cow<'a, str>),
    Number(i64),
    Flag(bool),
    /// Something that only the interpreter knows how to ask.
    Other,
}

/// The same, just what a policy asks for, so that no condition finds it out anew.
pub(super) struct Known<'a> {
    facts: Facts<'a>,
    /// Sorted by name.
    wanted: &'a [Wanted],
    plain: Vec<Option<Plain<'a>>>,
    patterns: &'a BTreeMap<String, Pattern>,
    /// As the interpreter has them, once it asks.
    values: OnceLock<Vec<Option<Box<dyn Val + 'a>>>>,
    /// Whether something was asked for that is not known yet.
    missed: AtomicBool,
}

impl<'a> Known<'a> {
    pub(super) fn of(facts: &Facts<'a>, wanted: &'a [Wanted], patterns: &'a BTreeMap<String, Pattern>) -> Self {
        let plain = wanted.iter().map(|(_, variable)| facts.plain(variable)).collect();
        let (values, missed) = (OnceLock::new(), AtomicBool::new(false));
        Self { facts: *facts, wanted, plain, patterns, values, missed }
    }

    /// What each wanted variable is, in their order; none where that is not known yet.
    pub(super) fn plain(&self) -> &[Option<Plain<'a>>] {
        &self.plain
    }

    /// Whether something was missed since this was asked last.
    pub(super) fn take_missed(&self) -> bool {
        self.missed.swap(false, Ordering::Relaxed)
    }

    fn values(&self) -> &[Option<Box<dyn Val + 'a>>] {
        self.values.get_or_init(|| {
            let each = self.plain.iter().zip(self.wanted);
            each.map(|(plain, (_, variable))| Some(self.value(plain.as_ref()?, variable))).collect()
        })
    }

    fn value(&self, plain: &Plain<'a>, variable: &Variable) -> Box<dyn Val + 'a> {
        match plain {
            Plain::Text(text) => Box::new(CelString::from(text.clone())),
            Plain::Number(number) => Box::new(CelInt::from(*number)),
            Plain::Flag(flag) => Box::new(CelBool::from(*flag)),
            Plain::Other if *variable == Variable::Headers => Box::new(AllHeaders::of(&self.facts)),
            // Beyond what a date can say, it is the beginning of time.
            Plain::Other => {
                let now = DateTime::from_timestamp_millis(self.facts.now.as_millis()).unwrap_or_default();
                Box::new(CelTimestamp::from(now.fixed_offset()))
            }
        }
    }
}

impl<'a> Facts<'a> {
    /// What a variable is; none while that is not known.
    fn plain(&self, variable: &Variable) -> Option<Plain<'a>> {
        let text = |text: &'a str| Plain::Text(Cow::Borrowed(text));
        match variable {
            Variable::Model => self.body.model().map(text),
            Variable::SystemPrefix => self.body.system_prefix().map(text),
            Variable::Stream => self.body.stream().map(Plain::Flag),
            Variable::MaxTokens => self.body.max_tokens().map(Plain::Number),
            Variable::Bytes => self.body.bytes().map(Plain::Number),
            Variable::Messages => self.body.messages().map(Plain::Number),
            Variable::Tools => self.body.tools().map(Plain::Number),
            Variable::Header(name) if self.is_record && name != "user-agent" => None,
            Variable::Headers if self.is_record => None,
            Variable::Header(name) => Some(Plain::Text(self.header(name))),
            Variable::Path => Some(text(self.path)),
            Variable::Tenant => Some(text(self.tenant)),
            Variable::Workload => Some(text(self.workload)),
            Variable::Headers | Variable::Now => Some(Plain::Other),
        }
    }
}

impl VariableResolver for Known<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if let Ok(index) = self.wanted.binary_search_by(|(key, _)| key.as_str().cmp(variable)) {
            let value = self.values().get(index).and_then(Option::as_deref);
            if value.is_none() {
                self.missed.store(true, Ordering::Relaxed);
            }
            return value.map(CowVal::Borrowed);
        }
        self.patterns.get(variable).map(|pattern| CowVal::Borrowed(pattern))
    }
}
