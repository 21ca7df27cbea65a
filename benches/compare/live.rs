//! The live path: the real program beside nginx and beside no proxy at all, each alone on one core, the load and the upstream
//! together on another.
//!
//! `direct` shows that neither the load nor the upstream is what holds the others back.

mod load;
mod process;
mod upstream;

use std::time::Duration;

use crate::Options;
use crate::comparison::{Comparison, OFFPEAK, Report, Unit};

pub(crate) use load::{Manner, Measured, child as load_child, run as load};
pub(crate) use process::{Proxy, Upstream, Way, is_installed, make_urgent};
pub(crate) use upstream::{EVENTS, PAUSE, child as upstream_child, event};

const NGINX: &str = "nginx";
const DIRECT: &str = "direct";

/// The program without its inventory, to see what that costs.
const UNOBSERVED: &str = "offpeak, inventory off";

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

/// What is measured: a shape, over how many connections, on which way to the upstream, and which figures of it count.
const ROWS: [(Shape, usize, Way, &[Figure]); 8] = [
    (Shape::Json, 1, Way::Plain, &[P50]),
    (Shape::Json, 32, Way::Plain, &[REQUESTS, CPU]),
    (Shape::Json, 256, Way::Plain, &[REQUESTS, CPU]),
    (Shape::Bursts, 32, Way::Plain, &[REQUESTS, CPU, FIRST]),
    (Shape::Paced, 64, Way::Plain, &[LAG_P50, LAG_P99, CPU]),
    (Shape::Json, 32, Way::Tls, &[REQUESTS, CPU]),
    (Shape::Bursts, 32, Way::Tls, &[REQUESTS, CPU, FIRST]),
    (Shape::Paced, 64, Way::Tls, &[LAG_P50, LAG_P99, CPU]),
];

/// Connections held open to see what each weighs, by default and in full: with the upstream's each is two files to a proxy,
/// and many systems allow a process no more than 20,000.
const OPEN: usize = 1_000;
const OPEN_FULL: usize = 7_000;

/// The largest body that the provider takes.
const LONG_BODY: usize = 32_000_000;

pub(crate) async fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    if !process::is_installed("nginx") || !process::is_installed("taskset") {
        crate::comparison::complain("bench: the live path is not measured: it needs nginx and taskset");
        return Ok(());
    }
    for (shape, connections, way, figures) in ROWS {
        let over = if way == Way::Tls { " over TLS" } else { "" };
        let name = |figure: &Figure| format!("live {}{over}, {connections} connections: {}", shape.name(), figure.name);
        let mut rows: Vec<Comparison> =
            figures.iter().map(|figure| Comparison::new(name(figure), figure.unit)).collect();
        if !rows.iter().any(|row| report.wants(row.name())) {
            continue;
        }
        for _ in 0..options.rounds {
            let upstream = Upstream::start()?;
            for (contender, proxy) in contenders(&upstream, way)? {
                let measured =
                    load::run(proxy.address(), proxy.pid(), shape, connections, ROUND, Manner::AtOnce).await?;
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
    for held in Held::ALL {
        memory(options, held, report).await?;
    }
    Ok(())
}

/// The reference first. Nobody but a proxy encrypts.
fn contenders(upstream: &Upstream, way: Way) -> anyhow::Result<Vec<(&'static str, Proxy)>> {
    let mut all = vec![
        (NGINX, Proxy::nginx(upstream, way)?),
        (OFFPEAK, Proxy::offpeak(upstream, way, &[])?),
        (UNOBSERVED, Proxy::offpeak(upstream, way, &[("INVENTORY__ENABLED", "false")])?),
    ];
    if way == Way::Plain {
        all.push((DIRECT, Proxy::none(upstream)));
    }
    Ok(all)
}

/// What a proxy has to hold while its memory is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    /// Nothing, and what is mapped from files does not count: the system may take it back, and shares it among replicas.
    NothingOfFiles,
    IdleConnections,
    OpenStreams,
    LongBody,
}

impl Held {
    const ALL: [Self; 5] =
        [Self::Nothing, Self::NothingOfFiles, Self::IdleConnections, Self::OpenStreams, Self::LongBody];

    fn name(self, connections: usize) -> String {
        match self {
            Self::Nothing => "live memory: idle".to_owned(),
            Self::NothingOfFiles => "live memory: idle, without pages of the program's file".to_owned(),
            Self::IdleConnections => format!("live memory: {connections} idle connections, beyond idle"),
            Self::OpenStreams => format!("live memory: {connections} open streams, beyond idle"),
            Self::LongBody => format!("live memory: {} MB passing through, beyond idle", LONG_BODY / 1_000_000),
        }
    }
}

/// What a proxy weighs when idle, and how much more with something to hold.
async fn memory(options: &Options, held: Held, report: &mut Report) -> anyhow::Result<()> {
    let connections = if options.full { OPEN_FULL } else { OPEN };
    let mut row = Comparison::new(held.name(connections), Unit::Megabytes);
    if !report.wants(row.name()) {
        return Ok(());
    }
    let upstream = Upstream::start()?;
    for (contender, proxy) in contenders(&upstream, Way::Plain)?.into_iter().filter(|it| it.0 != DIRECT) {
        let (address, pid) = (proxy.address(), proxy.pid());
        let now = || process::resident_megabytes(pid);
        match held {
            Held::Nothing => {
                row.note(contender, now()?);
                continue;
            }
            Held::NothingOfFiles => {
                row.note(contender, process::anonymous_megabytes(pid)?);
                continue;
            }
            _ => {}
        }
        // One call first: what a proxy sets up once is no matter of connections.
        load::hold(address, Shape::Json, 1, || Ok(())).await?;
        let before = now()?;
        let after = match held {
            Held::LongBody => {
                process::forget_peak(pid)?;
                load::send_long(address, LONG_BODY).await?;
                process::peak_megabytes(pid)?
            }
            Held::IdleConnections => load::hold(address, Shape::Json, connections, now).await?,
            _ => load::hold(address, Shape::Open, connections, now).await?,
        };
        row.note(contender, after - before);
    }
    report.add(row);
    Ok(())
}
