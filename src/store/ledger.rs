//! The ledger, read back: added up by day for reports, and entry by entry to be priced again.

use crate::clock::{Day, Timestamp};
use crate::domain::deferral::ServedBy;
use crate::domain::id::DeferralId;
use crate::domain::ledger::{Bill, Entry, EntryKind, Line, Sums};
use crate::domain::money::NanoUsd;
use crate::domain::price::{Price, Tier};
use crate::domain::record::Way;
use crate::domain::usage::{Billed, Tokens, Usage};
use crate::store::engine::{Dialect, read, write};
use crate::store::{Store, StoreError};

/// Where to go on in the ledger: right behind this entry.
pub type EntryPlace = (Timestamp, DeferralId, EntryKind);

/// What somebody spent on a workload.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Spend {
    /// Who.
    pub tenant: String,
    /// On which workload, if it has a name.
    pub workload: Option<String>,
    /// How much, as far as it has a price.
    #[sqlx(rename = "paid_nanousd")]
    pub paid: NanoUsd,
}

/// A new price for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repriced {
    /// Whose entry.
    pub deferral: DeferralId,
    /// Which of its entries.
    pub kind: EntryKind,
    /// What it costs by the table in force; none where that has no price for it.
    pub price: Option<Price>,
}

impl Store {
    /// What was deferred and answered from one day to before another, added up.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn ledger_lines(&self, from: Day, until: Day) -> Result<Vec<Line>, StoreError> {
        let rows: Vec<LineRow> = read!(self, tx => {
            let lines = tx.text(LINES_SQLITE, LINES_POSTGRES);
            sqlx::query_as(lines).bind(from.start()).bind(until.start()).fetch_all(tx).await?
        });
        Ok(rows.into_iter().map(Line::from).collect())
    }

    /// What was spent from one time to before another, on deferred calls and on live ones; both are times of full hours.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn spend(&self, from: Timestamp, until: Timestamp) -> Result<Vec<Spend>, StoreError> {
        Ok(read!(self, tx => {
            let mut spent: Vec<Spend> =
                sqlx::query_as(SPENT_DEFERRED).bind(from).bind(until).fetch_all(&mut *tx).await?;
            spent.extend(sqlx::query_as::<_, Spend>(SPENT_LIVE).bind(from).bind(until).fetch_all(&mut *tx).await?);
            spent
        }))
    }

    /// Entries written from one time to before another, in their order, behind `after`.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn entries(
        &self,
        from: Timestamp,
        until: Timestamp,
        after: Option<EntryPlace>,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let (at, deferral, kind) = after.unwrap_or((from, DeferralId(uuid::Uuid::nil()), EntryKind::Answer));
        let rows: Vec<EntryRow> = read!(self, tx => {
            sqlx::query_as(
                "select deferral_id, kind, model, served_by, settled_at, input_tokens, output_tokens,
                     cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, web_searches, us_only, fast, passes,
                     paid_nanousd, live_nanousd, uncached_nanousd
                 from entry
                 where settled_at >= $1 and settled_at < $2 and (settled_at, deferral_id, kind) > ($1, $3, $4)
                 order by settled_at, deferral_id, kind limit $5",
            )
            .bind(at.max(from))
            .bind(until)
            .bind(deferral)
            .bind(kind)
            .bind(i64::from(limit))
            .fetch_all(tx)
            .await?
        });
        Ok(rows.into_iter().map(Entry::from).collect())
    }

    /// Gives entries other prices, all of them or none.
    ///
    /// # Errors
    /// If the store is unavailable; then nothing was changed.
    pub async fn reprice(&self, changes: &[Repriced]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        write!(self, tx => {
            for Repriced { deferral, kind, price } in changes {
                sqlx::query(
                    "update entry set paid_nanousd = $3, live_nanousd = $4, uncached_nanousd = $5
                     where deferral_id = $1 and kind = $2",
                )
                .bind(deferral)
                .bind(kind)
                .bind(price.map(|price| price.paid))
                .bind(price.map(|price| price.live))
                .bind(price.map(|price| price.uncached))
                .execute(&mut *tx)
                .await?;
            }
        });
        Ok(())
    }
}

const SPENT_DEFERRED: &str = "
    select tenant, workload, cast(coalesce(sum(paid_nanousd), 0) as bigint) as paid_nanousd
    from entry where settled_at >= $1 and settled_at < $2 group by tenant, workload";

const SPENT_LIVE: &str = "
    select workload.tenant, workload.name as workload, cast(sum(live_charge.paid_nanousd) as bigint) as paid_nanousd
    from live_charge join workload on workload.id = live_charge.workload_id
    where hour >= $1 and hour < $2 group by workload.tenant, workload.name";

/// Lines of the ledger: $1 from when, $2 until before when. What an entry would have cost without caching was not always
/// kept; then it is taken to have had none.
macro_rules! lines {
    ($day:literal) => {
        concat!(
            "select ",
            $day,
            " as day, workload, model, tenant, served_by,
                 cast(sum(case when kind = 'answer' then 1 else 0 end) as bigint) as calls,
                 cast(sum(case when kind = 'late' then 1 else 0 end) as bigint) as late,
                 cast(sum(case when paid_nanousd is null then 1 else 0 end) as bigint) as unpriced,
                 cast(sum(input_tokens) as bigint) as input_tokens,
                 cast(sum(output_tokens) as bigint) as output_tokens,
                 cast(sum(cache_write_5m_tokens) as bigint) as cache_write_5m_tokens,
                 cast(sum(cache_write_1h_tokens) as bigint) as cache_write_1h_tokens,
                 cast(sum(cache_read_tokens) as bigint) as cache_read_tokens,
                 cast(sum(web_searches) as bigint) as web_searches,
                 cast(coalesce(sum(case when kind = 'answer' then paid_nanousd end), 0) as bigint) as paid_nanousd,
                 cast(coalesce(sum(case when kind = 'answer' then live_nanousd end), 0) as bigint) as live_nanousd,
                 cast(coalesce(sum(case when kind = 'answer' then coalesce(uncached_nanousd, live_nanousd) end), 0)
                     as bigint) as uncached_nanousd,
                 cast(coalesce(sum(case when kind = 'late' then paid_nanousd end), 0) as bigint) as late_nanousd
             from entry where settled_at >= $1 and settled_at < $2
             group by 1, workload, model, tenant, served_by
             order by 1, workload, model, tenant, served_by"
        )
    };
}

const LINES_SQLITE: &str = lines!("settled_at / 86400000");
const LINES_POSTGRES: &str = lines!("cast(floor(extract(epoch from settled_at) / 86400) as bigint)");

#[derive(sqlx::FromRow)]
struct LineRow {
    day: i64,
    workload: Option<String>,
    model: String,
    tenant: String,
    served_by: ServedBy,
    calls: i64,
    late: i64,
    unpriced: i64,
    #[sqlx(flatten)]
    tokens: TokensRow,
    web_searches: i64,
    paid_nanousd: NanoUsd,
    live_nanousd: NanoUsd,
    uncached_nanousd: NanoUsd,
    late_nanousd: NanoUsd,
}

impl From<LineRow> for Line {
    fn from(row: LineRow) -> Self {
        let sums = Sums {
            calls: row.calls.unsigned_abs(),
            late: row.late.unsigned_abs(),
            unread: 0,
            unpriced: row.unpriced.unsigned_abs(),
            tokens: row.tokens.into(),
            web_searches: row.web_searches.unsigned_abs(),
            paid: row.paid_nanousd,
            live: row.live_nanousd,
            uncached: row.uncached_nanousd,
            paid_twice: row.late_nanousd,
        };
        let way = match row.served_by {
            ServedBy::Batch => Way::Batch,
            ServedBy::Live => Way::Rescued,
        };
        Self { day: Day(row.day), workload: row.workload, model: row.model, tenant: row.tenant, way, sums }
    }
}

#[derive(sqlx::FromRow)]
struct EntryRow {
    deferral_id: DeferralId,
    kind: EntryKind,
    model: String,
    served_by: ServedBy,
    settled_at: Timestamp,
    #[sqlx(flatten)]
    tokens: TokensRow,
    web_searches: i64,
    us_only: bool,
    fast: bool,
    passes: Option<String>,
    paid_nanousd: Option<NanoUsd>,
    live_nanousd: Option<NanoUsd>,
    uncached_nanousd: Option<NanoUsd>,
}

impl From<EntryRow> for Entry {
    fn from(row: EntryRow) -> Self {
        let rest = Usage {
            passes: Vec::new(),
            web_searches: row.web_searches.unsigned_abs(),
            us_only: row.us_only,
            fast: row.fast,
        };
        let billed = Billed::restore(row.model, &row.tokens.into(), row.passes.as_deref(), rest);
        let price = row.paid_nanousd.zip(row.live_nanousd).map(|(paid, live)| {
            let uncached = row.uncached_nanousd.unwrap_or(live);
            Price { paid, live, uncached }
        });
        let tier = match row.served_by {
            ServedBy::Batch => Tier::Batch,
            ServedBy::Live => Tier::Live,
        };
        Self { deferral: row.deferral_id, kind: row.kind, at: row.settled_at, tier, bill: Bill { billed, price } }
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct TokensRow {
    input_tokens: i64,
    output_tokens: i64,
    cache_write_5m_tokens: i64,
    cache_write_1h_tokens: i64,
    cache_read_tokens: i64,
}

impl From<TokensRow> for Tokens {
    fn from(row: TokensRow) -> Self {
        Self {
            input: row.input_tokens.unsigned_abs(),
            output: row.output_tokens.unsigned_abs(),
            cache_write_5m: row.cache_write_5m_tokens.unsigned_abs(),
            cache_write_1h: row.cache_write_1h_tokens.unsigned_abs(),
            cache_read: row.cache_read_tokens.unsigned_abs(),
        }
    }
}
