//! Flushing: our claim and our stream to a provider that takes no time, beside claiming and streaming alone.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use uuid::Uuid;

use crate::bare::Bare;
use crate::calls::Texts;
use crate::comparison::{Comparison, OFFPEAK, Report, Unit};
use crate::database::Database;
use crate::ours::{BATCH_CALLS, Ours};
use crate::sink::Sink;
use crate::{Bench, fixture};

/// A flush may take so many times what the database takes for it.
const LIMIT: f64 = 2.0;

pub(crate) async fn measure(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let calls = bench.options.calls;
    let mut row = Comparison::new(bench.name(&format!("flush of {calls} calls of 2 KB")), Unit::Seconds).at_most(LIMIT);
    if !report.wants(row.name()) {
        return Ok(());
    }
    let texts = Arc::new(Texts::new()?);
    let sink = Sink::start(Arc::clone(&texts)).await?;
    let original = fixture::queued(bench, &texts, &sink).await?;
    for _ in 0..bench.options.rounds {
        let copy = bench.databases.copy(&original).await?;
        row.note("bare: claim, stream in order", bare(&copy).await?);
        bench.databases.drop(copy).await?;
        let copy = bench.databases.copy(&original).await?;
        row.note(OFFPEAK, ours(&copy, &sink).await?);
        bench.databases.drop(copy).await?;
        row.note("the sink alone, same bytes", upload(&texts, &sink, calls).await?);
    }
    bench.databases.drop(original).await?;
    report.add(row);
    Ok(())
}

async fn ours(database: &Database, sink: &Sink) -> anyhow::Result<f64> {
    let ours = Ours::open(&database.url(), sink.url()).await?;
    let begin = Instant::now();
    ours.flush_all().await?;
    let took = begin.elapsed().as_secs_f64();
    ours.store.close().await;
    Ok(took)
}

async fn bare(database: &Database) -> anyhow::Result<f64> {
    let mut bare = Bare::open(database).await?;
    let begin = Instant::now();
    let mut batches = Vec::new();
    loop {
        let batch = Uuid::now_v7();
        if bare.claim(batch).await? == 0 {
            break;
        }
        batches.push(batch);
    }
    for batch in batches {
        bare.stream(batch).await?;
    }
    let took = begin.elapsed().as_secs_f64();
    bare.close().await?;
    Ok(took)
}

/// Uploads as many bytes as a flush does, out of memory.
async fn upload(texts: &Texts, sink: &Sink, calls: usize) -> anyhow::Result<f64> {
    let client = reqwest::Client::new();
    let url = format!("{}/v1/messages/batches", sink.url());
    let chunk: String = (0..500).map(|number| texts.prompt(number).text.as_str()).collect();
    let chunk = Bytes::from(chunk);
    let begin = Instant::now();
    for _ in 0..calls.div_ceil(BATCH_CALLS) {
        let chunks: Vec<_> = (0..BATCH_CALLS / 500).map(|_| anyhow::Ok(chunk.clone())).collect();
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
        client.post(&url).body(body).send().await?.error_for_status()?.bytes().await?;
    }
    Ok(begin.elapsed().as_secs_f64())
}
