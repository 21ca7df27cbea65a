//! Memory: the largest that a process of its own becomes while it flushes or ingests, against what it is when idle.

use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::Context as _;

use crate::calls::Texts;
use crate::comparison::{Comparison, OFFPEAK, Report, Unit};
use crate::ours::Ours;
use crate::sink::Sink;
use crate::{Bench, fixture};

/// A gateway may grow by so many megabytes under load.
const LIMIT: f64 = 100.0;

/// What a child does.
const FLUSH: &str = "flush";
const INGEST: &str = "ingest";

pub(crate) async fn measure(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    for job in [FLUSH, INGEST] {
        let name = bench.name(&format!("memory of {job}, {} calls of 2 KB", bench.options.calls));
        let mut row = Comparison::new(name, Unit::Megabytes).at_most(LIMIT);
        if !report.wants(row.name()) {
            continue;
        }
        let texts = Arc::new(Texts::new()?);
        let sink = Sink::start(Arc::clone(&texts)).await?;
        let database = match job {
            FLUSH => fixture::queued(bench, &texts, &sink).await?,
            _ => fixture::ended(bench, &texts, &sink).await?,
        };
        // The sink and the fixture stay in this process; what is measured has the other to itself.
        let mut child = Command::new(std::env::current_exe()?);
        child.args(["--child", job, &database.url(), sink.url()]).stderr(Stdio::inherit());
        let output = tokio::task::spawn_blocking(move || child.output()).await??;
        anyhow::ensure!(output.status.success(), "the measured process failed");
        let printed = String::from_utf8(output.stdout)?;
        let (idle, peak) = printed.trim().split_once(' ').context("two figures")?;
        row.note("idle", idle.parse()?);
        row.note(OFFPEAK, peak.parse()?);
        bench.databases.drop(database).await?;
        report.add(row);
    }
    Ok(())
}

/// Does the work, and prints what this process weighed before and at most, in megabytes.
pub(crate) async fn child(job: &str, store: &str, upstream: &str) -> anyhow::Result<()> {
    let ours = Ours::open(store, upstream).await?;
    ours.store.ping().await?;
    let idle = status("VmRSS:")?;
    match job {
        FLUSH => ours.flush_all().await?,
        _ => ours.ingest_all().await?,
    }
    let peak = status("VmHWM:")?;
    ours.store.close().await;
    crate::comparison::say(&format!("{idle} {peak}"));
    Ok(())
}

/// A figure that the kernel keeps of this process, in megabytes.
fn status(name: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("what the kernel says of this process")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such figure")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1_024.0 / 1_000_000.0)
}
