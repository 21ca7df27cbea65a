//! Records of calls: written in bundles, each with the sums of its hours, once.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{PgConnection, QueryBuilder, SqliteConnection};

use crate::clock::{Day, Timestamp};
use crate::domain::charge::{ChargeKey, ChargeSum};
use crate::domain::tally::{Recorded, Tally, TallyKey, whole};
use crate::domain::workload::WorkloadId;
use crate::store::charges::add_charges;
use crate::store::engine::write;
use crate::store::partitions::RECORDS;
use crate::store::{Store, StoreError};

/// Rows in one statement on SQLite, below the 32,766 parameters that it allows: each statement is a walk to the
/// connection's thread and back.
const SQLITE_ROWS: usize = 200;

/// Sums in one statement; on either engine a row of them is some thirty parameters.
const HOURS_AT_ONCE: usize = 500;

/// Calls that are written down together.
#[derive(Clone, Copy, Debug)]
pub struct Bundle<'a> {
    /// Those that are kept one by one; never none.
    pub calls: &'a [Recorded],
    /// What these and all others add up to.
    pub hours: &'a BTreeMap<TallyKey, Tally>,
    /// What live ones of these and all others cost.
    pub charges: &'a BTreeMap<ChargeKey, ChargeSum>,
    /// When the last call of each workload came.
    pub seen: &'a BTreeMap<WorkloadId, Timestamp>,
    /// Now.
    pub now: Timestamp,
}

impl Bundle<'_> {
    /// The days on which its calls came.
    pub(super) fn days(&self) -> BTreeSet<Day> {
        self.calls.iter().map(|call| Day::of(call.record.at)).collect()
    }
}

/// The columns of a record, in the order in which they are written and read.
macro_rules! record_columns {
    () => {
        "at, id, workload_id, way, rule, blocked_by, model, client, status, retries, stream, hung_up, tool_turn, tool_stop,
         messages, tools, max_tokens, input_tokens, output_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
         cache_read_tokens, paid_nanousd, live_nanousd, fees_nanousd, request_bytes, answer_bytes, prefix_bytes,
         duration_ms, first_byte_ms, reader_wait_ms, system_hash, tools_hash, opening_hash"
    };
}
pub(super) use record_columns;

/// Adds sums to those of their hours, always in the same order: replicas write the same rows.
macro_rules! add_hours {
    ($tx:ident, $hours:expr) => {
        let all: Vec<_> = $hours.iter().collect();
        for some in all.chunks(HOURS_AT_ONCE) {
            let mut insert = QueryBuilder::new(ADD_HOURS);
            insert.push_values(some, |mut row, (key, sum)| {
                row.push_bind(key.workload).push_bind(key.hour).push_bind(key.model.as_str()).push_bind(key.way);
                row.push_bind(key.blocked_by.as_str()).push_bind(sum.tenant.as_str());
                for figure in figures(sum) {
                    row.push_bind(figure);
                }
            });
            insert.push(ON_SAME_HOUR).build().execute(&mut *$tx).await?;
        }
    };
}

/// Moves on when workloads were last seen.
macro_rules! mark_seen {
    ($tx:ident, $bundle:expr) => {
        let seen: Vec<_> = $bundle.seen.iter().collect();
        for some in seen.chunks(HOURS_AT_ONCE) {
            let mut update = QueryBuilder::new("update workload set changed_at = ");
            update.push_bind($bundle.now);
            update.push(", last_seen_at = case when last_seen_at < column2 then column2 else last_seen_at end from (");
            update.push_values(some, |mut row, (id, at)| {
                row.push_bind(**id).push_bind(**at);
            });
            update.push(") as seen where id = column1");
            update.build().execute(&mut *$tx).await?;
        }
    };
}

impl Store {
    /// Writes a bundle, once: one that is there already, because its commit was not heard of, changes nothing.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn record(&self, bundle: Bundle<'_>) -> Result<(), StoreError> {
        let Some(last) = bundle.calls.last() else { return Ok(()) };
        self.in_room(RECORDS, bundle.days(), || self.record_once(bundle, last)).await
    }

    async fn record_once(&self, bundle: Bundle<'_>, last: &Recorded) -> Result<(), StoreError> {
        write!(self, tx => {
            let is_there: Option<i32> = sqlx::query_scalar("select 1 from call_record where at = $1 and id = $2")
                .bind(last.record.at)
                .bind(last.id)
                .fetch_optional(&mut *tx)
                .await?;
            if is_there.is_none() {
                tx.write_bundle(bundle).await?;
            }
        });
        Ok(())
    }
}

/// Writes a bundle in a transaction that is open; records that are there already stay as they are.
pub(super) trait WriteBundle {
    async fn write_bundle(&mut self, bundle: Bundle<'_>) -> Result<(), sqlx::Error>;
}

impl WriteBundle for SqliteConnection {
    async fn write_bundle(&mut self, bundle: Bundle<'_>) -> Result<(), sqlx::Error> {
        insert_records_sqlite(self, bundle.calls).await?;
        add_hours!(self, bundle.hours);
        add_charges!(self, bundle.charges);
        mark_seen!(self, bundle);
        Ok(())
    }
}

impl WriteBundle for PgConnection {
    async fn write_bundle(&mut self, bundle: Bundle<'_>) -> Result<(), sqlx::Error> {
        insert_records_postgres(self, bundle.calls).await?;
        add_hours!(self, bundle.hours);
        add_charges!(self, bundle.charges);
        mark_seen!(self, bundle);
        Ok(())
    }
}

async fn insert_records_sqlite(connection: &mut SqliteConnection, calls: &[Recorded]) -> Result<(), sqlx::Error> {
    for some in calls.chunks(SQLITE_ROWS) {
        let mut insert = QueryBuilder::new(concat!("insert into call_record (", record_columns!(), ") "));
        insert.push_values(some, |mut row, call| {
            let record = &call.record;
            row.push_bind(record.at);
            row.push_bind(call.id);
            row.push_bind(call.workload.0);
            row.push_bind(record.way.as_str());
            row.push_bind(record.rule.as_deref());
            row.push_bind(record.blocked_by.as_deref());
            row.push_bind(record.model.as_str());
            row.push_bind(record.client.as_str());
            row.push_bind(i32::from(record.status));
            row.push_bind(small(record.retries));
            row.push_bind(record.stream);
            row.push_bind(record.hung_up);
            row.push_bind(record.tool_turn);
            row.push_bind(record.tool_stop);
            row.push_bind(small(record.messages));
            row.push_bind(small(record.tools));
            row.push_bind(whole(record.max_tokens));
            row.push_bind(whole(record.tokens.input));
            row.push_bind(whole(record.tokens.output));
            row.push_bind(whole(record.tokens.cache_write_5m));
            row.push_bind(whole(record.tokens.cache_write_1h));
            row.push_bind(whole(record.tokens.cache_read));
            row.push_bind(record.cost.map(|cost| cost.0.0));
            row.push_bind(record.cost.map(|cost| cost.1.0));
            row.push_bind(record.fees);
            row.push_bind(whole(record.request_bytes));
            row.push_bind(whole(record.answer_bytes));
            row.push_bind(whole(record.prefix_bytes));
            row.push_bind(whole(record.duration_ms));
            row.push_bind(whole(record.first_byte_ms));
            row.push_bind(whole(record.reader_wait_ms));
            row.push_bind(record.system_hash.cast_signed());
            row.push_bind(record.tools_hash.cast_signed());
            row.push_bind(record.opening_hash.cast_signed());
        });
        insert.push(" on conflict (at, id) do nothing").build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn insert_records_postgres(connection: &mut PgConnection, calls: &[Recorded]) -> Result<(), sqlx::Error> {
    fn column<'a, T>(calls: &'a [Recorded], value: impl Fn(&'a Recorded) -> T) -> Vec<T> {
        calls.iter().map(value).collect()
    }
    sqlx::query(concat!(
        "insert into call_record (",
        record_columns!(),
        ") select *
               from unnest($1::timestamptz[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[],
                 $7::text[], $8::text[], $9::integer[], $10::integer[], $11::boolean[], $12::boolean[],
                 $13::boolean[], $14::boolean[], $15::integer[], $16::integer[], $17::bigint[], $18::bigint[],
                 $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[],
                 $25::bigint[], $26::bigint[], $27::bigint[], $28::bigint[], $29::bigint[], $30::bigint[],
                 $31::bigint[], $32::bigint[], $33::bigint[], $34::bigint[])
             on conflict (at, id) do nothing"
    ))
    .bind(column(calls, |call| call.record.at))
    .bind(column(calls, |call| call.id))
    .bind(column(calls, |call| call.workload.0))
    .bind(column(calls, |call| call.record.way.as_str()))
    .bind(column(calls, |call| call.record.rule.as_deref()))
    .bind(column(calls, |call| call.record.blocked_by.as_deref()))
    .bind(column(calls, |call| call.record.model.as_str()))
    .bind(column(calls, |call| call.record.client.as_str()))
    .bind(column(calls, |call| i32::from(call.record.status)))
    .bind(column(calls, |call| small(call.record.retries)))
    .bind(column(calls, |call| call.record.stream))
    .bind(column(calls, |call| call.record.hung_up))
    .bind(column(calls, |call| call.record.tool_turn))
    .bind(column(calls, |call| call.record.tool_stop))
    .bind(column(calls, |call| small(call.record.messages)))
    .bind(column(calls, |call| small(call.record.tools)))
    .bind(column(calls, |call| whole(call.record.max_tokens)))
    .bind(column(calls, |call| whole(call.record.tokens.input)))
    .bind(column(calls, |call| whole(call.record.tokens.output)))
    .bind(column(calls, |call| whole(call.record.tokens.cache_write_5m)))
    .bind(column(calls, |call| whole(call.record.tokens.cache_write_1h)))
    .bind(column(calls, |call| whole(call.record.tokens.cache_read)))
    .bind(column(calls, |call| call.record.cost.map(|cost| cost.0.0)))
    .bind(column(calls, |call| call.record.cost.map(|cost| cost.1.0)))
    .bind(column(calls, |call| call.record.fees.0))
    .bind(column(calls, |call| whole(call.record.request_bytes)))
    .bind(column(calls, |call| whole(call.record.answer_bytes)))
    .bind(column(calls, |call| whole(call.record.prefix_bytes)))
    .bind(column(calls, |call| whole(call.record.duration_ms)))
    .bind(column(calls, |call| whole(call.record.first_byte_ms)))
    .bind(column(calls, |call| whole(call.record.reader_wait_ms)))
    .bind(column(calls, |call| call.record.system_hash.cast_signed()))
    .bind(column(calls, |call| call.record.tools_hash.cast_signed()))
    .bind(column(calls, |call| call.record.opening_hash.cast_signed()))
    .execute(connection)
    .await
    .map(drop)
}

/// The figures of a sum, in the order of their columns.
pub(super) fn figures(sum: &Tally) -> [i64; 28] {
    [
        sum.calls,
        sum.unread,
        sum.unpriced,
        sum.succeeded,
        sum.limited,
        sum.refused,
        sum.broken,
        sum.unanswered,
        sum.streamed,
        sum.hung_up,
        sum.retried,
        sum.tool_turns,
        sum.tool_stops,
        sum.slowly_read,
        sum.input_tokens,
        sum.output_tokens,
        sum.cache_write_5m_tokens,
        sum.cache_write_1h_tokens,
        sum.cache_read_tokens,
        sum.paid_nanousd,
        sum.live_nanousd,
        sum.fees_nanousd,
        sum.request_bytes,
        sum.answer_bytes,
        sum.prefix_bytes,
        sum.duration_ms,
        sum.first_byte_ms,
        sum.reader_wait_ms,
    ]
}

fn small(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

const ADD_HOURS: &str = "
    insert into call_hour (workload_id, hour, model, way, blocked_by, tenant,
        calls, unread, unpriced, succeeded, limited, refused, broken, unanswered, streamed, hung_up, retried,
        tool_turns, tool_stops, slowly_read, input_tokens, output_tokens, cache_write_5m_tokens,
        cache_write_1h_tokens, cache_read_tokens, paid_nanousd, live_nanousd, fees_nanousd, request_bytes,
        answer_bytes, prefix_bytes, duration_ms, first_byte_ms, reader_wait_ms) ";

const ON_SAME_HOUR: &str = "
    on conflict (workload_id, hour, model, way, blocked_by) do update set
        calls = call_hour.calls + excluded.calls, unread = call_hour.unread + excluded.unread,
        unpriced = call_hour.unpriced + excluded.unpriced, succeeded = call_hour.succeeded + excluded.succeeded,
        limited = call_hour.limited + excluded.limited, refused = call_hour.refused + excluded.refused,
        broken = call_hour.broken + excluded.broken, unanswered = call_hour.unanswered + excluded.unanswered,
        streamed = call_hour.streamed + excluded.streamed, hung_up = call_hour.hung_up + excluded.hung_up,
        retried = call_hour.retried + excluded.retried, tool_turns = call_hour.tool_turns + excluded.tool_turns,
        tool_stops = call_hour.tool_stops + excluded.tool_stops,
        slowly_read = call_hour.slowly_read + excluded.slowly_read,
        input_tokens = call_hour.input_tokens + excluded.input_tokens,
        output_tokens = call_hour.output_tokens + excluded.output_tokens,
        cache_write_5m_tokens = call_hour.cache_write_5m_tokens + excluded.cache_write_5m_tokens,
        cache_write_1h_tokens = call_hour.cache_write_1h_tokens + excluded.cache_write_1h_tokens,
        cache_read_tokens = call_hour.cache_read_tokens + excluded.cache_read_tokens,
        paid_nanousd = call_hour.paid_nanousd + excluded.paid_nanousd,
        live_nanousd = call_hour.live_nanousd + excluded.live_nanousd,
        fees_nanousd = call_hour.fees_nanousd + excluded.fees_nanousd,
        request_bytes = call_hour.request_bytes + excluded.request_bytes,
        answer_bytes = call_hour.answer_bytes + excluded.answer_bytes,
        prefix_bytes = call_hour.prefix_bytes + excluded.prefix_bytes,
        duration_ms = call_hour.duration_ms + excluded.duration_ms,
        first_byte_ms = call_hour.first_byte_ms + excluded.first_byte_ms,
        reader_wait_ms = call_hour.reader_wait_ms + excluded.reader_wait_ms";
