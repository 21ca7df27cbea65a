//! Migrations: the schema is brought to what this build expects, by whichever replica comes first.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::migrate::Migrator;

use crate::store::Store;
use crate::store::engine::{Engine, begin_postgres};

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
                Engine::Postgres(pool) => migrate_postgres(pool).await,
            };
            match outcome {
                Err(error) if attempt < ATTEMPTS && is_refused(&error) => attempt += 1,
                outcome => return Ok(outcome?),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// In one transaction, and without the lock that sqlx would take: that belongs to a session, which a pooler in
/// transaction mode does not keep.
async fn migrate_postgres(pool: &PgPool) -> Result<(), sqlx::migrate::MigrateError> {
    let mut unlocked = Migrator::with_migrations(POSTGRES.migrations.to_vec());
    unlocked.set_locking(false);
    let mut transaction = begin_postgres(pool).await?;
    // What `run` comes to; that one does not go together with `Send`.
    unlocked.run_direct(None, &mut *transaction, false).await?;
    Ok(transaction.commit().await?)
}

/// Whether the database has answered, rather than not been there.
fn is_refused(error: &sqlx::migrate::MigrateError) -> bool {
    use sqlx::migrate::MigrateError::{Execute, ExecuteMigration};
    matches!(error, Execute(error) | ExecuteMigration(error, _) if error.as_database_error().is_some())
}
