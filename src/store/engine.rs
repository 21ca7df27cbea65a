//! The two engines: all that differs between SQLite and PostgreSQL, but for a few statements beside their twins.

use std::path::Path;
use std::time::Duration;

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgConnectOptions, PgHasArrayType, PgPoolOptions, PgTypeInfo, PgValueRef};
use sqlx::sqlite::{
    SqliteArgumentsBuffer, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
    SqliteTypeInfo, SqliteValueRef,
};
use sqlx::{
    Connection as _, Decode, Encode, PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool, Transaction,
    Type,
};

use crate::clock::Timestamp;
use crate::store::StoreError;

/// How long a statement waits for a connection before the store counts as unavailable.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(5);

/// How long a write waits for another process's write on the same SQLite file (a backup, say).
const SQLITE_BUSY_LIMIT: Duration = Duration::from_secs(5);

/// Rows that SQLite may read ahead of whoever takes them: as many as a page of items has, so that it need not wait.
const SQLITE_ROWS_AHEAD: usize = 512;

/// Readers beside the one writer of an SQLite file.
const SQLITE_READERS: u32 = 4;

/// Connections to PostgreSQL by one gateway: a few for the workers, the rest for callers who ask.
const POSTGRES_CONNECTIONS: u32 = 16;

/// A connection that was given back a shorter time ago is taken without asking whether it is still there, which is a way to
/// the server and back: it was asked then.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// Begins a transaction on a connection without prepared statements: sqlx names those that it does not keep as well,
/// never closes them, and behind a pooler another client may have left the same names.
const BEGIN_POSTGRES: &str = "begin; deallocate all";

/// An open database.
#[derive(Clone, Debug)]
pub(crate) enum Engine {
    Sqlite { reader: SqlitePool, writer: SqlitePool },
    Postgres(PgPool),
}

impl Engine {
    pub(crate) async fn sqlite(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A ticket is a promise: a commit is on the disk before anyone hears of it.
            .synchronous(SqliteSynchronous::Full)
            .row_buffer_size(SQLITE_ROWS_AHEAD)
            .busy_timeout(SQLITE_BUSY_LIMIT);
        let pool = |connections| SqlitePoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_LIMIT);
        let writer = pool(1).connect_with(options.clone()).await?;
        let reader = pool(SQLITE_READERS).connect_lazy_with(options.read_only(true));
        Ok(Self::Sqlite { reader, writer })
    }

    /// Connects when first used, so that a gateway starts while its database is down.
    pub(crate) fn postgres(url: &str) -> Result<Self, StoreError> {
        let options: PgConnectOptions = url.parse()?;
        // A pooler in transaction mode keeps neither prepared statements nor parameters that it does not know.
        let options = options.application_name("offpeak").statement_cache_capacity(0).extra_float_digits(None::<i8>);
        let pool = PgPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS)
            .acquire_timeout(ACQUIRE_LIMIT)
            .test_before_acquire(false)
            .before_acquire(|connection, how| {
                Box::pin(async move {
                    if how.idle_for >= TRUSTED_FOR {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            });
        Ok(Self::Postgres(pool.connect_lazy_with(options)))
    }

    /// Whether large tables are in parts, one for each day.
    pub(crate) fn has_partitions(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { reader, writer } => {
                reader.close().await;
                writer.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// Begins a transaction on PostgreSQL: on another connection where the server has gone away from one that was trusted, since
/// nothing was done on that.
pub(crate) async fn begin_postgres(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    for _ in 0..POSTGRES_CONNECTIONS {
        match pool.begin_with(BEGIN_POSTGRES).await {
            Err(error) if is_gone(&error) => {}
            begun => return begun,
        }
    }
    pool.begin_with(BEGIN_POSTGRES).await
}

/// Whether a connection was closed by its other end, as it is when the server ends (`admin_shutdown` and those beside it).
fn is_gone(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("57P")),
        _ => false,
    }
}

/// Runs `$body` in a read transaction on either engine, with `$tx` as its connection.
///
/// A single statement too: behind a pooler in transaction mode only a transaction keeps its parts together.
macro_rules! read {
    ($store:expr, $tx:ident => $body:expr) => {
        match &$store.engine {
            $crate::store::engine::Engine::Sqlite { reader, .. } => {
                let mut transaction = reader.begin().await?;
                let $tx = &mut *transaction;
                let out = $body;
                transaction.commit().await?;
                out
            }
            $crate::store::engine::Engine::Postgres(pool) => {
                let mut transaction = $crate::store::engine::begin_postgres(pool).await?;
                let $tx = &mut *transaction;
                let out = $body;
                transaction.commit().await?;
                out
            }
        }
    };
}

/// Runs `$body` in a write transaction on either engine, with `$tx` as its connection; an error rolls it back.
macro_rules! write {
    ($store:expr, $tx:ident => $body:expr) => {
        match &$store.engine {
            $crate::store::engine::Engine::Sqlite { writer, .. } => {
                // A plain `begin` that turns into a write later fails under load; this one waits its turn.
                let mut transaction = writer.begin_with("begin immediate").await?;
                let $tx = &mut *transaction;
                let out = $body;
                transaction.commit().await?;
                out
            }
            $crate::store::engine::Engine::Postgres(pool) => {
                let mut transaction = $crate::store::engine::begin_postgres(pool).await?;
                let $tx = &mut *transaction;
                let out = $body;
                transaction.commit().await?;
                out
            }
        }
    };
}

pub(crate) use {read, write};

/// Which engine a connection belongs to, for the few statements that have two texts.
pub(crate) trait Dialect {
    /// The one of two texts that this engine understands.
    fn text(&self, sqlite: &'static str, postgres: &'static str) -> &'static str;
}

impl Dialect for SqliteConnection {
    fn text(&self, sqlite: &'static str, _postgres: &'static str) -> &'static str {
        sqlite
    }
}

impl Dialect for PgConnection {
    fn text(&self, _sqlite: &'static str, postgres: &'static str) -> &'static str {
        postgres
    }
}

/// PostgreSQL keeps microseconds since 2000.
const POSTGRES_EPOCH_MILLIS: i64 = 946_684_800_000;

/// By number, not by name: a name costs a query on each new connection.
const TIMESTAMPTZ: Oid = Oid(1184);
const TIMESTAMPTZ_ARRAY: Oid = Oid(1185);

impl Type<Postgres> for Timestamp {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }
}

impl PgHasArrayType for Timestamp {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ_ARRAY)
    }
}

impl Encode<'_, Postgres> for Timestamp {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = (self.as_millis() - POSTGRES_EPOCH_MILLIS).saturating_mul(1_000);
        <i64 as Encode<Postgres>>::encode(micros, buffer)
    }
}

impl Decode<'_, Postgres> for Timestamp {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let micros = <i64 as Decode<Postgres>>::decode(value)?;
        Ok(Self::from_millis(micros.div_euclid(1_000) + POSTGRES_EPOCH_MILLIS))
    }
}

impl Type<Sqlite> for Timestamp {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }

    fn compatible(kind: &SqliteTypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(kind)
    }
}

impl Encode<'_, Sqlite> for Timestamp {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as Encode<Sqlite>>::encode(self.as_millis(), buffer)
    }
}

impl Decode<'_, Sqlite> for Timestamp {
    fn decode(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        <i64 as Decode<Sqlite>>::decode(value).map(Self::from_millis)
    }
}
