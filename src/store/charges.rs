//! Charges: the ledger of live calls, in sums by the hour.

use crate::clock::{Day, Timestamp};
use crate::domain::charge::{ChargeKey, ChargeSum, Terms};
use crate::domain::ledger::{Line, Sums};
use crate::domain::money::NanoUsd;
use crate::domain::record::Way;
use crate::domain::workload::WorkloadId;
use crate::store::engine::{Dialect, read, write};
use crate::store::ledger::TokensRow;
use crate::store::{Store, StoreError};

/// A sum of live charges as it was read, and what it costs and would cost without caching by the table in force; none where
/// that has no price for it.
pub type RepricedCharge = (ChargeKey, ChargeSum, Option<(NanoUsd, NanoUsd)>);

/// Sums in one statement; a row of them is some twenty parameters.
pub(super) const CHARGES_AT_ONCE: usize = 500;

/// Adds charges to those of their hours, always in the same order: replicas write the same rows.
macro_rules! add_charges {
    ($tx:ident, $charges:expr) => {
        let all: Vec<_> = $charges.iter().collect();
        for some in all.chunks($crate::store::charges::CHARGES_AT_ONCE) {
            let mut insert = QueryBuilder::new($crate::store::charges::ADD_CHARGES);
            insert.push_values(some, |mut row, (key, sum)| {
                let (terms, tokens) = (&key.terms, &sum.tokens);
                row.push_bind(key.hour).push_bind(key.workload);
                row.push_bind(terms.model.as_str()).push_bind(terms.pass_model.as_str());
                row.push_bind(terms.us_only).push_bind(terms.fast).push_bind(whole(terms.prompt_above));
                for count in [sum.calls, sum.unread, sum.unpriced, tokens.input, tokens.output] {
                    row.push_bind(count.cast_signed());
                }
                for count in [tokens.cache_write_5m, tokens.cache_write_1h, tokens.cache_read, sum.web_searches] {
                    row.push_bind(count.cast_signed());
                }
                row.push_bind(sum.paid).push_bind(sum.uncached);
            });
            insert.push($crate::store::charges::ON_SAME_CHARGE).build().execute(&mut *$tx).await?;
        }
    };
}
pub(super) use add_charges;

pub(super) const ADD_CHARGES: &str = "
    insert into live_charge (hour, workload_id, model, pass_model, us_only, fast, prompt_above, calls, unread, unpriced,
        input_tokens, output_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, web_searches,
        paid_nanousd, uncached_nanousd) ";

pub(super) const ON_SAME_CHARGE: &str = "
    on conflict (hour, workload_id, model, pass_model, us_only, fast, prompt_above) do update set
        calls = live_charge.calls + excluded.calls, unread = live_charge.unread + excluded.unread,
        unpriced = live_charge.unpriced + excluded.unpriced,
        input_tokens = live_charge.input_tokens + excluded.input_tokens,
        output_tokens = live_charge.output_tokens + excluded.output_tokens,
        cache_write_5m_tokens = live_charge.cache_write_5m_tokens + excluded.cache_write_5m_tokens,
        cache_write_1h_tokens = live_charge.cache_write_1h_tokens + excluded.cache_write_1h_tokens,
        cache_read_tokens = live_charge.cache_read_tokens + excluded.cache_read_tokens,
        web_searches = live_charge.web_searches + excluded.web_searches,
        paid_nanousd = live_charge.paid_nanousd + excluded.paid_nanousd,
        uncached_nanousd = live_charge.uncached_nanousd + excluded.uncached_nanousd";

impl Store {
    /// What was answered live from one day to before another, added up.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn charge_lines(&self, from: Day, until: Day) -> Result<Vec<Line>, StoreError> {
        let rows: Vec<LineRow> = read!(self, tx => {
            let lines = tx.text(LINES_SQLITE, LINES_POSTGRES);
            sqlx::query_as(lines).bind(from.start()).bind(until.start()).fetch_all(tx).await?
        });
        Ok(rows.into_iter().map(Line::from).collect())
    }

    /// The sums of live charges of some time, in their order, behind `after`.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn charges(
        &self,
        from: Timestamp,
        until: Timestamp,
        after: Option<&ChargeKey>,
        limit: u32,
    ) -> Result<Vec<(ChargeKey, ChargeSum)>, StoreError> {
        let first = ChargeKey { hour: from, workload: WorkloadId(i64::MIN), terms: Terms::default() };
        let after = after.unwrap_or(&first);
        let rows: Vec<ChargeRow> = read!(self, tx => {
            sqlx::query_as(
                "select hour, workload_id, model, pass_model, us_only, fast, prompt_above, calls, unread, unpriced,
                     input_tokens, output_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens,
                     web_searches, paid_nanousd, uncached_nanousd
                 from live_charge
                 where hour >= $1 and hour < $2
                   and (hour, workload_id, model, pass_model, us_only, fast, prompt_above) > ($1, $3, $4, $5, $6, $7, $8)
                 order by hour, workload_id, model, pass_model, us_only, fast, prompt_above limit $9",
            )
            .bind(after.hour.max(from))
            .bind(until)
            .bind(after.workload)
            .bind(&after.terms.model)
            .bind(&after.terms.pass_model)
            .bind(after.terms.us_only)
            .bind(after.terms.fast)
            .bind(after.terms.prompt_above.cast_signed())
            .bind(i64::from(limit))
            .fetch_all(tx)
            .await?
        });
        Ok(rows.into_iter().map(ChargeRow::parts).collect())
    }

    /// Gives sums of live charges other prices, unless calls were added to them meanwhile; says how many have it.
    ///
    /// # Errors
    /// If the store is unavailable; then nothing was changed.
    pub async fn reprice_charges(&self, changes: &[RepricedCharge]) -> Result<u64, StoreError> {
        if changes.is_empty() {
            return Ok(0);
        }
        Ok(write!(self, tx => {
            let mut changed = 0;
            for (key, sum, price) in changes {
                // Of passes apart it is not counted how many there are.
                let unpriced = match price {
                    Some(_) => 0,
                    None if sum.calls > 0 => sum.calls.saturating_sub(sum.unread),
                    None => sum.unpriced.max(1),
                };
                let (paid, uncached) = price.unwrap_or_default();
                changed += sqlx::query(
                    "update live_charge set paid_nanousd = $8, uncached_nanousd = $9, unpriced = $10
                     where hour = $1 and workload_id = $2 and model = $3 and pass_model = $4 and us_only = $5 and fast = $6
                       and prompt_above = $7 and calls = $11 and paid_nanousd = $12 and unpriced = $13",
                )
                .bind(key.hour)
                .bind(key.workload)
                .bind(&key.terms.model)
                .bind(&key.terms.pass_model)
                .bind(key.terms.us_only)
                .bind(key.terms.fast)
                .bind(key.terms.prompt_above.cast_signed())
                .bind(paid)
                .bind(uncached)
                .bind(unpriced.cast_signed())
                .bind(sum.calls.cast_signed())
                .bind(sum.paid)
                .bind(sum.unpriced.cast_signed())
                .execute(&mut *tx)
                .await?
                .rows_affected();
            }
            changed
        }))
    }
}

/// Lines of the ledger of live calls: $1 from when, $2 until before when.
macro_rules! lines {
    ($day:literal) => {
        concat!(
            "select ",
            $day,
            " as day, workload.name as workload, live_charge.model, workload.tenant,
                 cast(sum(calls) as bigint) as calls, cast(sum(unread) as bigint) as unread,
                 cast(sum(unpriced) as bigint) as unpriced,
                 cast(sum(input_tokens) as bigint) as input_tokens,
                 cast(sum(output_tokens) as bigint) as output_tokens,
                 cast(sum(cache_write_5m_tokens) as bigint) as cache_write_5m_tokens,
                 cast(sum(cache_write_1h_tokens) as bigint) as cache_write_1h_tokens,
                 cast(sum(cache_read_tokens) as bigint) as cache_read_tokens,
                 cast(sum(web_searches) as bigint) as web_searches,
                 cast(sum(paid_nanousd) as bigint) as paid_nanousd,
                 cast(sum(uncached_nanousd) as bigint) as uncached_nanousd
             from live_charge join workload on workload.id = live_charge.workload_id
             where hour >= $1 and hour < $2
             group by 1, workload.name, live_charge.model, workload.tenant
             order by 1, workload.name, live_charge.model, workload.tenant"
        )
    };
}

const LINES_SQLITE: &str = lines!("hour / 86400000");
const LINES_POSTGRES: &str = lines!("cast(floor(extract(epoch from hour) / 86400) as bigint)");

#[derive(sqlx::FromRow)]
struct SumRow {
    calls: i64,
    unread: i64,
    unpriced: i64,
    #[sqlx(flatten)]
    tokens: TokensRow,
    web_searches: i64,
    paid_nanousd: NanoUsd,
    uncached_nanousd: NanoUsd,
}

impl From<SumRow> for ChargeSum {
    fn from(row: SumRow) -> Self {
        Self {
            calls: row.calls.unsigned_abs(),
            unread: row.unread.unsigned_abs(),
            unpriced: row.unpriced.unsigned_abs(),
            tokens: row.tokens.into(),
            web_searches: row.web_searches.unsigned_abs(),
            paid: row.paid_nanousd,
            uncached: row.uncached_nanousd,
        }
    }
}

#[derive(sqlx::FromRow)]
struct LineRow {
    day: i64,
    workload: String,
    model: String,
    tenant: String,
    #[sqlx(flatten)]
    sum: SumRow,
}

impl From<LineRow> for Line {
    fn from(row: LineRow) -> Self {
        let sum = ChargeSum::from(row.sum);
        let sums = Sums {
            calls: sum.calls,
            late: 0,
            unread: sum.unread,
            unpriced: sum.unpriced,
            tokens: sum.tokens,
            web_searches: sum.web_searches,
            paid: sum.paid,
            live: sum.paid,
            uncached: sum.uncached,
            paid_twice: NanoUsd::ZERO,
        };
        let workload = Some(row.workload);
        Self { day: Day(row.day), workload, model: row.model, tenant: row.tenant, way: Way::Live, sums }
    }
}

#[derive(sqlx::FromRow)]
struct ChargeRow {
    hour: Timestamp,
    workload_id: WorkloadId,
    model: String,
    pass_model: String,
    us_only: bool,
    fast: bool,
    prompt_above: i64,
    #[sqlx(flatten)]
    sum: SumRow,
}

impl ChargeRow {
    fn parts(self) -> (ChargeKey, ChargeSum) {
        let terms = Terms {
            model: self.model,
            pass_model: self.pass_model,
            us_only: self.us_only,
            fast: self.fast,
            prompt_above: self.prompt_above.unsigned_abs(),
        };
        (ChargeKey { hour: self.hour, workload: self.workload_id, terms }, self.sum.into())
    }
}
