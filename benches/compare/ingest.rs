//! Ingesting: our way from the provider's stream to settled deferrals, beside parsing and inserting alone.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use uuid::Uuid;

use crate::bare::{Bare, CHUNK, Packer};
use crate::calls::Texts;
use crate::comparison::{Comparison, OFFPEAK, Report, Unit};
use crate::database::Database;
use crate::ours::Ours;
use crate::sink::{self, Sink};
use crate::{Bench, fixture};

/// An ingest may take so many times what the database takes for it.
const LIMIT: f64 = 2.0;

pub(crate) async fn measure(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let calls = bench.options.calls;
    let mut row =
        Comparison::new(bench.name(&format!("ingest of {calls} results of 2 KB")), Unit::Seconds).at_most(LIMIT);
    if !report.wants(row.name()) {
        return Ok(());
    }
    let texts = Arc::new(Texts::new()?);
    let sink = Sink::start(Arc::clone(&texts)).await?;
    let original = fixture::ended(bench, &texts, &sink).await?;
    for _ in 0..bench.options.rounds {
        let copy = bench.databases.copy(&original).await?;
        row.note("bare: parse, insert, update", bare(&copy, &texts).await?);
        bench.databases.drop(copy).await?;
        let copy = bench.databases.copy(&original).await?;
        row.note(OFFPEAK, ours(&copy, &sink).await?);
        row.note("the sink alone, same bytes", download(&copy, &sink).await?);
        bench.databases.drop(copy).await?;
    }
    bench.databases.drop(original).await?;
    report.add(row);
    Ok(())
}

async fn ours(database: &Database, sink: &Sink) -> anyhow::Result<f64> {
    let ours = Ours::open(&database.url(), sink.url()).await?;
    let begin = Instant::now();
    ours.ingest_all().await?;
    let took = begin.elapsed().as_secs_f64();
    ours.store.close().await;
    Ok(took)
}

async fn bare(database: &Database, texts: &Texts) -> anyhow::Result<f64> {
    let mut bare = Bare::open(database).await?;
    let mut chunks: Vec<(Uuid, Bytes)> = Vec::new();
    for (batch, _) in bare.batches().await? {
        let members = bare.members(batch).await?;
        chunks.extend(members.chunks(CHUNK).enumerate().map(|(n, part)| (batch, sink::lines(texts, n * CHUNK, part))));
    }
    let mut packer = Packer::new()?;
    let begin = Instant::now();
    for (batch, lines) in &chunks {
        bare.ingest(*batch, lines, &mut packer).await?;
    }
    let took = begin.elapsed().as_secs_f64();
    bare.close().await?;
    Ok(took)
}

/// Downloads all results and does nothing with them.
async fn download(database: &Database, sink: &Sink) -> anyhow::Result<f64> {
    let mut bare = Bare::open(database).await?;
    let batches = bare.batches().await?;
    bare.close().await?;
    let client = reqwest::Client::new();
    let begin = Instant::now();
    for (_, provider_id) in batches {
        let url = format!("{}/v1/messages/batches/{}/results", sink.url(), provider_id.unwrap_or_default());
        let mut response = client.get(url).send().await?.error_for_status()?;
        while response.chunk().await?.is_some() {}
    }
    Ok(begin.elapsed().as_secs_f64())
}
