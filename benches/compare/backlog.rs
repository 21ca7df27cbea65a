//! With and without a mass of finished rows: it must not matter how much was done before.

use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use offpeak::domain::id::DeferralId;
use offpeak::store::{Filter, PageCursor, Position, Scope};
use uuid::Uuid;

use crate::bare::Bare;
use crate::calls::Texts;
use crate::comparison::{Comparison, OFFPEAK, Report, Unit};
use crate::database::{Database, Kind};
use crate::ours::{BATCH_CALLS, Ours};
use crate::sink::Sink;
use crate::{Bench, fixture};

/// Finished rows in the way: few, many by default, and in full.
const FEW: usize = 10_000;
const MANY: usize = 500_000;
const MANY_FULL: usize = 10_000_000;

/// Finished rows that are made by one statement.
const FILL: usize = 250_000;

/// How much slower anything may be with many: nothing but noise.
const LIMIT: f64 = 1.2;

/// What a page of a list or of the feed holds, as its default is.
const PAGE: u32 = 100;

/// How often a reader reads in one round.
const READS: usize = 50;

/// Calls that are accepted in one round, by how many callers.
const ACCEPTED: usize = 10_000;
const CALLERS: usize = 64;

/// What is done beside the finished rows.
#[derive(Clone, Copy, Debug)]
enum Work {
    Claim,
    Accept,
    Result,
    List,
    Feed,
}

impl Work {
    const ALL: [Self; 5] = [Self::Claim, Self::Accept, Self::Result, Self::List, Self::Feed];

    fn name(self) -> String {
        match self {
            Self::Claim => format!("claim of {BATCH_CALLS} calls"),
            Self::Accept => format!("accept of {ACCEPTED} calls"),
            Self::Result => format!("{READS} results by id"),
            Self::List => format!("{READS} pages of the list"),
            Self::Feed => format!("{READS} pages of the feed"),
        }
    }

    async fn run(self, ours: &Arc<Ours>, texts: &Arc<Texts>, finished: usize) -> anyhow::Result<()> {
        let (store, scope) = (&ours.store, Scope::Tenant("bench".to_owned()));
        // Spread over all that is there, the same in each round.
        let place = |read: usize| (read + 1) * (finished - 2 * PAGE as usize) / READS;
        match self {
            // One look: finds the lane that is due, and claims a batch.
            Self::Claim => ensure!(ours.flush.build_due().await?, "nothing was queued"),
            Self::Accept => ours.accept(texts, ACCEPTED, CALLERS).await?,
            Self::Result => {
                for read in 0..READS {
                    let id = DeferralId(Uuid::from_u128(place(read) as u128));
                    ensure!(store.deferral(id, &scope).await?.is_some(), "a finished deferral is missing");
                }
            }
            Self::List => {
                for read in 0..READS {
                    let cursor =
                        PageCursor::Before(DeferralId(Uuid::from_u128(place(read) as u128 + u128::from(PAGE))));
                    let page = store.page(&scope, &Filter::default(), cursor, PAGE).await?;
                    ensure!(!page.deferrals.is_empty(), "an empty page");
                }
            }
            Self::Feed => {
                for read in 0..READS {
                    let after = Position(place(read) as i64);
                    let last = Position(after.0 + i64::from(PAGE));
                    ensure!(!store.feed_page(&scope, after, last).await?.lines.is_empty(), "an empty page");
                }
            }
        }
        Ok(())
    }
}

pub(crate) async fn measure(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let many = if bench.options.full { MANY_FULL } else { MANY };
    let row = |work: Work| {
        let name = bench.name(&format!("{} beside {many} finished", work.name()));
        (work, Comparison::new(name, Unit::Seconds).at_most(LIMIT))
    };
    let mut rows: Vec<_> = Work::ALL.map(row).into_iter().filter(|(_, row)| report.wants(row.name())).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let texts = Arc::new(Texts::new()?);
    let sink = Sink::start(Arc::clone(&texts)).await?;
    let less = fixture::queued(bench, &texts, &sink).await?;
    let more = bench.databases.copy(&less).await?;
    finish(bench, &less, FEW).await?;
    finish(bench, &more, many).await?;
    let with_few = Arc::new(Ours::open(&less.url(), sink.url()).await?);
    let with_many = Arc::new(Ours::open(&more.url(), sink.url()).await?);
    // Each look claims the next batch, as long as calls are queued.
    for _ in 0..bench.options.rounds.max(5).min(bench.options.calls / BATCH_CALLS) {
        for (work, row) in &mut rows {
            for (contender, ours, finished) in [("few are finished", &with_few, FEW), (OFFPEAK, &with_many, many)] {
                let begin = Instant::now();
                work.run(ours, &texts, finished).await?;
                row.note(contender, begin.elapsed().as_secs_f64());
            }
        }
    }
    for (ours, database) in [(with_few, less), (with_many, more)] {
        ours.store.close().await;
        drop(ours);
        bench.databases.drop(database).await?;
    }
    rows.into_iter().for_each(|(_, row)| report.add(row));
    Ok(())
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
        bare.run(format!(
            "insert into feed (position, deferral_id, tenant, settled_at)
             select {first} + row_number() over (order by id), id, tenant, completed_at from deferral
             where id > {} and id <= {}",
            id_literal(bench.kind, first),
            id_literal(bench.kind, first + numbers)
        ))
        .await?;
    }
    bare.run(format!("update counter set value = {rows} where name in ('feed', 'announced')")).await?;
    bare.close().await?;
    fixture::tidy(bench, database).await
}

/// The id with this number, in SQL.
fn id_literal(kind: Kind, number: usize) -> String {
    match kind {
        Kind::Postgres => format!("'{number:032x}'::uuid"),
        Kind::Sqlite => format!("x'{number:032x}'"),
    }
}
