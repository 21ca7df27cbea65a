//! Undisturbed: streams that pass while the same gateway flushes or ingests, beside streams that it has nothing else to do for.
//!
//! The clients and the provider would be on other machines: here they have a core whenever they need one, where that is allowed.

use std::sync::Arc;
use std::time::Duration;

use crate::calls::Texts;
use crate::comparison::{Comparison, Report, Unit};
use crate::live::{self, Manner, Measured, Proxy, Shape};
use crate::sink::Sink;
use crate::{Bench, accept, fixture};

/// Streams at a time, and for how long: no longer than the rest of a flush takes.
const STREAMS: usize = 64;
const ROUND: Duration = Duration::from_millis(1_500);

/// An event may be late by so many times as much.
const LIMIT: f64 = 1.5;

pub(crate) async fn measure(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let name = bench.name(&format!("live paced, {STREAMS} connections, background work: lag of an event, p99"));
    let mut row = Comparison::new(name, Unit::Microseconds).at_most(LIMIT);
    if !live::is_installed("taskset") || !report.wants(row.name()) {
        return Ok(());
    }
    let texts = Arc::new(Texts::new()?);
    let sink = Sink::start(Arc::clone(&texts)).await?;
    let empty = accept::fresh(bench).await?;
    let queued = fixture::queued(bench, &texts, &sink).await?;
    let ended = fixture::ended(bench, &texts, &sink).await?;
    for _ in 0..bench.options.rounds {
        for (contender, original) in [("none", &empty), ("a flush", &queued), ("an ingest", &ended)] {
            let copy = bench.databases.copy(original).await?;
            let gateway = Proxy::working(&copy.url(), sink.url())?;
            let measured: Measured =
                live::load(gateway.address(), gateway.pid(), Shape::Paced, STREAMS, ROUND, Manner::Urgently).await?;
            row.note(contender, measured.lag_p99_micros);
            drop(gateway);
            bench.databases.drop(copy).await?;
        }
    }
    for original in [empty, queued, ended] {
        bench.databases.drop(original).await?;
    }
    report.add(row);
    Ok(())
}
