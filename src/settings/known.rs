//! The names that settings may have, and which of them was meant by one that they may not.

use std::collections::BTreeMap;

use toml::de::DeTable;

use super::value::Raw;
use crate::domain::likeness::nearest;

/// Every setting with its comment and its default.
pub(super) const MANUAL: &str = include_str!("../../config/offpeak.toml");

/// What the name of a variable that is a setting begins with.
pub(super) const PREFIX: &str = "OFFPEAK__";

/// Sections that may be given any number of times, with their keys; the manual shows them as comments.
const LISTS: [(&str, &[&str]); 4] = [
    ("receiver", &["name", "url", "secret"]),
    ("key", &["name", "secret", "upstream"]),
    ("budget", &["name", "tenant", "workload", "per", "limit", "action"]),
    ("rule", &["name", "when", "action", "rollout", "deadline", "reply", "workload", "callback", "cache"]),
];

/// The known names, as the manual has them.
pub(super) struct Known {
    /// `batch.linger` and the like with their defaults, in the manual's order.
    pub(super) defaults: Vec<(String, Raw)>,
    sections: BTreeMap<String, Section>,
}

/// A section and the keys that it takes.
pub(super) struct Section {
    pub(super) keys: Vec<String>,
    /// Whether it may be given any number of times.
    pub(super) list: bool,
}

impl Known {
    /// Reads the manual.
    pub(super) fn from_manual() -> Self {
        // Recovers from errors because it cannot have any: a test reads it strictly.
        let (root, _) = DeTable::parse_recoverable(MANUAL);
        let mut by_place = BTreeMap::new();
        for (section, table) in root.get_ref() {
            for (key, value) in table.get_ref().as_table().into_iter().flatten() {
                let raw = Raw::of_toml(value.get_ref());
                by_place.insert(key.span().start, (section.get_ref(), key.get_ref(), raw));
            }
        }
        let lists = LISTS.map(|(name, keys)| {
            (name.to_owned(), Section { keys: keys.iter().map(ToString::to_string).collect(), list: true })
        });
        let mut known = Self { defaults: Vec::new(), sections: BTreeMap::from(lists) };
        for (section, key, raw) in by_place.into_values() {
            known.defaults.push((format!("{section}.{key}"), raw));
            let empty = Section { keys: Vec::new(), list: false };
            known.sections.entry(section.to_string()).or_insert(empty).keys.push(key.to_string());
        }
        known
    }

    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.get(name)
    }

    /// The first setting that fits, with its default.
    pub(super) fn find(&self, fits: impl Fn(&str) -> bool) -> Option<&(String, Raw)> {
        self.defaults.iter().find(|(path, _)| fits(path))
    }

    /// What to do about a section that is not known.
    pub(super) fn instead_of_section(&self, name: &str) -> String {
        let names: Vec<&str> = self.sections.keys().map(String::as_str).collect();
        match nearest(name, &names) {
            Some(near) => format!("did you mean [{near}]?"),
            None => format!("the sections are {}", names.join(", ")),
        }
    }

    /// What to do about a key that its section does not know.
    pub(super) fn instead_of_key(&self, section: &Section, key: &str) -> String {
        let names: Vec<&str> = section.keys.iter().map(String::as_str).collect();
        let elsewhere = self.find(|path| path.split_once('.').is_some_and(|(_, name)| name == key));
        match (nearest(key, &names), elsewhere) {
            (Some(near), _) => format!("did you mean \"{near}\"?"),
            (None, Some((path, _))) => format!("did you mean {path}?"),
            (None, None) => format!("the keys here are {}", names.join(", ")),
        }
    }

    /// What to do about a variable that is no setting.
    pub(super) fn instead_of_variable(&self, name: &str) -> String {
        let tails: Vec<String> = self.defaults.iter().map(|(path, _)| tail_of(path)).collect();
        let tails: Vec<&str> = tails.iter().map(String::as_str).collect();
        let tail = name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_uppercase();
        match nearest(&tail, &tails) {
            Some(near) => format!("did you mean {PREFIX}{near}?"),
            None => format!("variables are named {PREFIX}SECTION__KEY; `offpeak check --print` lists the settings"),
        }
    }
}

/// The environment variable for this setting: `OFFPEAK__BATCH__LINGER`.
pub(super) fn variable_of(path: &str) -> String {
    format!("{PREFIX}{}", tail_of(path))
}

fn tail_of(path: &str) -> String {
    path.replace('.', "__").to_ascii_uppercase()
}
