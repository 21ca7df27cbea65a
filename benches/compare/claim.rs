//! Claiming with and without a mass of finished rows: it must not matter how much was done before.

use std::sync::Arc;
use std::time::Instant;

use crate::bare::Bare;
use crate::calls::Texts;
use crate::comparison::{Comparison, OFFPEAK, Report, Unit};
use crate::database::{Database, Kind};
use crate::ours::{BATCH_CALLS, Ours};
use crate::sink::Sink;
use crate::{Bench, fixture};

/// Finished rows in the way, by default and in full.
const FINISHED: usize = 500_000;
const FINISHED_FULL: usize = 10_000_000;

/// Finished rows that are made by one statement.
const FILL: usize = 250_000;

/// How much slower a claim may be with finished rows: nothing but noise.
const LIMIT: f64 = 1.5;

pub(crate) async fn measure(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let finished = if bench.options.full { FINISHED_FULL } else { FINISHED };
    let name = bench.name(&format!("claim of {BATCH_CALLS} calls beside {finished} finished"));
    let mut row = Comparison::new(name, Unit::Seconds).at_most(LIMIT);
    if !report.wants(row.name()) {
        return Ok(());
    }
    let texts = Arc::new(Texts::new()?);
    let sink = Sink::start(Arc::clone(&texts)).await?;
    let clean = fixture::queued(bench, &texts, &sink).await?;
    let full = bench.databases.copy(&clean).await?;
    finish(bench, &full, finished).await?;
    let (without, with) = (Ours::open(&clean.url(), sink.url()).await?, Ours::open(&full.url(), sink.url()).await?);
    // Each look claims the next batch, as long as calls are queued.
    for _ in 0..bench.options.rounds.max(5).min(bench.options.calls / BATCH_CALLS) {
        row.note("offpeak, nothing finished", claim(&without).await?);
        row.note(OFFPEAK, claim(&with).await?);
    }
    for (ours, database) in [(without, clean), (with, full)] {
        ours.store.close().await;
        bench.databases.drop(database).await?;
    }
    report.add(row);
    Ok(())
}

/// One look: finds the lane that is due, and claims a batch.
async fn claim(ours: &Ours) -> anyhow::Result<f64> {
    let begin = Instant::now();
    anyhow::ensure!(ours.flush.build_due().await?, "nothing was queued");
    Ok(begin.elapsed().as_secs_f64())
}

/// Adds calls that were finished long ago.
async fn finish(bench: &Bench<'_>, database: &Database, rows: usize) -> anyhow::Result<()> {
    let mut bare = Bare::open(database).await?;
    for first in (0..rows).step_by(FILL) {
        let numbers = FILL.min(rows - first);
        bare.run(match bench.kind {
            Kind::Postgres => format!(
                "insert into deferral (id, tenant, lane_id, state, model, body_hash, body_bytes, accepted_at, deadline_at,
                     queued_at, batch_id, attempts, completed_at, served_by)
                 select lpad(to_hex({first} + n), 32, '0')::uuid, 'bench', null, 'succeeded', 'claude-haiku-4-5',
                     sha256(n::text::bytea), 2000, now() - interval '2 days', now() - interval '1 day',
                     now() - interval '2 days', md5((n / 10000)::text)::uuid, 1, now() - interval '1 day', 'batch'
                 from generate_series(1, {numbers}) as n"
            ),
            Kind::Sqlite => format!(
                "insert into deferral (id, tenant, lane_id, state, model, body_hash, body_bytes, accepted_at, deadline_at,
                     queued_at, batch_id, attempts, completed_at, served_by)
                 with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < {numbers})
                 select unhex(printf('%032x', {first} + n)), 'bench', null, 'succeeded', 'claude-haiku-4-5',
                     randomblob(32), 2000, 1, 2, 1, unhex(printf('%032x', n / 10000)), 1, 2, 'batch'
                 from numbers"
            ),
        })
        .await?;
    }
    bare.close().await?;
    fixture::tidy(bench, database).await
}
