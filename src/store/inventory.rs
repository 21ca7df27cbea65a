//! The inventory as it is read: records page by page, and the sums of hours.

use crate::clock::Timestamp;
use crate::domain::money::NanoUsd;
use crate::domain::record::{CallRecord, Way};
use crate::domain::tally::Tally;
use crate::domain::usage::Tokens;
use crate::domain::workload::WorkloadId;
use crate::store::engine::read;
use crate::store::records::record_columns;
use crate::store::{Store, StoreError};

/// A place among the records: everything at or before it has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordCursor {
    at: Timestamp,
    id: i64,
}

impl RecordCursor {
    /// Before whatever arrived at `at` or later.
    pub fn before(at: Timestamp) -> Self {
        Self { at, id: i64::MIN }
    }
}

/// Records in the order of their arrival.
#[derive(Clone, Debug)]
pub struct RecordPage {
    /// The records.
    pub records: Vec<CallRecord>,
    /// Where to go on; none if there are no more.
    pub next: Option<RecordCursor>,
}

/// What some calls of a workload add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadSum {
    /// The workload.
    pub workload: WorkloadId,
    /// The model that they asked for.
    pub model: String,
    /// What became of them.
    pub way: Way,
    /// Why the Batches API could not take them; empty if it could.
    pub blocked_by: String,
    /// The sums.
    pub sum: Tally,
}

impl Store {
    /// Records behind a place, of one workload or of all, in the order of their arrival.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn records(
        &self,
        workload: Option<WorkloadId>,
        after: RecordCursor,
        limit: u32,
    ) -> Result<RecordPage, StoreError> {
        let rows: Vec<RecordRow> = read!(self, tx => {
            match workload {
                Some(id) => {
                    let rows = sqlx::query_as(RECORDS_OF_ONE).bind(after.at).bind(after.id);
                    rows.bind(i64::from(limit)).bind(id).fetch_all(tx).await?
                }
                None => {
                    let rows = sqlx::query_as(RECORDS_OF_ALL).bind(after.at).bind(after.id);
                    rows.bind(i64::from(limit)).fetch_all(tx).await?
                }
            }
        });
        let is_full = rows.len() == limit as usize;
        let next = rows.last().filter(|_| is_full).map(|row| RecordCursor { at: row.at, id: row.id });
        Ok(RecordPage { records: rows.into_iter().map(CallRecord::from).collect(), next })
    }

    /// What these workloads add up to since an hour began, by model, way and what is in the way of a batch.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn workload_sums(&self, ids: &[WorkloadId], since: Timestamp) -> Result<Vec<WorkloadSum>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<SumRow> = read!(self, tx => {
            let mut select = sqlx::QueryBuilder::new(SUMS);
            select.push_bind(since).push(" and workload_id in (");
            let mut list = select.separated(", ");
            for id in ids {
                list.push_bind(*id);
            }
            select.push(") group by workload_id, model, way, blocked_by order by workload_id, model, way, blocked_by");
            select.build_query_as().fetch_all(tx).await?
        });
        Ok(rows.into_iter().map(WorkloadSum::from).collect())
    }

    /// The first hour that had a call.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn first_hour(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(read!(self, tx => sqlx::query_scalar("select min(hour) from call_hour").fetch_one(tx).await?))
    }

    /// The hours of a workload that had calls since an hour began, in order, each with its calls.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn workload_hours(
        &self,
        workload: WorkloadId,
        since: Timestamp,
    ) -> Result<Vec<(Timestamp, u64)>, StoreError> {
        let rows: Vec<(Timestamp, i64)> = read!(self, tx => {
            sqlx::query_as(
                "select hour, cast(sum(calls) as bigint) from call_hour
                 where workload_id = $1 and hour >= $2 group by hour order by hour",
            )
            .bind(workload)
            .bind(since)
            .fetch_all(tx)
            .await?
        });
        Ok(rows.into_iter().map(|(hour, calls)| (hour, calls.unsigned_abs())).collect())
    }
}

/// Records, with what only their workload says.
macro_rules! records {
    ($of:literal) => {
        concat!(
            "select kept.*, workload.tenant, workload.name from (select ",
            record_columns!(),
            " from call_record where (at, id) > ($1, $2)",
            $of,
            " order by at, id limit $3) as kept join workload on workload.id = kept.workload_id
             order by kept.at, kept.id"
        )
    };
}

const RECORDS_OF_ALL: &str = records!("");
const RECORDS_OF_ONE: &str = records!(" and workload_id = $4");

const SUMS: &str = "
    select workload_id, model, way, blocked_by, min(tenant) as tenant,
        cast(sum(calls) as bigint) as calls, cast(sum(unread) as bigint) as unread,
        cast(sum(unpriced) as bigint) as unpriced, cast(sum(succeeded) as bigint) as succeeded,
        cast(sum(limited) as bigint) as limited, cast(sum(refused) as bigint) as refused,
        cast(sum(broken) as bigint) as broken, cast(sum(unanswered) as bigint) as unanswered,
        cast(sum(streamed) as bigint) as streamed, cast(sum(hung_up) as bigint) as hung_up,
        cast(sum(retried) as bigint) as retried, cast(sum(tool_turns) as bigint) as tool_turns,
        cast(sum(tool_stops) as bigint) as tool_stops, cast(sum(slowly_read) as bigint) as slowly_read,
        cast(sum(input_tokens) as bigint) as input_tokens, cast(sum(output_tokens) as bigint) as output_tokens,
        cast(sum(cache_write_5m_tokens) as bigint) as cache_write_5m_tokens,
        cast(sum(cache_write_1h_tokens) as bigint) as cache_write_1h_tokens,
        cast(sum(cache_read_tokens) as bigint) as cache_read_tokens,
        cast(sum(paid_nanousd) as bigint) as paid_nanousd, cast(sum(live_nanousd) as bigint) as live_nanousd,
        cast(sum(fees_nanousd) as bigint) as fees_nanousd,
        cast(sum(request_bytes) as bigint) as request_bytes, cast(sum(answer_bytes) as bigint) as answer_bytes,
        cast(sum(prefix_bytes) as bigint) as prefix_bytes, cast(sum(duration_ms) as bigint) as duration_ms,
        cast(sum(first_byte_ms) as bigint) as first_byte_ms, cast(sum(reader_wait_ms) as bigint) as reader_wait_ms
    from call_hour where hour >= ";

#[derive(sqlx::FromRow)]
struct SumRow {
    workload_id: WorkloadId,
    model: String,
    way: Way,
    blocked_by: String,
    #[sqlx(flatten)]
    sum: Tally,
}

impl From<SumRow> for WorkloadSum {
    fn from(row: SumRow) -> Self {
        let SumRow { workload_id: workload, model, way, blocked_by, sum } = row;
        Self { workload, model, way, blocked_by, sum }
    }
}

#[derive(sqlx::FromRow)]
struct RecordRow {
    at: Timestamp,
    id: i64,
    tenant: String,
    name: String,
    way: Way,
    rule: Option<String>,
    blocked_by: Option<String>,
    model: String,
    client: String,
    status: i32,
    retries: i32,
    stream: bool,
    hung_up: bool,
    tool_turn: bool,
    tool_stop: bool,
    messages: i32,
    tools: i32,
    max_tokens: i64,
    input_tokens: i64,
    output_tokens: i64,
    cache_write_5m_tokens: i64,
    cache_write_1h_tokens: i64,
    cache_read_tokens: i64,
    paid_nanousd: Option<NanoUsd>,
    live_nanousd: Option<NanoUsd>,
    fees_nanousd: NanoUsd,
    request_bytes: i64,
    answer_bytes: i64,
    prefix_bytes: i64,
    duration_ms: i64,
    first_byte_ms: i64,
    reader_wait_ms: i64,
    system_hash: i64,
    tools_hash: i64,
    opening_hash: i64,
}

impl From<RecordRow> for CallRecord {
    fn from(row: RecordRow) -> Self {
        Self {
            at: row.at,
            tenant: row.tenant,
            workload: row.name,
            way: row.way,
            rule: row.rule,
            blocked_by: row.blocked_by,
            model: row.model,
            tokens: Tokens {
                input: row.input_tokens.unsigned_abs(),
                output: row.output_tokens.unsigned_abs(),
                cache_write_5m: row.cache_write_5m_tokens.unsigned_abs(),
                cache_write_1h: row.cache_write_1h_tokens.unsigned_abs(),
                cache_read: row.cache_read_tokens.unsigned_abs(),
            },
            cost: row.paid_nanousd.zip(row.live_nanousd),
            fees: row.fees_nanousd,
            status: u16::try_from(row.status).unwrap_or(0),
            request_bytes: row.request_bytes.unsigned_abs(),
            answer_bytes: row.answer_bytes.unsigned_abs(),
            duration_ms: row.duration_ms.unsigned_abs(),
            first_byte_ms: row.first_byte_ms.unsigned_abs(),
            reader_wait_ms: row.reader_wait_ms.unsigned_abs(),
            hung_up: row.hung_up,
            retries: row.retries.unsigned_abs(),
            client: row.client,
            stream: row.stream,
            max_tokens: row.max_tokens.unsigned_abs(),
            messages: row.messages.unsigned_abs(),
            tools: row.tools.unsigned_abs(),
            tool_turn: row.tool_turn,
            tool_stop: row.tool_stop,
            system_hash: row.system_hash.cast_unsigned(),
            tools_hash: row.tools_hash.cast_unsigned(),
            opening_hash: row.opening_hash.cast_unsigned(),
            prefix_bytes: row.prefix_bytes.unsigned_abs(),
        }
    }
}
