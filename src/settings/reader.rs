//! The reader: asks for one setting after the other, checks it, and gathers what is wrong instead of stopping.
//!
//! What cannot be read is told once and stood in for by an empty value; with a fault none of it is ever used.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use url::Url;

use super::fault::{Fault, Faults, Origin};
use super::known::Known;
use super::layers::Layers;
use super::reference::{self, Unresolved};
use super::value::{Raw, Value};
use super::{Effective, Sources};
use crate::deliver::{KEY_FORM, SigningKey};
use crate::domain::money::NanoUsd;
use crate::domain::units::{format_duration, format_size, parse_duration, parse_size};
use crate::secret::{MASK, Secret};

/// What a name may look like: it stands in headers, URLs and logs.
const NAME_FORM: &str = "a name of 1 to 64 of A-Z a-z 0-9 . _ -";

/// The longest name.
const NAME_MAX: usize = 64;

/// The most secrets in one place: the old and the new while one replaces the other.
const ROTATING_MAX: usize = 2;

/// Reads what lies in the layers.
pub(super) struct Reader<'a> {
    known: Known,
    layers: Layers,
    environment: &'a BTreeMap<String, String>,
    effective: Vec<Effective>,
}

impl<'a> Reader<'a> {
    pub(super) fn open(sources: &'a Sources) -> Result<Self, Faults> {
        let (known, layers) = Layers::lay(sources)?;
        Ok(Self { known, layers, environment: &sources.environment, effective: Vec::new() })
    }

    /// What was read, in the manual's order, unless something is wrong.
    pub(super) fn finish(mut self) -> Result<Vec<Effective>, Faults> {
        if !self.layers.faults.is_empty() {
            return Err(Faults::new(self.layers.faults));
        }
        let place = |key: &str| self.known.defaults.iter().position(|(path, _)| path == key).unwrap_or(usize::MAX);
        self.effective.sort_by_key(|setting| place(&setting.key));
        Ok(self.effective)
    }

    pub(super) fn duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Duration {
        let (low, high) = (format_duration(*range.start()), format_duration(*range.end()));
        let expected =
            format!("a duration from {low} to {high}, such as \"30s\" or \"4m30s\" (an integer with ms, s, m, h or d)");
        self.text(key, &expected, |text| parse_duration(text).filter(|given| range.contains(given))).unwrap_or_default()
    }

    pub(super) fn size(&mut self, key: &str, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = (format_size(*range.start()), format_size(*range.end()));
        let expected = format!("a size from {low} to {high}, such as \"5MB\" (an integer with KB, MB or GB)");
        self.text(key, &expected, |text| parse_size(text).filter(|given| range.contains(given))).unwrap_or_default()
    }

    pub(super) fn integer(&mut self, key: &str, range: RangeInclusive<u32>) -> u32 {
        let expected = format!("an integer from {} to {}", range.start(), range.end());
        let parse = |raw: &Raw| match raw {
            Raw::Integer(given) => u32::try_from(*given).ok().filter(|given| range.contains(given)),
            _ => None,
        };
        self.value(key, &expected, parse).unwrap_or_default()
    }

    /// An amount above nothing.
    pub(super) fn dollars(&mut self, key: &str) -> NanoUsd {
        let above_nothing = |amount: &NanoUsd| *amount > NanoUsd::ZERO;
        let parse = |text: &str| NanoUsd::parse_dollars(text).filter(above_nothing);
        self.text(key, "dollars in a text, such as \"100.00\"", parse).unwrap_or_default()
    }

    pub(super) fn boolean(&mut self, key: &str) -> bool {
        let parse = |raw: &Raw| if let Raw::Boolean(given) = raw { Some(*given) } else { None };
        self.value(key, "true or false", parse).unwrap_or_default()
    }

    pub(super) fn address(&mut self, key: &str) -> SocketAddr {
        let expected = "an IP address and a port, such as \"127.0.0.1:8100\" or \"[::]:8100\"";
        self.text(key, expected, |text| text.parse().ok()).unwrap_or((Ipv4Addr::LOCALHOST, 0).into())
    }

    pub(super) fn url(&mut self, key: &str) -> Uri {
        self.text(key, "an http or https URL without user, query or fragment", parse_url).unwrap_or_default()
    }

    /// A URL, or none where the text is empty.
    pub(super) fn url_or_empty(&mut self, key: &str) -> Option<Uri> {
        let expected = "an http or https URL without user, query or fragment, or \"\"";
        self.text(key, expected, |text| if text.is_empty() { Some(None) } else { parse_url(text).map(Some) }).flatten()
    }

    /// The URL of something that is not ours; it may have a query.
    pub(super) fn target(&mut self, key: &str) -> Option<Url> {
        let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.fragment().is_none();
        self.text(key, "an http or https URL without a fragment", |text| Url::parse(text).ok().filter(is_web))
    }

    pub(super) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)], stand_in: T) -> T {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let expected = format!("one of {}", names.join(", "));
        let parse = |text: &str| choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
        self.text(key, &expected, parse).unwrap_or(stand_in)
    }

    pub(super) fn name(&mut self, key: &str) -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let fits = |text: &str| (1..=NAME_MAX).contains(&text.len()) && text.chars().all(allowed);
        self.string(key, NAME_FORM, fits)
    }

    pub(super) fn string(&mut self, key: &str, expected: &str, fits: impl FnOnce(&str) -> bool) -> String {
        self.text(key, expected, |text| fits(text).then(|| text.to_owned())).unwrap_or_default()
    }

    pub(super) fn list<T>(&mut self, key: &str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let parse = |raw: &Raw| match raw {
            Raw::List(items) => items.iter().map(|item| item.as_text().and_then(&parse)).collect(),
            _ => None,
        };
        self.value(key, expected, parse).unwrap_or_default()
    }

    /// A secret; none, without a fault, if it is where the manual looks for it and that variable is not set.
    pub(super) fn secret(&mut self, key: &str) -> Option<Secret> {
        self.secrets(key, 1).pop()
    }

    /// A secret that webhooks are signed with, or a list of two while one replaces the other.
    pub(super) fn signing_keys(&mut self, key: &str) -> Vec<SigningKey> {
        let secrets = self.secrets(key, ROTATING_MAX);
        let keys: Vec<_> = secrets.iter().filter_map(|secret| SigningKey::parse(secret.expose())).collect();
        if keys.len() < secrets.len() {
            self.fault(key, format!("expected a secret of {KEY_FORM}"));
        }
        keys
    }

    fn secrets(&mut self, key: &str, max: usize) -> Vec<Secret> {
        let Some(Value { raw, .. }) = self.take(key, "a secret", shown_secret) else { return Vec::new() };
        let texts: Option<Vec<&str>> = match &raw {
            Raw::Text(text) => Some(vec![text]),
            Raw::List(items) if (1..=max).contains(&items.len()) => items.iter().map(Raw::as_text).collect(),
            _ => None,
        };
        let Some(texts) = texts else {
            let list = if max > 1 { ", or a list of two such texts" } else { "" };
            self.fault(key, format!("expected \"env:NAME\", \"file:PATH\" or the secret as a text{list}"));
            return Vec::new();
        };
        let optional = !self.is_given(key);
        let mut secrets = Vec::new();
        for text in texts {
            match reference::resolve(text, self.environment) {
                Ok(secret) => secrets.push(secret),
                Err(Unresolved::Unset(_)) if optional => {}
                Err(unresolved) => self.fault(key, unresolved.to_string()),
            }
        }
        secrets
    }

    /// The path in a `file:` reference, if it is one; the file is left alone.
    pub(super) fn file_reference(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.peek(key).strip_prefix("file:").filter(|path| !path.is_empty()).map(PathBuf::from)?;
        self.take(key, "a path", shown_secret)?;
        Some(path)
    }

    /// A text whose fault never shows it.
    pub(super) fn hidden<T>(&mut self, key: &str, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = self.take(key, expected, Raw::to_string)?;
        let parsed = value.raw.as_text().and_then(parse);
        if parsed.is_none() {
            self.fault(key, format!("expected {expected}"));
        }
        parsed
    }

    fn text<T>(&mut self, key: &str, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.value(key, expected, |raw| raw.as_text().and_then(parse))
    }

    fn value<T>(&mut self, key: &str, expected: &str, parse: impl FnOnce(&Raw) -> Option<T>) -> Option<T> {
        let value = self.take(key, expected, Raw::to_string)?;
        let parsed = parse(&value.raw);
        if parsed.is_none() {
            self.fault(key, format!("expected {expected}; found {}", value.raw));
        }
        parsed
    }

    /// The value as it was given, noted as read; that there is none is a fault.
    fn take(&mut self, key: &str, expected: &str, show: impl FnOnce(&Raw) -> String) -> Option<Value> {
        let Some(value) = self.layers.values.get(key).cloned() else {
            self.fault(key, format!("missing; expected {expected}"));
            return None;
        };
        self.effective.push(Effective { key: key.to_owned(), value: show(&value.raw), origin: value.origin.clone() });
        Some(value)
    }

    /// The text of a setting that is read elsewhere; empty if it is none.
    pub(super) fn peek(&self, key: &str) -> &str {
        self.layers.values.get(key).and_then(|value| value.raw.as_text()).unwrap_or_default()
    }

    /// Whether somebody chose this; a file that repeats the manual's default did not.
    pub(super) fn is_given(&self, key: &str) -> bool {
        let default = self.known.find(|path| path == key).map(|(_, default)| default);
        self.layers.values.get(key).is_some_and(|value| match value.origin {
            Origin::Default => false,
            Origin::File { .. } => Some(&value.raw) != default,
            Origin::Environment(_) => true,
        })
    }

    /// The paths of the sections `[[list]]`, in their order.
    pub(super) fn items(&self, list: &str) -> Vec<String> {
        let path = |index| format!("{list}[{index}]");
        (0..).map(path).take_while(|path| self.layers.items.contains_key(path)).collect()
    }

    /// Tells a fault at the place where `key` was given.
    pub(super) fn fault(&mut self, key: &str, problem: impl Display) {
        self.fault_at(key, key, problem);
    }

    /// Tells a fault of `key` at the place where `place` was given, which is to blame for it.
    pub(super) fn fault_at(&mut self, place: &str, key: &str, problem: impl Display) {
        let item = place.split('.').next().and_then(|item| self.layers.items.get(item));
        let value = self.layers.values.get(place).map(|value| &value.origin);
        let origin = value.or(item).cloned().unwrap_or(Origin::Default);
        self.layers.faults.push(Fault { origin, key: key.to_owned(), problem: problem.to_string() });
    }

    /// Tells a fault at a place in another file, which a setting names.
    pub(super) fn fault_in(&mut self, path: &Path, at: (usize, usize), key: &str, problem: String) {
        let origin = Origin::File { path: path.into(), at: Some(at) };
        self.layers.faults.push(Fault { origin, key: key.to_owned(), problem });
    }

    /// Tells a fault at a character of the text that `key` was given.
    pub(super) fn fault_within(&mut self, key: &str, character: usize, problem: impl Display) {
        match self.layers.within(key, character) {
            Some(origin) => {
                self.layers.faults.push(Fault { origin, key: key.to_owned(), problem: problem.to_string() });
            }
            None => self.fault(key, problem),
        }
    }

    /// Whether nothing was found wrong with any of these, so that they can be compared.
    pub(super) fn are_sound(&self, keys: &[&str]) -> bool {
        !self.layers.faults.iter().any(|fault| keys.contains(&fault.key.as_str()))
    }
}

/// References are shown, because they say where to look; a secret itself is not.
fn shown_secret(raw: &Raw) -> String {
    match raw {
        Raw::Text(text) if reference::is_reference(text) => raw.to_string(),
        Raw::List(items) => format!("[{}]", items.iter().map(shown_secret).collect::<Vec<_>>().join(", ")),
        _ => MASK.to_owned(),
    }
}

/// Reads a URL to put paths behind: its own path loses the trailing slash.
fn parse_url(text: &str) -> Option<Uri> {
    let parts = text.parse::<Uri>().ok()?.into_parts();
    let (scheme, authority, path) = (parts.scheme?, parts.authority?, parts.path_and_query?);
    let web = scheme == http::uri::Scheme::HTTP || scheme == http::uri::Scheme::HTTPS;
    let host_only = !authority.host().is_empty() && !authority.as_str().contains('@');
    // `Uri` drops a fragment without a word, so the text itself is asked.
    if !web || !host_only || path.query().is_some() || text.contains('#') {
        return None;
    }
    let path = match path.path().trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().ok()
}
