//! The bare database: what a flush, an ingest and an accept cost when nothing but their statements is done, in the
//! fastest way that is known, with plain sqlx on a schema equal to ours.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use offpeak::domain::id::DeferralId;
use serde::Deserialize;
use serde_json::value::RawValue;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::calls::Texts;
use crate::database::Database;
use crate::ours::BATCH_CALLS;

/// Rows of one ingesting transaction: fewer are slower, more are no faster.
pub(crate) const CHUNK: usize = 2_000;

/// A connection to either engine, set up as durably as ours.
pub(crate) enum Bare {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// Runs `$body` with `$connection` on either engine.
macro_rules! on {
    ($bare:expr, $connection:ident => $body:expr) => {
        match $bare {
            Bare::Postgres($connection) => $body,
            Bare::Sqlite($connection) => $body,
        }
    };
}

impl Bare {
    pub(crate) async fn open(database: &Database) -> anyhow::Result<Self> {
        Ok(match database {
            Database::Postgres { .. } => Self::Postgres(PgConnection::connect(&database.url()).await?),
            Database::Sqlite(path) => Self::Sqlite(SqliteConnection::connect_with(&durable(path)).await?),
        })
    }

    pub(crate) async fn close(self) -> anyhow::Result<()> {
        on!(self, connection => connection.close().await?);
        Ok(())
    }

    /// Runs a statement without parameters.
    pub(crate) async fn run(&mut self, statement: String) -> anyhow::Result<()> {
        let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(statement));
        on!(self, connection => statement.execute(connection).await.map(|_| ())?);
        Ok(())
    }

    /// The batches with their provider's ids.
    pub(crate) async fn batches(&mut self) -> anyhow::Result<Vec<(Uuid, Option<String>)>> {
        let statement = "select id, provider_id from batch order by id";
        Ok(on!(self, connection => sqlx::query_as(statement).fetch_all(connection).await?))
    }

    /// The ids of a batch's members, in order.
    pub(crate) async fn members(&mut self, batch: Uuid) -> anyhow::Result<Vec<DeferralId>> {
        let statement = "select id from deferral where batch_id = $1 order by id";
        Ok(on!(self, connection => sqlx::query_scalar(statement).bind(batch).fetch_all(connection).await?))
    }

    /// Claims up to [`BATCH_CALLS`] queued calls for a batch; says how many there were.
    pub(crate) async fn claim(&mut self, batch: Uuid) -> anyhow::Result<u64> {
        let claimed = match self {
            Self::Postgres(connection) => sqlx::query(
                "update deferral set state = 'batched', batch_id = $1 where id in (
                     select id from deferral where state = 'queued' and lane_id = (select id from lane)
                     order by queued_at, id limit $2 for update skip locked)",
            )
            .bind(batch)
            .bind(BATCH_CALLS as i64)
            .execute(connection)
            .await?
            .rows_affected(),
            Self::Sqlite(connection) => sqlx::query(
                "update deferral set state = 'batched', batch_id = $1 where id in (
                     select id from deferral where state = 'queued' and lane_id = (select id from lane)
                     order by queued_at, id limit $2)",
            )
            .bind(batch)
            .bind(BATCH_CALLS as i64)
            .execute(connection)
            .await?
            .rows_affected(),
        };
        Ok(claimed)
    }

    /// Streams the packed bodies of a batch in order; says how many bytes they have.
    pub(crate) async fn stream(&mut self, batch: Uuid) -> anyhow::Result<usize> {
        let statement =
            "select deferral.id, payload.body from deferral join payload on payload.deferral_id = deferral.id
             where deferral.batch_id = $1 and deferral.state = 'batched' order by deferral.id";
        on!(self, connection => {
            let rows = sqlx::query_as::<_, (Uuid, Vec<u8>)>(statement).bind(batch).fetch(connection);
            Ok(rows.try_fold(0, async |bytes, (_, body)| Ok(bytes + body.len())).await?)
        })
    }

    /// Ingests one chunk of result lines in one transaction.
    pub(crate) async fn ingest(&mut self, batch: Uuid, lines: &[u8], packer: &mut Packer) -> anyhow::Result<()> {
        let mut results = Vec::with_capacity(CHUNK);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Line<'_> = serde_json::from_slice(line)?;
            results.push((Uuid::parse_str(&line.custom_id[4..])?, packer.pack(line.result.message.get())?));
        }
        match self {
            Self::Postgres(connection) => insert_postgres(connection, batch, &results).await,
            Self::Sqlite(connection) => insert_sqlite(connection, batch, &results).await,
        }
    }
}

/// Compresses without setting up anew for each text.
pub(crate) struct Packer(zstd::bulk::Compressor<'static>);

impl Packer {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(zstd::bulk::Compressor::new(1)?))
    }

    pub(crate) fn pack(&mut self, text: &str) -> anyhow::Result<Vec<u8>> {
        Ok(self.0.compress(text.as_bytes())?)
    }
}

async fn insert_postgres(
    connection: &mut PgConnection,
    batch: Uuid,
    results: &[(Uuid, Vec<u8>)],
) -> anyhow::Result<()> {
    let (ids, bodies): (Vec<Uuid>, Vec<&[u8]>) = results.iter().map(|(id, body)| (*id, body.as_slice())).unzip();
    let mut transaction = connection.begin().await?;
    sqlx::query(
        "insert into outcome (deferral_id, status, codec, body, received_at)
         select id, 200, 1, body, now() from unnest($1::uuid[], $2::bytea[]) as came (id, body)",
    )
    .bind(&ids)
    .bind(&bodies)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "update deferral set state = 'succeeded', completed_at = now(), served_by = 'batch'
         where id = any($1) and batch_id = $2 and state = 'batched'",
    )
    .bind(&ids)
    .bind(batch)
    .execute(&mut *transaction)
    .await?;
    Ok(transaction.commit().await?)
}

async fn insert_sqlite(
    connection: &mut SqliteConnection,
    batch: Uuid,
    results: &[(Uuid, Vec<u8>)],
) -> anyhow::Result<()> {
    let mut transaction = connection.begin_with("begin immediate").await?;
    for (id, body) in results {
        sqlx::query("insert into outcome (deferral_id, status, codec, body, received_at) values ($1, 200, 1, $2, 1)")
            .bind(id)
            .bind(body.as_slice())
            .execute(&mut *transaction)
            .await?;
    }
    // One statement for the chunk: its members are those of the batch that have a result by now.
    sqlx::query(
        "update deferral set state = 'succeeded', completed_at = 1, served_by = 'batch'
         where batch_id = $1 and state = 'batched' and id between $2 and $3",
    )
    .bind(batch)
    .bind(results.first().map(|(id, _)| *id))
    .bind(results.last().map(|(id, _)| *id))
    .execute(&mut *transaction)
    .await?;
    Ok(transaction.commit().await?)
}

#[derive(Deserialize)]
struct Line<'a> {
    custom_id: &'a str,
    #[serde(borrow)]
    result: LineResult<'a>,
}

#[derive(Deserialize)]
struct LineResult<'a> {
    #[serde(borrow)]
    message: &'a RawValue,
}

/// A group commit and nothing else: one writer takes whoever waits, inserts and commits.
pub(crate) async fn group_commit(
    database: &Database,
    texts: &Arc<Texts>,
    calls: usize,
    callers: usize,
) -> anyhow::Result<Duration> {
    let bare = Bare::open(database).await?;
    let (sender, receiver) = mpsc::channel(callers);
    let begin = std::time::Instant::now();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(write_together(bare, receiver));
    for caller in 0..callers {
        let (texts, sender) = (Arc::clone(texts), sender.clone());
        running.spawn(async move {
            let mut packer = Packer::new()?;
            for number in (caller..calls).step_by(callers) {
                let (done, committed) = oneshot::channel();
                let item = texts.prompt(number);
                let row = Row { id: Uuid::now_v7(), hash: item.hash, packed: packer.pack(&item.text)? };
                sender.send((row, done)).await?;
                committed.await?;
            }
            Ok(())
        });
    }
    drop(sender);
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(begin.elapsed())
}

struct Row {
    id: Uuid,
    hash: [u8; 32],
    packed: Vec<u8>,
}

/// More in one commit do not make it cheaper.
const COMMIT_ROWS: usize = 1_000;

async fn write_together(mut bare: Bare, mut waiting: mpsc::Receiver<(Row, oneshot::Sender<()>)>) -> anyhow::Result<()> {
    let mut bite = Vec::new();
    while waiting.recv_many(&mut bite, COMMIT_ROWS).await > 0 {
        let (rows, waiters): (Vec<Row>, Vec<_>) = bite.drain(..).unzip();
        match &mut bare {
            Bare::Postgres(connection) => accept_postgres(connection, &rows).await?,
            Bare::Sqlite(connection) => accept_sqlite(connection, &rows).await?,
        }
        for waiter in waiters {
            let _ = waiter.send(());
        }
    }
    bare.close().await
}

async fn accept_postgres(connection: &mut PgConnection, rows: &[Row]) -> anyhow::Result<()> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let mut transaction = connection.begin().await?;
    sqlx::query(
        "insert into deferral (id, tenant, lane_id, state, model, workload, body_hash, body_bytes, accepted_at,
             deadline_at, queued_at)
         select id, 'bench', id, 'queued', 'claude-haiku-4-5', 'nightly', hash, 2000, now(), now(), now()
         from unnest($1::uuid[], $2::bytea[]) as new (id, hash)",
    )
    .bind(&ids)
    .bind(rows.iter().map(|row| row.hash.as_slice()).collect::<Vec<_>>())
    .execute(&mut *transaction)
    .await?;
    sqlx::query("insert into payload select id, 1, body from unnest($1::uuid[], $2::bytea[]) as new (id, body)")
        .bind(&ids)
        .bind(rows.iter().map(|row| row.packed.as_slice()).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await?;
    Ok(transaction.commit().await?)
}

async fn accept_sqlite(connection: &mut SqliteConnection, rows: &[Row]) -> anyhow::Result<()> {
    let mut transaction = connection.begin_with("begin immediate").await?;
    for row in rows {
        sqlx::query(
            "insert into deferral (id, tenant, lane_id, state, model, workload, body_hash, body_bytes, accepted_at,
                 deadline_at, queued_at)
             values ($1, 'bench', $1, 'queued', 'claude-haiku-4-5', 'nightly', $2, 2000, 1, 2, 1)",
        )
        .bind(row.id)
        .bind(row.hash.as_slice())
        .execute(&mut *transaction)
        .await?;
        sqlx::query("insert into payload (deferral_id, codec, body) values ($1, 1, $2)")
            .bind(row.id)
            .bind(row.packed.as_slice())
            .execute(&mut *transaction)
            .await?;
    }
    Ok(transaction.commit().await?)
}

fn durable(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
}
