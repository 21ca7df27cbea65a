//! The few headers of a call that the inventory looks at, copied at once: a handle to one would keep the whole buffer that
//! the head was read into.

use std::fmt;

use http::header::{AUTHORIZATION, CONTENT_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Longer values are cut: nothing of use is that long. A credential is whole or nothing, since a part of it would be
/// somebody else.
const VALUE_MAX: usize = 512;
const CREDENTIAL_MAX: usize = 8_192;

static API_KEY: HeaderName = HeaderName::from_static("x-api-key");
static WORKLOAD: HeaderName = HeaderName::from_static("x-defer-workload");
static RETRIES: HeaderName = HeaderName::from_static("x-stainless-retry-count");
static PROFILE: HeaderName = HeaderName::from_static("anthropic-user-profile-id");

/// How many headers these are.
const COUNT: usize = 7;

/// Values one behind the other. They hold secrets, and are not to be shown.
pub(super) struct Words {
    text: Box<[u8]>,
    ends: [u16; COUNT],
    /// The workload's name by a rule, where the caller gave none.
    workload: Option<Box<str>>,
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words")
    }
}

impl Words {
    /// Copies them, in one piece.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let names = [&USER_AGENT, &API_KEY, &AUTHORIZATION, &WORKLOAD, &RETRIES, &CONTENT_ENCODING, &PROFILE];
        let values = names.map(|name| headers.get(name).map_or(&[][..], |value| kept(name, value)));
        let mut text = Vec::with_capacity(values.iter().map(|value| value.len()).sum());
        let ends = values.map(|value| {
            text.extend_from_slice(value);
            text.len() as u16
        });
        Self { text: text.into(), ends, workload: None }
    }

    fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start.into()..self.ends[index].into()]
    }

    fn text(&self, index: usize) -> &str {
        std::str::from_utf8(self.get(index)).unwrap_or_default().trim()
    }

    /// What calls: its `user-agent`.
    pub(super) fn client(&self) -> &str {
        self.text(0)
    }

    /// What the credential is known by, for keeping what it stands for.
    pub(super) fn credential(&self) -> (&[u8], &[u8]) {
        (self.get(1), self.get(2))
    }

    /// The headers that carry the credential.
    pub(super) fn credential_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(2);
        for (name, index) in [(&API_KEY, 1), (&AUTHORIZATION, 2)] {
            if let Some(mut value) = HeaderValue::from_bytes(self.get(index)).ok().filter(|value| !value.is_empty()) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        headers
    }

    /// The workload's name, as the caller gave it, else as a rule did.
    pub(super) fn workload(&self) -> Option<&str> {
        Some(self.text(3)).filter(|name| !name.is_empty()).or(self.workload.as_deref())
    }

    /// A rule names the workload.
    pub(super) fn name_workload(&mut self, name: &str) {
        self.workload = Some(name.into());
    }

    /// How often the client says that it has tried before.
    pub(super) fn retries(&self) -> u32 {
        self.text(4).parse().unwrap_or(0)
    }

    /// How the body is encoded.
    pub(super) fn encoding(&self) -> &str {
        self.text(5)
    }

    /// The user profile that the call is for.
    pub(super) fn profile(&self) -> Option<&str> {
        Some(self.text(6)).filter(|profile| !profile.is_empty())
    }
}

fn kept<'a>(name: &HeaderName, value: &'a HeaderValue) -> &'a [u8] {
    let value = value.as_bytes();
    if *name != API_KEY && *name != AUTHORIZATION {
        return &value[..value.len().min(VALUE_MAX)];
    }
    if value.len() <= CREDENTIAL_MAX { value } else { &[] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_found_again_and_none_is_shown() {
        let given = [("user-agent", "a/1"), ("x-api-key", "secret"), ("x-stainless-retry-count", "2")];
        let headers =
            given.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
        let words = Words::of(&headers);
        assert_eq!((words.client(), words.retries(), words.workload(), words.encoding()), ("a/1", 2, None, ""));
        assert_eq!(words.credential(), (b"secret".as_slice(), b"".as_slice()));
        assert_eq!(words.credential_headers().len(), 1);
        assert!(!format!("{words:?} {:?}", words.credential_headers()).contains("secret"));
    }

    #[test]
    fn a_long_value_is_cut() {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_str(&"x".repeat(100_000)).unwrap());
        assert_eq!(Words::of(&headers).client().len(), VALUE_MAX);
    }
}
