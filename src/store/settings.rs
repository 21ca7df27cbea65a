//! Settings of the store.

use std::path::PathBuf;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use crate::secret::KeySource;

/// Where the store is, and what it seals with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the store is.
    pub url: Location,
    /// The key that credentials, and bodies if so wished, are sealed with.
    pub master_key: KeySource,
    /// Whether bodies and results are sealed as well as credentials.
    pub encrypt_bodies: bool,
}

/// One of the two engines, and the place of its data.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// An SQLite file on this machine.
    Sqlite(PathBuf),
    /// The URL of a PostgreSQL database, which may hold a password.
    Postgres(String),
}

/// The text names neither engine, or no place.
#[derive(Debug, PartialEq, Eq)]
pub struct NoLocation;

impl FromStr for Location {
    type Err = NoLocation;

    /// Reads `sqlite:PATH` (`sqlite://PATH` too) or a URL as `psql` takes it.
    fn from_str(text: &str) -> Result<Self, NoLocation> {
        if let Some(rest) = text.strip_prefix("sqlite:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            // What lives in memory would be gone with the process, and a ticket is a promise.
            let a_file = !path.is_empty() && !path.ends_with('/') && !path.contains('?') && !path.contains(":memory:");
            return if a_file { Ok(Self::Sqlite(path.into())) } else { Err(NoLocation) };
        }
        let postgres = text.starts_with("postgres://") || text.starts_with("postgresql://");
        if postgres && PgConnectOptions::from_str(text).is_ok() {
            Ok(Self::Postgres(text.to_owned()))
        } else {
            Err(NoLocation)
        }
    }
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "Sqlite({path:?})"),
            Self::Postgres(_) => f.write_str("Postgres(***)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_an_engine_and_a_place() {
        let sqlite = |path: &str| Ok(Location::Sqlite(path.into()));
        let postgres = |url: &str| Ok(Location::Postgres(url.into()));
        for (text, expected) in [
            ("sqlite:./data/offpeak.db", sqlite("./data/offpeak.db")),
            ("sqlite:///var/lib/offpeak.db", sqlite("/var/lib/offpeak.db")),
            ("postgres://o:p@db.internal:5432/offpeak", postgres("postgres://o:p@db.internal:5432/offpeak")),
            ("postgresql:///offpeak?host=/run/postgresql", postgres("postgresql:///offpeak?host=/run/postgresql")),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for wrong in [
            "",
            "sqlite:",
            "sqlite::memory:",
            "sqlite:data/",
            "sqlite:a.db?mode=ro",
            "mysql://db/x",
            "postgres://h:port/x",
        ] {
            assert_eq!(wrong.parse::<Location>(), Err(NoLocation), "{wrong}");
        }
    }

    #[test]
    fn a_password_in_the_url_is_not_shown() {
        let location: Location = "postgres://offpeak:hunter2@db/offpeak".parse().unwrap();
        assert!(!format!("{location:?}").contains("hunter2"));
    }
}
