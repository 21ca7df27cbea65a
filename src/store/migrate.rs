//! Migrations: the schema is brought to what this build expects, by whichever replica comes first.

use std::time::Duration;

use sqlx::migrate::Migrator;

use crate::store::Store;
use crate::store::engine::Engine;

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// Replicas that start together may meet in the same migration: all but one fail, look again, and find it done.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(300);

/// Why the schema is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("applying the migrations of the store")]
pub struct MigrateError(#[from] sqlx::migrate::MigrateError);

impl Store {
    /// Applies what is missing.
    ///
    /// # Errors
    /// If the database does not answer, or was migrated by a later build.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        let mut attempt = 1;
        loop {
            let outcome = match &self.engine {
                Engine::Sqlite { writer, .. } => SQLITE.run(writer).await,
                Engine::Postgres(pool) => without_lock(&POSTGRES).run(pool).await,
            };
            match outcome {
                Err(error) if may_have_met_another(&error) && attempt < ATTEMPTS => attempt += 1,
                outcome => return Ok(outcome?),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Whether the database has refused a statement: one of a migration, or the making of the table that lists them.
fn may_have_met_another(error: &sqlx::migrate::MigrateError) -> bool {
    use sqlx::migrate::MigrateError::{Execute, ExecuteMigration};
    matches!(error, ExecuteMigration(..) | Execute(sqlx::Error::Database(_)))
}

/// The lock that sqlx would take belongs to a session, which a pooler in transaction mode does not keep.
fn without_lock(migrator: &Migrator) -> Migrator {
    let mut unlocked = Migrator::with_migrations(migrator.migrations.to_vec());
    unlocked.set_locking(false);
    unlocked
}
