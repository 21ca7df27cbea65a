//! Databases as the rows find them: with a full queue, or with batches that have ended.

use std::sync::Arc;

use crate::Bench;
use crate::bare::Bare;
use crate::calls::Texts;
use crate::database::{Database, Kind};
use crate::ours::Ours;
use crate::sink::Sink;

/// A database in which `options.calls` calls are queued, and nobody has it open.
pub(crate) async fn queued(bench: &Bench<'_>, texts: &Arc<Texts>, sink: &Sink) -> anyhow::Result<Database> {
    let database = bench.databases.empty(bench.kind).await?;
    let ours = Arc::new(Ours::open(&database.url(), sink.url()).await?);
    ours.fill(texts, bench.options.calls).await?;
    ours.store.close().await;
    tidy(bench, &database).await?;
    Ok(database)
}

/// A database whose calls are in batches that have ended; the sink has their results.
pub(crate) async fn ended(bench: &Bench<'_>, texts: &Arc<Texts>, sink: &Sink) -> anyhow::Result<Database> {
    let database = queued(bench, texts, sink).await?;
    let ours = Ours::open(&database.url(), sink.url()).await?;
    ours.flush_all().await?;
    ours.end_all().await?;
    ours.store.close().await;
    tidy(bench, &database).await?;
    let mut bare = Bare::open(&database).await?;
    for (batch, provider_id) in bare.batches().await? {
        sink.set_members(provider_id.unwrap_or_default(), bare.members(batch).await?);
    }
    bare.close().await?;
    Ok(database)
}

/// What a database does by itself some time after it was filled, and must not do while it is measured.
pub(crate) async fn tidy(bench: &Bench<'_>, database: &Database) -> anyhow::Result<()> {
    let mut bare = Bare::open(database).await?;
    let statements: &[&str] = match bench.kind {
        Kind::Postgres => &["vacuum (analyze)", "checkpoint"],
        Kind::Sqlite => &["pragma wal_checkpoint(truncate)"],
    };
    for statement in statements {
        bare.run((*statement).to_owned()).await?;
    }
    bare.close().await
}
