//! Variables: what a condition may ask of a call.

use std::fmt;

use super::kind::Kind;
use crate::domain::likeness::nearest;

/// One thing that a condition asks of a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variable {
    /// `request.model`
    Model,
    /// `request.stream`
    Stream,
    /// `request.max_tokens`
    MaxTokens,
    /// `request.bytes`: the length of the body.
    Bytes,
    /// `request.messages`: how many there are.
    Messages,
    /// `request.tools`: how many there are.
    Tools,
    /// `request.system_prefix`
    SystemPrefix,
    /// One header, by its lower-case name.
    Header(String),
    /// The headers as a map.
    Headers,
    /// `path`
    Path,
    /// `tenant`
    Tenant,
    /// `workload`
    Workload,
    /// `now`
    Now,
}

/// The members of `request`.
const MEMBERS: [(&str, Variable); 7] = [
    ("model", Variable::Model),
    ("stream", Variable::Stream),
    ("max_tokens", Variable::MaxTokens),
    ("bytes", Variable::Bytes),
    ("messages", Variable::Messages),
    ("tools", Variable::Tools),
    ("system_prefix", Variable::SystemPrefix),
];

/// The variables beside `request`.
const OTHERS: [(&str, Variable); 5] = [
    ("headers", Variable::Headers),
    ("path", Variable::Path),
    ("tenant", Variable::Tenant),
    ("workload", Variable::Workload),
    ("now", Variable::Now),
];

impl Variable {
    /// The member of `request` that has this name, or what to do about one that there is not.
    pub(super) fn of_request(member: &str) -> Result<Self, String> {
        let found = MEMBERS.iter().find(|(name, _)| *name == member).map(|(_, variable)| variable.clone());
        found.ok_or_else(|| {
            let names = MEMBERS.map(|(name, _)| name);
            match nearest(member, &names) {
                Some(near) => format!("there is no request.{member}; did you mean request.{near}?"),
                None => format!("there is no request.{member}; there are {}", names.join(", ")),
            }
        })
    }

    /// The variable of this name, or what to do about one that there is not.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        let found = OTHERS.iter().find(|(known, _)| *known == name).map(|(_, variable)| variable.clone());
        found.ok_or_else(|| {
            if let Some((member, _)) = MEMBERS.iter().find(|(member, _)| *member == name) {
                return format!("there is no variable {name}; did you mean request.{member}?");
            }
            let names: Vec<&str> = OTHERS.iter().map(|(name, _)| *name).chain(["request"]).collect();
            match nearest(name, &names) {
                Some(near) => format!("there is no variable {name}; did you mean {near}?"),
                None => format!("there is no variable {name}; there are {}", names.join(", ")),
            }
        })
    }

    /// The members of `request` in words, for error texts.
    pub(super) fn members() -> String {
        MEMBERS.map(|(name, _)| format!("request.{name}")).join(", ")
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Model | Self::SystemPrefix | Self::Header(_) | Self::Path | Self::Tenant | Self::Workload => {
                Kind::Text
            }
            Self::Stream => Kind::Bool,
            Self::MaxTokens | Self::Bytes | Self::Messages | Self::Tools => Kind::Int,
            Self::Headers => Kind::Map(&Kind::Text),
            Self::Now => Kind::Time,
        }
    }

    /// Whether it stands in the body.
    pub fn is_in_body(&self) -> bool {
        matches!(self, Self::Model | Self::Stream | Self::MaxTokens | Self::Messages | Self::Tools | Self::SystemPrefix)
    }

    /// The name under which a compiled condition asks for it: one word, so that nothing has to be put together per call.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Header(name) => format!("headers.{name}"),
            other => other.to_string(),
        }
    }
}

/// As it is written in a condition.
impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "headers[\"{name}\"]"),
            Self::Model => f.write_str("request.model"),
            Self::Stream => f.write_str("request.stream"),
            Self::MaxTokens => f.write_str("request.max_tokens"),
            Self::Bytes => f.write_str("request.bytes"),
            Self::Messages => f.write_str("request.messages"),
            Self::Tools => f.write_str("request.tools"),
            Self::SystemPrefix => f.write_str("request.system_prefix"),
            Self::Headers => f.write_str("headers"),
            Self::Path => f.write_str("path"),
            Self::Tenant => f.write_str("tenant"),
            Self::Workload => f.write_str("workload"),
            Self::Now => f.write_str("now"),
        }
    }
}
