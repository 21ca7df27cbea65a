//! `make bench`: how fast and how large Offpeak is, beside what is best at the same in the same run: nginx on the live path,
//! the bare database on the durable one.
//!
//! Every row of the table is a [`comparison::Comparison`]: the first contender is the reference, the others are shown as ratios
//! to it. A new row is a function that notes one figure of each contender per round, and a line in [`run`].

mod accept;
mod backlog;
mod bare;
mod calls;
mod comparison;
mod database;
mod fixture;
mod flush;
mod http2;
mod ingest;
mod live;
mod memory;
mod ours;
mod rules;
mod sink;
mod undisturbed;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use comparison::Report;
use database::{Databases, Kind};

/// Measures Offpeak beside the best at each thing.
#[derive(Parser)]
pub(crate) struct Options {
    /// Writes all figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measures only rows whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// How often each contender runs; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Calls that are flushed, and results that are ingested.
    #[arg(long, default_value_t = 100_000)]
    calls: usize,
    /// Puts ten million finished rows in the way instead of half a million, and holds seven thousand connections instead of one.
    #[arg(long)]
    full: bool,
    /// What `cargo bench` passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
    /// Set for a process that is started only to be measured, or to measure: what it does, and with what.
    #[arg(long, hide = true, num_args = 3)]
    child: Option<Vec<String>>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    // Those that share a core have one thread.
    let shares_a_core = matches!(options.child.as_deref(), Some([job, ..]) if job == "load" || job == "upstream");
    let mut builder = if shares_a_core {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let outcome = builder
        .enable_all()
        .build()
        .context("starting the runtime")
        .and_then(|runtime| runtime.block_on(run(&options)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            comparison::complain(&format!("bench: {error:?}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> anyhow::Result<()> {
    if let Some([job, store, upstream]) = options.child.as_deref() {
        return match job.as_str() {
            "load" => live::load_child(store, upstream).await,
            "upstream" => live::upstream_child(store).await,
            _ => memory::child(job, store, upstream).await,
        };
    }
    let mut report = Report::new(options.only.clone());
    live::measure(options, &mut report).await?;
    rules::measure(options, &mut report).await?;
    http2::measure(options, &mut report).await?;
    let databases = Databases::start().await?;
    for kind in [Kind::Postgres, Kind::Sqlite] {
        let bench = Bench { options, databases: &databases, kind };
        accept::measure(&bench, &mut report).await?;
        flush::measure(&bench, &mut report).await?;
        ingest::measure(&bench, &mut report).await?;
        memory::measure(&bench, &mut report).await?;
        undisturbed::measure(&bench, &mut report).await?;
        workloads::measure(&bench, &mut report).await?;
        backlog::measure(&bench, &mut report).await?;
    }
    match &options.json {
        Some(path) => std::fs::write(path, report.json()).context("writing the figures"),
        None => Ok(()),
    }
}

/// What a row needs to measure itself on one engine.
pub(crate) struct Bench<'a> {
    pub(crate) options: &'a Options,
    pub(crate) databases: &'a Databases,
    pub(crate) kind: Kind,
}

impl Bench<'_> {
    /// A row's name on this engine.
    pub(crate) fn name(&self, what: &str) -> String {
        format!("{what}, {}", self.kind.name())
    }
}
