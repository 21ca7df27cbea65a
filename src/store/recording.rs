//! Deferrals that have become final, for the inventory: the feed is read from where it was last recorded, and how far that
//! is moves on in the transaction that writes the records. So each is recorded once, whoever does it.

use futures_util::TryStreamExt as _;

use crate::clock::Timestamp;
use crate::crash;
use crate::domain::deferral::{Answer, ServedBy};
use crate::domain::id::DeferralId;
use crate::domain::money::NanoUsd;
use crate::domain::usage::Tokens;
use crate::store::engine::{read, write};
use crate::store::packing::Packed;
use crate::store::partitions::{IdSpan, RECORDS};
use crate::store::records::{Bundle, WriteBundle as _};
use crate::store::{Position, Store, StoreError};

/// Lines of the feed in one bite, and bytes of bodies and answers after which it ends.
const BITE_LINES: i64 = 100;
const BITE_BYTES: usize = 4_000_000;

/// A final deferral that is not recorded yet.
#[derive(Clone, Debug)]
pub struct Unrecorded {
    /// Its id.
    pub id: DeferralId,
    /// Whose it is.
    pub tenant: String,
    /// The model that it asks for.
    pub model: String,
    /// The workload that the caller named.
    pub workload: Option<String>,
    /// What called.
    pub client: Option<String>,
    /// The rule that decided, if one did.
    pub rule: Option<String>,
    /// When it was made durable.
    pub accepted_at: Timestamp,
    /// When it became final.
    pub completed_at: Timestamp,
    /// Who gave the result.
    pub served_by: Option<ServedBy>,
    /// Whether it asked for a stream.
    pub stream: bool,
    /// How often its client said that it had sent it before.
    pub retries: u32,
    /// Whether its caller left before it was final.
    pub hung_up: bool,
    /// The text of the call.
    pub text: String,
    /// What came back.
    pub answer: Answer,
    /// What it took.
    pub tokens: Tokens,
    /// How often it searched the web.
    pub web_searches: u64,
    /// What it cost, and what it would have cost live.
    pub cost: Option<(NanoUsd, NanoUsd)>,
}

impl Store {
    /// Final deferrals that are not recorded yet, the oldest first; and up to where in the feed they reach, if the feed
    /// goes on.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn unrecorded(&self) -> Result<(Position, Option<Position>, Vec<Unrecorded>), StoreError> {
        let (mut found, mut bytes, mut reach) = (Vec::new(), 0, None);
        let from = read!(self, tx => {
            let from: Position = sqlx::query_scalar("select value from counter where name = 'recorded'")
                .fetch_one(&mut *tx)
                .await?;
            let lines: Vec<(Position, DeferralId)> = sqlx::query_as(
                "select position, deferral_id from feed where position > $1 order by position limit $2",
            )
            .bind(from)
            .bind(BITE_LINES)
            .fetch_all(&mut *tx)
            .await?;
            if let Some((last, _)) = lines.last() {
                let span = IdSpan::of(lines.iter().map(|(_, id)| *id));
                let mut rows = sqlx::query_as::<_, Row>(UNRECORDED)
                    .bind(from)
                    .bind(last)
                    .bind(BITE_LINES)
                    .bind(span.first)
                    .bind(span.last)
                    .fetch(&mut *tx);
                // Deferrals that are gone by now are passed over.
                reach = Some(*last);
                while let Some(row) = rows.try_next().await? {
                    let position = row.position;
                    let deferral = self.unrecorded_of(row);
                    bytes += deferral.text.len() + deferral.answer.body.len();
                    found.push(deferral);
                    if bytes >= BITE_BYTES {
                        reach = Some(position);
                        break;
                    }
                }
            }
            from
        });
        Ok((from, reach, found))
    }

    /// Writes the records of deferrals that stand in the feed behind `from` up to `to`; false if somebody else has
    /// done so.
    ///
    /// # Errors
    /// If the store is unavailable; then nothing was written.
    pub async fn record_deferrals(&self, from: Position, to: Position, bundle: Bundle<'_>) -> Result<bool, StoreError> {
        let is_ours = self.in_room(RECORDS, bundle.days(), || self.record_deferrals_once(from, to, bundle)).await?;
        crash::point("inventory.deferrals");
        Ok(is_ours)
    }

    async fn record_deferrals_once(
        &self,
        from: Position,
        to: Position,
        bundle: Bundle<'_>,
    ) -> Result<bool, StoreError> {
        Ok(write!(self, tx => {
            let is_ours = sqlx::query("update counter set value = $2 where name = 'recorded' and value = $1")
                .bind(from)
                .bind(to)
                .execute(&mut *tx)
                .await?
                .rows_affected() == 1;
            if is_ours {
                tx.write_bundle(bundle).await?;
            }
            is_ours
        }))
    }

    fn unrecorded_of(&self, row: Row) -> Unrecorded {
        // What does not open must not keep back what would: it is recorded as not read.
        let text = self.unpack(row.id, &Packed { codec: row.codec, body: row.body }).unwrap_or_default();
        let body = self.unpack(row.id, &Packed { codec: row.answer_codec, body: row.answer_body }).unwrap_or_default();
        let count = |tokens: Option<i64>| tokens.unwrap_or(0).unsigned_abs();
        Unrecorded {
            id: row.id,
            tenant: row.tenant,
            model: row.model,
            workload: row.workload,
            client: row.client,
            rule: row.rule,
            accepted_at: row.accepted_at,
            completed_at: row.completed_at,
            served_by: row.served_by,
            stream: row.stream,
            retries: row.retries.unsigned_abs().into(),
            hung_up: row.caller_left_at.is_some_and(|left| left < row.completed_at),
            text,
            answer: Answer { status: u16::try_from(row.status).unwrap_or(0), body },
            tokens: Tokens {
                input: count(row.input_tokens),
                output: count(row.output_tokens),
                cache_write_5m: count(row.cache_write_5m_tokens),
                cache_write_1h: count(row.cache_write_1h_tokens),
                cache_read: count(row.cache_read_tokens),
            },
            web_searches: count(row.web_searches),
            cost: row.paid_nanousd.zip(row.live_nanousd),
        }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    position: Position,
    id: DeferralId,
    tenant: String,
    model: String,
    workload: Option<String>,
    client: Option<String>,
    rule: Option<String>,
    accepted_at: Timestamp,
    completed_at: Timestamp,
    served_by: Option<ServedBy>,
    caller_left_at: Option<Timestamp>,
    stream: bool,
    retries: i16,
    codec: i16,
    body: Vec<u8>,
    status: i32,
    answer_codec: i16,
    answer_body: Vec<u8>,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    cache_write_5m_tokens: Option<i64>,
    cache_write_1h_tokens: Option<i64>,
    cache_read_tokens: Option<i64>,
    web_searches: Option<i64>,
    paid_nanousd: Option<NanoUsd>,
    live_nanousd: Option<NanoUsd>,
}

/// A column of a body or an answer, looked up for each deferral: as a join, PostgreSQL may rather read all there are. The
/// ids lie between $4 and $5.
macro_rules! of_deferral {
    ($column:literal, $table:literal) => {
        concat!(
            "(select ",
            $column,
            " from ",
            $table,
            " where deferral_id = deferral.id and deferral_id >= $4 and deferral_id <= $5)"
        )
    };
}

const UNRECORDED: &str = concat!(
    "select line.position, deferral.id, deferral.tenant, deferral.model, deferral.workload, deferral.client,
         deferral.rule, deferral.accepted_at, deferral.completed_at, deferral.served_by, deferral.caller_left_at,
         deferral.stream, deferral.retries, ",
    of_deferral!("codec", "payload"),
    " as codec, ",
    of_deferral!("body", "payload"),
    " as body, ",
    of_deferral!("status", "outcome"),
    " as status, ",
    of_deferral!("codec", "outcome"),
    " as answer_codec, ",
    of_deferral!("body", "outcome"),
    " as answer_body,
         entry.input_tokens, entry.output_tokens, entry.cache_write_5m_tokens, entry.cache_write_1h_tokens,
         entry.cache_read_tokens, entry.web_searches, entry.paid_nanousd, entry.live_nanousd
     from (select position, deferral_id from feed where position > $1 and position <= $2
           order by position limit $3) as line
     join deferral on deferral.id = line.deferral_id
     left join entry on entry.deferral_id = deferral.id and entry.kind = 'answer'
     order by line.position",
);
