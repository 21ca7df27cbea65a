//! The databases: a durable PostgreSQL and SQLite files that end with the run, filled once and copied for each round.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, ensure};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};
use tempfile::TempDir;

/// The two engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Sqlite,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Sqlite => "SQLite",
        }
    }
}

/// Where databases are made.
pub(crate) struct Databases {
    server: PgConnectOptions,
    folder: TempDir,
    made: AtomicU32,
}

/// One database, open to nobody as long as nobody opens it.
#[derive(Clone)]
pub(crate) enum Database {
    Postgres { url: String, name: String },
    Sqlite(PathBuf),
}

impl Databases {
    /// Starts a server that writes through to the disk; it ends with this process.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/test-postgres");
        let owner = std::process::id().to_string();
        let output = Command::new(script).args(["start", &owner, "--durable"]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout)?;
        let url = printed.lines().next().context("the server has no URL")?;
        Ok(Self { server: url.parse()?, folder: TempDir::new()?, made: AtomicU32::new(0) })
    }

    /// A new, empty database.
    pub(crate) async fn empty(&self, kind: Kind) -> anyhow::Result<Database> {
        let name = format!("bench_{}", self.made.fetch_add(1, Ordering::Relaxed));
        if kind == Kind::Sqlite {
            return Ok(Database::Sqlite(self.folder.path().join(name).with_extension("db")));
        }
        self.on_server(format!("create database {name}")).await?;
        Ok(self.on_postgres(name))
    }

    /// A copy of a database that nobody has open.
    pub(crate) async fn copy(&self, original: &Database) -> anyhow::Result<Database> {
        let name = format!("bench_{}", self.made.fetch_add(1, Ordering::Relaxed));
        match original {
            Database::Sqlite(path) => {
                let copy = self.folder.path().join(name).with_extension("db");
                std::fs::copy(path, &copy)?;
                // What waits to be written for the copy must not be written at the cost of what is measured.
                std::fs::File::open(&copy)?.sync_all()?;
                Ok(Database::Sqlite(copy))
            }
            Database::Postgres { name: template, .. } => {
                self.on_server(format!("create database {name} template {template}")).await?;
                self.on_server("checkpoint".to_owned()).await?;
                Ok(self.on_postgres(name))
            }
        }
    }

    /// Deletes a database that nobody has open.
    pub(crate) async fn drop(&self, database: Database) -> anyhow::Result<()> {
        match database {
            Database::Sqlite(path) => Ok(std::fs::remove_file(path)?),
            Database::Postgres { name, .. } => self.on_server(format!("drop database {name} with (force)")).await,
        }
    }

    fn on_postgres(&self, name: String) -> Database {
        Database::Postgres { url: self.server.clone().database(&name).to_url_lossy().to_string(), name }
    }

    async fn on_server(&self, statement: String) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect_with(&self.server).await?;
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }
}

impl Database {
    /// Where it is, as `store.url` wants it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Postgres { url, .. } => url.clone(),
        }
    }
}
