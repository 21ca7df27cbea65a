//! Secrets by reference: `env:NAME` and `file:PATH`, or the secret as it is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

use thiserror::Error;

use crate::secret::Secret;

/// The longest secret: no server takes a longer header.
const SECRET_MAX: usize = 8_000;

/// Why there is no secret; never shows it.
#[derive(Debug, Error)]
pub(super) enum Unresolved {
    #[error("the environment variable {0} is not set; set it, or name another secret")]
    Unset(String),
    #[error("the secret file {0} cannot be read ({1}); check the path and who may read it")]
    Unreadable(String, io::Error),
    #[error("the secret is empty; give it as a text, or as \"env:NAME\" or \"file:PATH\"")]
    Empty,
    #[error("the secret cannot stand in a header: expected at most {SECRET_MAX} visible ASCII characters")]
    Unfit,
}

/// Whether this names a secret instead of being one.
pub(super) fn is_reference(text: &str) -> bool {
    text.starts_with("env:") || text.starts_with("file:")
}

/// The secret that `text` names or is.
pub(super) fn resolve(text: &str, environment: &BTreeMap<String, String>) -> Result<Secret, Unresolved> {
    let secret = if let Some(name) = text.strip_prefix("env:") {
        // Compose files pass a variable on as an empty one when it is not set.
        let set = environment.get(name).filter(|text| !text.is_empty());
        set.cloned().ok_or_else(|| Unresolved::Unset(name.to_owned()))?
    } else if let Some(path) = text.strip_prefix("file:") {
        read(path).map_err(|error| Unresolved::Unreadable(path.to_owned(), error))?
    } else {
        text.to_owned()
    };
    match secret.trim_end() {
        "" => Err(Unresolved::Empty),
        fit if fit.len() <= SECRET_MAX && fit.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Secret::new(fit)),
        _ => Err(Unresolved::Unfit),
    }
}

fn read(path: &str) -> io::Result<String> {
    let mut text = String::new();
    // One more than is allowed, so that what is too long is seen to be.
    File::open(path)?.take(SECRET_MAX as u64 + 2).read_to_string(&mut text)?;
    Ok(text)
}
