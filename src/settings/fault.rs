//! What is wrong with the settings, and where each of them came from.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a setting came from; in the order in which faults are told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The settings file.
    File {
        /// As it was given.
        path: Arc<Path>,
        /// Line and column, both from 1; none when the file as a whole is meant.
        at: Option<(usize, usize)>,
    },
    /// The environment variable of this name.
    Environment(String),
    /// The manual.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, at: Some((line, column)) } => write!(f, "{}:{line}:{column}", path.display()),
            Self::File { path, at: None } => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "env {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong; never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where it stands.
    pub origin: Origin,
    /// The setting it is about, as `section.key`; empty when it is about none.
    pub key: String,
    /// What is wrong, what is allowed, and what helps.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, key, problem } = self;
        if key.is_empty() { write!(f, "{origin}: {problem}") } else { write!(f, "{origin}: {key}: {problem}") }
    }
}

/// All that is wrong, each fault on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Puts them in the order in which they stand in the file.
    pub(super) fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort();
        Self(faults)
    }

    /// The faults.
    pub fn as_slice(&self) -> &[Fault] {
        &self.0
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|fault| writeln!(f, "{fault}"))?;
        match self.0.len() {
            1 => f.write_str("1 fault in the configuration"),
            count => write!(f, "{count} faults in the configuration"),
        }
    }
}

impl Error for Faults {}
