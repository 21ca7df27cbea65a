//! Accepting durably: the store's group commit beside a bare one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Bench;
use crate::calls::Texts;
use crate::comparison::{Comparison, OFFPEAK, Report, Unit};
use crate::database::{Database, Kind};
use crate::live::Manner;
use crate::ours::Ours;
use crate::{bare, live};

/// Callers who wait for their ticket at a time.
const CALLERS: [usize; 2] = [64, 256];

/// The same, shared out among several gateways.
const REPLICA_CALLERS: usize = 192;

/// Calls in one round: a second or two.
const CALLS: usize = 40_000;

/// How long tickets are asked for over HTTP in one round.
const ROUND: Duration = Duration::from_secs(3);

/// Commits one after another in one round.
const COMMITS: usize = 2_000;

/// Calls that are offered each second, whether or not those before have their tickets, and by how many callers.
const OFFERED: u32 = 4_000;
const OFFERED_CALLERS: usize = 256;
const OFFERED_ROW: &str = "offpeak, 4,000 offered a second";

/// The program as a whole: HTTP, the reading of the call, and the commit.
const OVER_HTTP: &str = "offpeak over HTTP";

/// Accepting over HTTP is at least 60 % as fast as the database alone.
const LIMIT: f64 = 1.0 / 0.6;

/// Nobody listens there: accepting asks no upstream.
const NOWHERE: &str = "http://127.0.0.1:9";

pub(crate) async fn measure(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    for callers in CALLERS {
        let mut row =
            Comparison::new(bench.name(&format!("durable accept of 2 KB, {callers} callers")), Unit::PerSecond)
                .at_most(LIMIT);
        if !report.wants(row.name()) {
            continue;
        }
        let texts = Arc::new(Texts::new()?);
        for _ in 0..bench.options.rounds {
            let database = fresh(bench).await?;
            let took = bare::group_commit(&database, &texts, CALLS, callers).await?;
            row.note("bare: group commit", CALLS as f64 / took.as_secs_f64());
            bench.databases.drop(database).await?;
            let database = fresh(bench).await?;
            let ours = Arc::new(Ours::open(&database.url(), NOWHERE).await?);
            let begin = Instant::now();
            ours.accept(&texts, CALLS, callers).await?;
            row.note(OFFPEAK, CALLS as f64 / begin.elapsed().as_secs_f64());
            ours.store.close().await;
            bench.databases.drop(database).await?;
            if live::is_installed("taskset") {
                let database = fresh(bench).await?;
                let gateway = live::Proxy::accepting(&database.url())?;
                let measured =
                    live::load(gateway.address(), gateway.pid(), live::Shape::Defer, callers, ROUND, Manner::AtOnce)
                        .await?;
                row.note(OVER_HTTP, measured.answers_per_second);
                drop(gateway);
                bench.databases.drop(database).await?;
            }
        }
        report.add(row);
    }
    waits(bench, report).await?;
    replicas(bench, report).await
}

/// How long a caller waits for his ticket: alone, and beside as many as a busy gateway has.
async fn waits(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let mut row = Comparison::new(bench.name("durable accept of 2 KB: time of a ticket, p50"), Unit::Microseconds);
    if !live::is_installed("taskset") || !report.wants(row.name()) {
        return Ok(());
    }
    let texts = Arc::new(Texts::new()?);
    for _ in 0..bench.options.rounds {
        let database = fresh(bench).await?;
        let took = bare::group_commit(&database, &texts, COMMITS, 1).await?;
        row.note("bare: a commit, one after another", took.as_secs_f64() * 1e6 / COMMITS as f64);
        bench.databases.drop(database).await?;
        for (contender, callers, manner) in
            [("offpeak, one caller", 1, Manner::AtOnce), (OFFERED_ROW, OFFERED_CALLERS, Manner::PerSecond(OFFERED))]
        {
            let database = fresh(bench).await?;
            let gateway = live::Proxy::accepting(&database.url())?;
            let (address, pid) = (gateway.address(), gateway.pid());
            let measured = live::load(address, pid, live::Shape::Defer, callers, ROUND, manner).await?;
            row.note(contender, measured.p50_micros);
            drop(gateway);
            bench.databases.drop(database).await?;
        }
    }
    report.add(row);
    Ok(())
}

/// What another gateway on the same database costs or brings.
async fn replicas(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let name = bench.name(&format!("durable accept of 2 KB over HTTP, {REPLICA_CALLERS} callers, gateways"));
    let mut row = Comparison::new(name, Unit::PerSecond);
    if bench.kind != Kind::Postgres || !live::is_installed("taskset") || !report.wants(row.name()) {
        return Ok(());
    }
    for _ in 0..bench.options.rounds {
        for (count, contender) in [(1, "one"), (2, "two"), (3, "three")] {
            let database = fresh(bench).await?;
            let url = database.url();
            let gateways: Vec<_> = (0..count).map(|_| live::Proxy::accepting(&url)).collect::<anyhow::Result<_>>()?;
            let callers = REPLICA_CALLERS / count;
            let loads = gateways
                .iter()
                .map(|it| live::load(it.address(), it.pid(), live::Shape::Defer, callers, ROUND, Manner::AtOnce));
            let measured = futures_util::future::try_join_all(loads).await?;
            row.note(contender, measured.iter().map(|it| it.answers_per_second).sum());
            drop(gateways);
            bench.databases.drop(database).await?;
        }
    }
    report.add(row);
    Ok(())
}

/// An empty database with the schema.
pub(crate) async fn fresh(bench: &Bench<'_>) -> anyhow::Result<Database> {
    let database = bench.databases.empty(bench.kind).await?;
    Ours::open(&database.url(), NOWHERE).await?.store.close().await;
    Ok(database)
}
