//! The live path: the real program beside nginx and beside no proxy at all, each alone on one core, the load and the upstream
//! together on another.
//!
//! `direct` shows that neither the load nor the upstream is what holds the others back.

mod load;
mod process;
mod upstream;

use std::time::Duration;

use crate::comparison::{Comparison, OFFPEAK, Report, Unit};
use crate::{Options, live::load::Measured};
use process::Upstream;

pub(crate) use load::{child as load_child, run as load};
pub(crate) use process::{Proxy, is_installed};
pub(crate) use upstream::child as upstream_child;

const NGINX: &str = "nginx";
const DIRECT: &str = "direct";

/// How long one contender is measured in one round.
const ROUND: Duration = Duration::from_secs(2);

/// What is asked for, over how many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A call that is answered with 1 KB of JSON.
    Json,
    /// A stream whose events arrive ten to a write, without a pause.
    Bursts,
    /// A stream whose events arrive one by one, 5 ms apart.
    Paced,
    /// A stream that stays open.
    Open,
    /// A call of 2 KB that is answered with a ticket, once it is durable.
    Defer,
}

impl Shape {
    const ALL: [Self; 5] = [Self::Json, Self::Bursts, Self::Paced, Self::Open, Self::Defer];

    /// The word for it, which is also its path at the upstream.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Bursts => "bursts",
            Self::Paced => "paced",
            Self::Open => "open",
            Self::Defer => "defer",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.name() == name)
    }
}

/// One figure of a measurement, as a row of the table.
struct Figure {
    name: &'static str,
    unit: Unit,
    of: fn(&Measured) -> f64,
}

const REQUESTS: Figure = Figure { name: "answers", unit: Unit::PerSecond, of: |it| it.answers_per_second };
const CPU: Figure = Figure { name: "CPU of the proxy per answer", unit: Unit::Microseconds, of: |it| it.cpu_micros };
const P50: Figure = Figure { name: "time, p50", unit: Unit::Microseconds, of: |it| it.p50_micros };
const FIRST: Figure =
    Figure { name: "time to the first event, p50", unit: Unit::Microseconds, of: |it| it.first_micros };
const LAG_P50: Figure = Figure { name: "lag of an event, p50", unit: Unit::Microseconds, of: |it| it.lag_p50_micros };
const LAG_P99: Figure = Figure { name: "lag of an event, p99", unit: Unit::Microseconds, of: |it| it.lag_p99_micros };

/// What is measured: a shape, over how many connections, and which figures of it count.
const ROWS: [(Shape, usize, &[Figure]); 5] = [
    (Shape::Json, 1, &[P50]),
    (Shape::Json, 32, &[REQUESTS, CPU]),
    (Shape::Json, 256, &[REQUESTS, CPU]),
    (Shape::Bursts, 32, &[REQUESTS, CPU, FIRST]),
    (Shape::Paced, 64, &[LAG_P50, LAG_P99, CPU]),
];

/// Streams held open to see what each weighs.
const OPEN_STREAMS: usize = 1_000;

pub(crate) async fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    if !process::is_installed("nginx") || !process::is_installed("taskset") {
        crate::comparison::complain("bench: the live path is not measured: it needs nginx and taskset");
        return Ok(());
    }
    for (shape, connections, figures) in ROWS {
        let name = |figure: &Figure| format!("live {}, {connections} connections: {}", shape.name(), figure.name);
        let mut rows: Vec<Comparison> =
            figures.iter().map(|figure| Comparison::new(name(figure), figure.unit)).collect();
        if !rows.iter().any(|row| report.wants(row.name())) {
            continue;
        }
        for _ in 0..options.rounds {
            let upstream = Upstream::start()?;
            for (contender, proxy) in contenders(&upstream)? {
                let measured = load::run(proxy.address(), proxy.pid(), shape, connections, ROUND).await?;
                for (row, figure) in rows.iter_mut().zip(figures) {
                    // Without a proxy there is no CPU of one.
                    if !(contender == DIRECT && figure.name == CPU.name) {
                        row.note(contender, (figure.of)(&measured));
                    }
                }
            }
        }
        rows.into_iter().for_each(|row| report.add(row));
    }
    memory(report).await
}

/// The reference first.
fn contenders(upstream: &Upstream) -> anyhow::Result<[(&'static str, Proxy); 3]> {
    Ok([(NGINX, Proxy::nginx(upstream)?), (OFFPEAK, Proxy::offpeak(upstream)?), (DIRECT, Proxy::none(upstream))])
}

/// What a proxy weighs when idle, and with many streams open.
async fn memory(report: &mut Report) -> anyhow::Result<()> {
    let mut idle = Comparison::new("live memory: idle".to_owned(), Unit::Megabytes);
    let name = format!("live memory: {OPEN_STREAMS} open streams, beyond idle");
    let mut open = Comparison::new(name, Unit::Megabytes);
    if !report.wants(idle.name()) && !report.wants(open.name()) {
        return Ok(());
    }
    let upstream = Upstream::start()?;
    for (contender, proxy) in contenders(&upstream)?.into_iter().take(2) {
        let before = process::resident_megabytes(proxy.pid())?;
        let after = load::hold_open(proxy.address(), OPEN_STREAMS, || process::resident_megabytes(proxy.pid())).await?;
        idle.note(contender, before);
        open.note(contender, after - before);
    }
    report.add(idle);
    report.add(open);
    Ok(())
}
