//! One value as it was given, before anybody asked what it means.

use std::fmt;

use toml::de::DeValue;

use super::fault::Origin;
use crate::secret::MASK;

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

/// What settings are made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Raw>),
    /// A kind of value that no setting takes.
    Other(&'static str),
}

impl Raw {
    pub(super) fn of_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Boolean(flag) => Self::Boolean(*flag),
            DeValue::Array(items) => Self::List(items.iter().map(|item| Self::of_toml(item.get_ref())).collect()),
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .map_or(Self::Other("an integer of more than 64 bits"), Self::Integer),
            DeValue::Float(_) => Self::Other("a number with a fraction"),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Table(_) => Self::Other("a table"),
        }
    }

    /// What `text` from the environment says, in the place of a value like `default`; text that is no such value stays text,
    /// for the reader to refuse.
    pub(super) fn of_environment(text: &str, default: &Self) -> Self {
        let toml = || DeValue::parse(text).ok().map(|value| Self::of_toml(value.get_ref()));
        match default {
            Self::Integer(_) | Self::Boolean(_) => toml().unwrap_or_else(|| Self::Text(text.to_owned())),
            Self::List(_) if text.starts_with('[') && toml().is_some() => toml().unwrap_or(Self::List(Vec::new())),
            Self::List(_) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Self::List(items.map(|item| Self::Text(item.to_owned())).collect())
            }
            Self::Text(_) | Self::Other(_) => Self::Text(text.to_owned()),
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// As TOML would have it, without what a URL may hide.
impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{:?}", without_credentials(text)),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Boolean(flag) => write!(f, "{flag}"),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(Self::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// A URL's user, password and query are masked; other text stays as it is.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    // The last `@`, because a password that was not escaped may hold others.
    let rest = rest.rsplit_once('@').map_or(rest.to_owned(), |(_, host)| format!("{MASK}@{host}"));
    let rest = rest.split_once('?').map_or(rest.clone(), |(place, _)| format!("{place}?{MASK}"));
    format!("{scheme}://{rest}")
}
