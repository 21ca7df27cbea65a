//! Finishing: members of a batch become final, with their outcomes and entries, many in one statement.

use std::collections::HashSet;

use sqlx::{PgConnection, QueryBuilder, SqliteConnection};

use crate::clock::Timestamp;
use crate::domain::deferral::{ServedBy, State};
use crate::domain::id::{BatchId, DeferralId};
use crate::domain::ledger::Bill;
use crate::domain::money::NanoUsd;
use crate::domain::usage::Tokens;
use crate::store::outcomes::count;
use crate::store::packing::Packed;

/// Rows in one statement on SQLite: each statement is a walk to the connection's thread and back.
const SQLITE_ROWS: usize = 100;

/// A member with its last word, packed.
pub(super) struct Final<'a> {
    pub(super) id: DeferralId,
    pub(super) state: State,
    pub(super) status: u16,
    pub(super) packed: Packed,
    pub(super) bill: Option<&'a Bill>,
}

impl Final<'_> {
    fn served_by(&self) -> Option<ServedBy> {
        matches!(self.state, State::Succeeded | State::Failed).then_some(ServedBy::Batch)
    }
}

/// What was billed for one of them.
struct Billing<'a> {
    id: DeferralId,
    bill: &'a Bill,
    tokens: Tokens,
}

impl<'a> Billing<'a> {
    fn of(member: &Final<'a>) -> Option<Self> {
        member.bill.map(|bill| Self { id: member.id, bill, tokens: bill.billed.tokens() })
    }

    fn paid(&self) -> Option<NanoUsd> {
        self.bill.price.map(|price| price.paid)
    }

    fn live(&self) -> Option<NanoUsd> {
        self.bill.price.map(|price| price.live)
    }

    fn uncached(&self) -> Option<NanoUsd> {
        self.bill.price.map(|price| price.uncached)
    }
}

/// Makes members final; says which were not before.
pub(super) trait Finish {
    async fn finish(
        &mut self,
        batch: BatchId,
        finals: &[Final<'_>],
        now: Timestamp,
    ) -> Result<Vec<DeferralId>, sqlx::Error>;
}

impl Finish for SqliteConnection {
    async fn finish(
        &mut self,
        batch: BatchId,
        finals: &[Final<'_>],
        now: Timestamp,
    ) -> Result<Vec<DeferralId>, sqlx::Error> {
        let mut changed = Vec::with_capacity(finals.len());
        for some in finals.chunks(SQLITE_ROWS) {
            let mut update =
                QueryBuilder::new("update deferral set state = column2, served_by = column3, lane_id = null");
            update.push(", completed_at = ").push_bind(now).push(" from (");
            update.push_values(some, |mut row, each| {
                row.push_bind(each.id).push_bind(each.state).push_bind(each.served_by());
            });
            // The ids once more: joined to the list alone, SQLite would rather read all deferrals there are.
            update.push(") where id = column1 and id in (");
            let mut ids = update.separated(", ");
            some.iter().for_each(|each| {
                ids.push_bind(each.id);
            });
            update.push(") and batch_id = ").push_bind(batch);
            update.push(" and (state = 'batched' or (state = 'rescuing' and column2 = 'succeeded')) returning id");
            let fresh: Vec<DeferralId> = update.build_query_scalar().fetch_all(&mut *self).await?;
            let is_fresh: HashSet<DeferralId> = fresh.iter().copied().collect();
            let came: Vec<&Final<'_>> = some.iter().filter(|each| is_fresh.contains(&each.id)).collect();
            insert_outcomes(self, &came, now).await?;
            insert_entries(self, &came, now).await?;
            changed.extend(fresh);
        }
        Ok(changed)
    }
}

impl Finish for PgConnection {
    async fn finish(
        &mut self,
        batch: BatchId,
        finals: &[Final<'_>],
        now: Timestamp,
    ) -> Result<Vec<DeferralId>, sqlx::Error> {
        fn column<'a, T>(finals: &'a [Final<'a>], value: impl Fn(&'a Final<'a>) -> T) -> Vec<T> {
            finals.iter().map(value).collect()
        }
        fn of<'a, T>(billed: &'a [Billing<'a>], value: impl Fn(&'a Billing<'a>) -> T) -> Vec<T> {
            billed.iter().map(value).collect()
        }
        let billed: Vec<Billing<'_>> = finals.iter().filter_map(Billing::of).collect();
        // One statement, so that what the update has found needs not be looked up again.
        sqlx::query_scalar(
            "with done as (
                 update deferral set state = came.state, completed_at = $5, served_by = came.served_by, lane_id = null
                 from unnest($2::uuid[], $3::text[], $4::text[]) as came (id, state, served_by)
                 where deferral.id = came.id and deferral.batch_id = $1
                   and (deferral.state = 'batched' or (deferral.state = 'rescuing' and came.state = 'succeeded'))
                 returning deferral.id, tenant, workload, cache_place is not null as marked),
             kept as (
                 insert into outcome (deferral_id, status, codec, body, received_at)
                 select done.id, status, codec, body, $5
                 from unnest($2::uuid[], $6::integer[], $7::smallint[], $8::bytea[]) as came (id, status, codec, body)
                 join done on done.id = came.id
                 on conflict (deferral_id) do nothing),
             noted as (
                 insert into entry (deferral_id, kind, tenant, workload, model, served_by, settled_at, input_tokens,
                     output_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, web_searches, us_only,
                     fast, passes, paid_nanousd, live_nanousd, uncached_nanousd, marked)
                 select done.id, 'answer', tenant, workload, model, 'batch', $5, input, output, write_5m, write_1h,
                     reads, searches, us_only, fast, passes, paid, live, uncached, marked
                 from unnest($9::uuid[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[],
                     $15::bigint[], $16::bigint[], $17::boolean[], $18::boolean[], $19::text[], $20::bigint[],
                     $21::bigint[], $22::bigint[])
                     as bill (id, model, input, output, write_5m, write_1h, reads, searches, us_only, fast, passes, paid,
                         live, uncached)
                 join done on done.id = bill.id
                 on conflict (deferral_id, kind) do nothing)
             select id from done",
        )
        .bind(batch)
        .bind(column(finals, |each| each.id))
        .bind(column(finals, |each| each.state.as_str()))
        .bind(column(finals, |each| each.served_by().map(|_| "batch")))
        .bind(now)
        .bind(column(finals, |each| i32::from(each.status)))
        .bind(column(finals, |each| each.packed.codec))
        .bind(column(finals, |each| each.packed.body.as_slice()))
        .bind(of(&billed, |each| each.id))
        .bind(of(&billed, |each| each.bill.billed.model.as_str()))
        .bind(of(&billed, |each| count(each.tokens.input)))
        .bind(of(&billed, |each| count(each.tokens.output)))
        .bind(of(&billed, |each| count(each.tokens.cache_write_5m)))
        .bind(of(&billed, |each| count(each.tokens.cache_write_1h)))
        .bind(of(&billed, |each| count(each.tokens.cache_read)))
        .bind(of(&billed, |each| count(each.bill.billed.usage.web_searches)))
        .bind(of(&billed, |each| each.bill.billed.usage.us_only))
        .bind(of(&billed, |each| each.bill.billed.usage.fast))
        .bind(of(&billed, |each| each.bill.billed.passes_apart()))
        .bind(of(&billed, |each| each.paid().map(|amount| amount.0)))
        .bind(of(&billed, |each| each.live().map(|amount| amount.0)))
        .bind(of(&billed, |each| each.uncached().map(|amount| amount.0)))
        .fetch_all(self)
        .await
    }
}

/// The outcomes of members that are final now, on SQLite.
async fn insert_outcomes(
    connection: &mut SqliteConnection,
    finals: &[&Final<'_>],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    if finals.is_empty() {
        return Ok(());
    }
    let mut insert = QueryBuilder::new("insert into outcome (deferral_id, status, codec, body, received_at) ");
    insert.push_values(finals, |mut row, each| {
        row.push_bind(each.id).push_bind(i32::from(each.status));
        row.push_bind(each.packed.codec).push_bind(each.packed.body.as_slice()).push_bind(now);
    });
    insert.push(" on conflict (deferral_id) do nothing").build().execute(connection).await.map(drop)
}

/// Their lines of the ledger.
async fn insert_entries(
    connection: &mut SqliteConnection,
    finals: &[&Final<'_>],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let billed: Vec<Billing<'_>> = finals.iter().filter_map(|each| Billing::of(each)).collect();
    if billed.is_empty() {
        return Ok(());
    }
    let mut insert = QueryBuilder::new(
        "insert into entry (deferral_id, kind, tenant, workload, model, served_by, settled_at, input_tokens,
             output_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, web_searches, us_only, fast,
             passes, paid_nanousd, live_nanousd, uncached_nanousd, marked)
         select id, 'answer', tenant, workload, column2, 'batch', ",
    );
    insert.push_bind(now);
    insert.push(", column3, column4, column5, column6, column7, column8, column9, column10, column11, column12,");
    insert.push(" column13, column14, cache_place is not null from (");
    insert.push_values(&billed, |mut row, each| {
        let (tokens, usage) = (&each.tokens, &each.bill.billed.usage);
        row.push_bind(each.id).push_bind(&each.bill.billed.model);
        row.push_bind(count(tokens.input)).push_bind(count(tokens.output));
        row.push_bind(count(tokens.cache_write_5m)).push_bind(count(tokens.cache_write_1h));
        row.push_bind(count(tokens.cache_read)).push_bind(count(usage.web_searches));
        row.push_bind(usage.us_only).push_bind(usage.fast).push_bind(each.bill.billed.passes_apart());
        row.push_bind(each.paid()).push_bind(each.live()).push_bind(each.uncached());
    });
    // Without a condition of its own the select would take the next `on` for one.
    insert.push(") join deferral on id = column1 where true on conflict (deferral_id, kind) do nothing");
    insert.build().execute(connection).await.map(drop)
}
