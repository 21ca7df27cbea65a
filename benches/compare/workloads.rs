//! A page of workloads over a month of recorded calls, as an operator asks for it, beside the same sums from the calls
//! themselves.

use std::time::{Duration, Instant};

use offpeak::clock::{Clock, Timestamp};
use offpeak::domain::workload::WorkloadId;
use offpeak::store::{Store, WorkloadFilter};

use crate::bare::Bare;
use crate::comparison::{Comparison, OFFPEAK, Report, Unit};
use crate::database::{Database, Kind};
use crate::ours::Ours;
use crate::{Bench, fixture};

/// Recorded calls, by default and in full.
const CALLS: usize = 500_000;
const CALLS_FULL: usize = 10_000_000;

/// Calls that are made by one statement.
const FILL: usize = 250_000;

const WORKLOADS: u32 = 200;
const HOURS: usize = 720;

/// The largest page there is.
const PAGE: u32 = 1_000;

const DAY: Duration = Duration::from_hours(24);

pub(crate) async fn measure(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let calls = if bench.options.full { CALLS_FULL } else { CALLS };
    let mut row = Comparison::new(bench.name(&format!("workload page over {calls} calls")), Unit::Seconds);
    if !report.wants(row.name()) {
        return Ok(());
    }
    let now = Clock::system().now().hour();
    let database = bench.databases.empty(bench.kind).await?;
    // It asks nobody.
    let ours = Ours::open(&database.url(), "http://127.0.0.1:1").await?;
    fill(bench, &database, calls, now).await?;
    let mut bare = Bare::open(&database).await?;
    for _ in 0..bench.options.rounds.max(5) {
        row.note("from the calls themselves", from_calls(bench, &mut bare, now).await?);
        row.note(OFFPEAK, page(&ours.store, now).await?);
    }
    bare.close().await?;
    ours.store.close().await;
    bench.databases.drop(database).await?;
    report.add(row);
    Ok(())
}

/// What `/api/workloads?since=7d` asks the store.
async fn page(store: &Store, now: Timestamp) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let since = now.minus(7 * DAY);
    let found = store.workloads(&WorkloadFilter { since, ..WorkloadFilter::default() }, PAGE).await?;
    let ids: Vec<WorkloadId> = found.iter().map(|workload| workload.id).collect();
    let sums = store.workload_sums(&ids, since).await?;
    anyhow::ensure!(sums.len() == WORKLOADS as usize, "{} of the sums are there", sums.len());
    Ok(begin.elapsed().as_secs_f64())
}

async fn from_calls(bench: &Bench<'_>, bare: &mut Bare, now: Timestamp) -> anyhow::Result<f64> {
    let since = at(bench.kind, now.minus(7 * DAY));
    let begin = Instant::now();
    bare.run(format!(
        "create temporary table page as
         select workload_id, model, way, count(*) as calls, sum(input_tokens) as input, sum(output_tokens) as output,
             sum(paid_nanousd) as paid
         from call_record where at >= {since} group by workload_id, model, way;
         drop table page"
    ))
    .await?;
    Ok(begin.elapsed().as_secs_f64())
}

/// An instant as SQL has it.
fn at(kind: Kind, at: Timestamp) -> String {
    match kind {
        Kind::Postgres => format!("'{at}'::timestamptz"),
        Kind::Sqlite => at.as_millis().to_string(),
    }
}

/// Fills a month with calls, evenly, and with their sums.
async fn fill(bench: &Bench<'_>, database: &Database, calls: usize, now: Timestamp) -> anyhow::Result<()> {
    let mut bare = Bare::open(database).await?;
    let begin = now.minus(30 * DAY);
    let step_millis = 30 * DAY.as_millis() as usize / calls;
    let numbers = |count: usize| match bench.kind {
        Kind::Postgres => format!("generate_series(0, {}) as numbers (n)", count - 1),
        Kind::Sqlite => format!(
            "(with recursive numbers (n) as (select 0 union all select n + 1 from numbers where n < {}) select n from numbers)",
            count - 1
        ),
    };
    // Milliseconds after the beginning, as an instant.
    let after = |millis: &str| match bench.kind {
        Kind::Postgres => format!("'{begin}'::timestamptz + ({millis}) * interval '1 millisecond'"),
        Kind::Sqlite => format!("{} + ({millis})", begin.as_millis()),
    };
    if bench.kind == Kind::Postgres {
        for day in 0..31 {
            let (from, to) = (begin.plus(day * DAY).to_string(), begin.plus((day + 1) * DAY).to_string());
            let (from, to) = (&from[..10], &to[..10]);
            let name = from.replace('-', "");
            bare.run(format!(
                "create table call_record_{name} partition of call_record for values from ('{from}Z') to ('{to}Z')"
            ))
            .await?;
        }
    }
    let no = if bench.kind == Kind::Postgres { "false" } else { "0" };
    let seen = at(bench.kind, now);
    bare.run(format!(
        "insert into workload (id, tenant, name, kind, family, client, first_seen_at, last_seen_at, changed_at)
         select n, 'bench', 'workload-' || n, 'named', '', '', {seen}, {seen}, {seen} from {}",
        numbers(WORKLOADS as usize)
    ))
    .await?;
    for first in (0..calls).step_by(FILL) {
        let when = after(&format!("({first} + n) * cast({step_millis} as bigint)"));
        bare.run(format!(
            "insert into call_record (at, id, workload_id, way, model, client, status, retries, stream, hung_up, tool_turn,
                 tool_stop, messages, tools, max_tokens, input_tokens, output_tokens, cache_write_5m_tokens,
                 cache_write_1h_tokens, cache_read_tokens, paid_nanousd, live_nanousd, request_bytes, answer_bytes,
                 prefix_bytes, duration_ms, first_byte_ms, reader_wait_ms, system_hash, tools_hash, opening_hash)
             select {when}, {first} + n, n % {WORKLOADS}, 'live', 'claude-haiku-4-5', 'Anthropic/Python 0.39.0', 200, 0, {no},
                 {no}, {no}, {no}, 1, 0, 1024, 1500, 300, 0, 0, 0, 3000000, 3000000, 6000, 1500, 900, 2100, 400, 0, 17, 0, n
             from {}",
            numbers(FILL.min(calls - first))
        ))
        .await?;
    }
    let (hour, each) = (after("n % 720 * cast(3600000 as bigint)"), calls / HOURS / WORKLOADS as usize);
    bare.run(format!(
        "insert into call_hour (workload_id, hour, model, way, blocked_by, tenant, calls, unread, unpriced, succeeded,
             limited, refused, broken, unanswered, streamed, hung_up, retried, tool_turns, tool_stops, slowly_read,
             input_tokens, output_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens,
             paid_nanousd, live_nanousd, request_bytes, answer_bytes, prefix_bytes, duration_ms, first_byte_ms,
             reader_wait_ms)
         select n / {HOURS}, {hour}, 'claude-haiku-4-5', 'live', '', 'bench', {each}, 0, 0, {each}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
             1500 * {each}, 300 * {each}, 0, 0, 0, {each}, {each}, 6000 * {each}, 1500 * {each}, 0, 9, 9, 0 from {}",
        numbers(HOURS * WORKLOADS as usize)
    ))
    .await?;
    bare.close().await?;
    fixture::tidy(bench, database).await
}
