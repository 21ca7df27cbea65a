//! The stores of tests: fresh ones on either engine, and questions to them behind the app's back.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

use crate::it::postgres::{TestDatabase, database};

/// 32 bytes in base64.
const MASTER_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// The two engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// A store of one test's own; gone with this value.
pub(crate) struct Storage {
    folder: TempDir,
    database: Option<TestDatabase>,
}

/// Runs `$body` with `$connection` to either engine.
macro_rules! connected {
    ($storage:expr, $connection:ident => $body:expr) => {
        match &$storage.database {
            None => {
                let options = SqliteConnectOptions::new().filename($storage.folder.path().join("offpeak.db"));
                let mut $connection = options.connect().await.unwrap();
                let out = $body;
                $connection.close().await.unwrap();
                out
            }
            Some(database) => {
                let mut $connection = PgConnection::connect(&database.url()).await.unwrap();
                let out = $body;
                $connection.close().await.unwrap();
                out
            }
        }
    };
}

impl Storage {
    pub(crate) async fn new(engine: Engine) -> Self {
        match engine {
            Engine::Sqlite => Self { folder: TempDir::new().unwrap(), database: None },
            Engine::Postgres => Self::at(database().await),
        }
    }

    /// On a database of any server.
    pub(crate) fn at(database: TestDatabase) -> Self {
        Self { folder: TempDir::new().unwrap(), database: Some(database) }
    }

    pub(crate) fn engine(&self) -> Engine {
        if self.database.is_some() { Engine::Postgres } else { Engine::Sqlite }
    }

    /// A folder that goes with the store.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The settings that lead to it.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&'static str, String)> {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let (url, key) = match &self.database {
            None => (format!("sqlite:{}", file("offpeak.db")), format!("file:{}", file("master.key"))),
            Some(database) => (database.url(), MASTER_KEY.to_owned()),
        };
        [("store.url", url), ("store.master_key", key)].into_iter()
    }

    /// The one integer that a statement gives.
    pub(crate) async fn count(&self, statement: &'static str) -> i64 {
        connected!(self, connection => sqlx::query_scalar(statement).fetch_one(&mut connection).await.unwrap())
    }

    /// Ids with a number each.
    pub(crate) async fn numbers(&self, statement: &'static str) -> Vec<(Uuid, i64)> {
        connected!(self, connection => sqlx::query_as(statement).fetch_all(&mut connection).await.unwrap())
    }

    /// All that is stored, as far as it is text.
    pub(crate) async fn dump(&self) -> String {
        match &self.database {
            None => {
                let mut all = Vec::new();
                for file in ["offpeak.db", "offpeak.db-wal"] {
                    all.extend(std::fs::read(self.folder.path().join(file)).unwrap_or_default());
                }
                String::from_utf8_lossy(&all).into_owned()
            }
            Some(_) => {
                let mut all = String::new();
                for table in ["call_record", "call_hour", "workload"] {
                    let rows = format!("select coalesce(string_agg(it::text, ' '), '') from {table} as it");
                    let rows: String = connected!(self, connection => {
                        sqlx::query_scalar(sqlx::AssertSqlSafe(rows.clone())).fetch_one(&mut connection).await.unwrap()
                    });
                    all.push_str(&rows);
                }
                all
            }
        }
    }

    /// Changes something behind the app's back.
    pub(crate) async fn change(&self, statement: &'static str) {
        connected!(self, connection => {
            sqlx::query(statement).execute(&mut connection).await.unwrap();
        });
    }
}
