//! A row: named values, whether a line of JSON or one of a table held them.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

use super::values;
use crate::clock::Timestamp;
use crate::domain::money::NanoUsd;

/// Named values.
pub(super) enum Row<'a> {
    /// An object. What it holds is only read where it is asked for.
    Object(HashMap<String, &'a RawValue>),
    /// A line of a table under its head.
    Line(&'a HashMap<String, usize>, &'a csv::StringRecord),
}

impl<'a> Row<'a> {
    /// An object's row; none if the text is no object.
    pub(super) fn object(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self::Object)
    }

    /// Whether it has all of these.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| match self {
            Self::Object(values) => values.contains_key(*name),
            Self::Line(head, _) => head.contains_key(*name),
        })
    }

    /// The value as it is written: a text without its quotes, anything else as JSON. None if it is missing, empty or
    /// null.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        let text = match self {
            Self::Object(values) => unquoted(values.get(name)?.get())?,
            Self::Line(head, record) => Cow::Borrowed(record.get(*head.get(name)?)?.trim()),
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// The first of these that is there.
    pub(super) fn any(&self, names: &[&str]) -> Option<Cow<'a, str>> {
        names.iter().find_map(|name| self.text(name))
    }

    /// The JSON of a value, of a cell that holds JSON too.
    pub(super) fn json(&self, name: &str) -> Option<Cow<'a, str>> {
        match self {
            Self::Object(values) => {
                let raw = values.get(name)?.get();
                // Some programs write JSON into a text.
                if raw.starts_with('"') { unquoted(raw) } else { Some(Cow::Borrowed(raw)) }
            }
            Self::Line(..) => self.text(name),
        }
    }

    /// A count; 0 if it is missing.
    pub(super) fn count(&self, name: &str) -> Result<u64, String> {
        self.text(name).map_or(Ok(0), |text| values::count(&text).ok_or_else(|| format!("{name} is no number")))
    }

    /// The first of these counts that is there; 0 if none is.
    pub(super) fn count_of(&self, names: &[&str]) -> Result<u64, String> {
        names.iter().find(|name| self.text(name).is_some()).map_or(Ok(0), |name| self.count(name))
    }

    /// The first of these times that is there.
    pub(super) fn time(&self, names: &[&str]) -> Result<Timestamp, String> {
        let found = names.iter().find_map(|name| Some((name, self.text(name)?)));
        let Some((name, text)) = found else {
            return Err(format!("{} is missing", names.first().unwrap_or(&"a time")));
        };
        values::time(&text).ok_or_else(|| format!("{name} is no time"))
    }

    /// A time that need not be there.
    pub(super) fn time_if(&self, name: &str) -> Option<Timestamp> {
        values::time(&self.text(name)?)
    }

    /// The first of these amounts that reads.
    pub(super) fn dollars(&self, names: &[&str]) -> Option<NanoUsd> {
        names.iter().find_map(|name| values::dollars(&self.text(name)?))
    }

    /// Whether a value says yes.
    pub(super) fn is(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1")
    }
}

/// A JSON value's text; none of null, or of what does not read.
fn unquoted(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'n' => None,
        b'"' => match raw.get(1..raw.len() - 1).filter(|inner| !inner.contains('\\')) {
            Some(inner) => Some(Cow::Borrowed(inner)),
            None => serde_json::from_str(raw).ok().map(Cow::Owned),
        },
        _ => Some(Cow::Borrowed(raw)),
    }
}
