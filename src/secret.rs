//! What must not be seen: secrets that never show themselves, and the vault that seals them at rest.

mod master_key;
mod vault;

use std::fmt;

use subtle::ConstantTimeEq;

pub use master_key::{KeyError, KeySource, MasterKey};
pub use vault::{OpenError, Vault};

/// What stands in the place of a secret wherever it would be shown.
pub const MASK: &str = "***";

/// A credential or another string that no log, error or page may show.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends or hashes it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `presented` is this secret, in a time that does not tell how much of it was right.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_only_when_asked() {
        let secret = Secret::new("sk-ant-123");
        assert_eq!(format!("{secret} {secret:?} {:#?}", Some(&secret)), "*** *** Some(\n    ***,\n)");
        assert_eq!(secret.expose(), "sk-ant-123");
    }

    #[test]
    fn only_the_same_secret_matches() {
        let secret = Secret::new("sk-ant-123");
        assert!(secret.matches(b"sk-ant-123"));
        assert_eq!(secret, Secret::new("sk-ant-123"));
        for other in ["", "sk-ant-12", "sk-ant-124", "sk-ant-1234"] {
            assert!(!secret.matches(other.as_bytes()), "{other}");
            assert_ne!(secret, Secret::new(other));
        }
    }
}
