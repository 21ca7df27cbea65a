//! Transitions of batches: each a compare-and-set under a claim. Who holds the claim no more changes nothing.

use crate::clock::Timestamp;
use crate::domain::id::{BatchId, DeferralId};
use crate::store::batches::Claim;
use crate::store::engine::{read, write};
use crate::store::{Store, StoreError};

/// Changes the batch of a claim by one statement, whose $1 and $2 are its id and its fence; says whether it did.
macro_rules! moved {
    ($store:expr, $claim:expr, $statement:literal $(, $value:expr)*) => {
        Ok(write!($store, tx => {
            sqlx::query($statement)
                .bind($claim.batch)
                .bind($claim.fence)
                $(.bind($value))*
                .execute(tx)
                .await?
                .rows_affected() == 1
        }))
    };
}

impl Store {
    /// `building` → `uncertain`: from now on the provider may have it. Gives how many members it has now, and their
    /// bytes; `None` if another has the claim, or no member is left.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn batch_sending(&self, claim: Claim, now: Timestamp) -> Result<Option<(u32, u64)>, StoreError> {
        Ok(write!(self, tx => {
            let sending = sqlx::query(
                "update batch set state = 'uncertain', sent_at = $3, doubted_at = null
                 where id = $1 and fence = $2 and state = 'building'
                   and exists (select 1 from deferral where batch_id = $1 and state = 'batched')",
            )
            .bind(claim.batch)
            .bind(claim.fence)
            .bind(now)
            .execute(&mut *tx)
            .await?
            .rows_affected() == 1;
            if sending {
                // A statement of its own: members may have left while this one waited for the row above.
                let (items, bytes): (i32, i64) = sqlx::query_as(
                    "update batch set item_count = members.items, item_bytes = members.bytes
                     from (select cast(count(*) as integer) as items, coalesce(sum(body_bytes + mark_bytes), 0) as bytes
                           from deferral where batch_id = $1 and state = 'batched') as members
                     where id = $1
                     returning item_count, item_bytes",
                )
                .bind(claim.batch)
                .fetch_one(tx)
                .await?;
                Some((items.unsigned_abs(), bytes.unsigned_abs()))
            } else {
                None
            }
        }))
    }

    /// `uncertain` → `building`: the provider certainly does not have it; it is sent again from `due` on.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn batch_not_sent(&self, claim: Claim, due: Timestamp) -> Result<bool, StoreError> {
        moved!(
            self,
            claim,
            "update batch set state = 'building', sent_at = null, due_at = $3, looks = looks + 1
             where id = $1 and fence = $2 and state = 'uncertain'",
            due
        )
    }

    /// Notes that the answer to the creation of an `uncertain` batch is lost; it is looked for at `due`.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn batch_doubted(&self, claim: Claim, now: Timestamp, due: Timestamp) -> Result<bool, StoreError> {
        moved!(
            self,
            claim,
            "update batch set doubted_at = coalesce(doubted_at, $3), due_at = $4, looks = looks + 1
             where id = $1 and fence = $2 and state = 'uncertain'",
            now,
            due
        )
    }

    /// `uncertain` → `submitted`: the provider has it under this id. False if another batch of ours has that id.
    ///
    /// `adopted` is for an id out of the provider's list, which the results have yet to confirm.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn batch_submitted(
        &self,
        claim: Claim,
        provider_id: &str,
        adopted: bool,
        now: Timestamp,
        due: Timestamp,
    ) -> Result<bool, StoreError> {
        moved!(
            self,
            claim,
            "update batch set state = 'submitted', provider_id = $3, submitted_at = $4, due_at = $5, looks = 0,
                 adopted = $6
             where id = $1 and fence = $2 and state = 'uncertain'
               and not exists (select 1 from batch where provider_id = $3)",
            provider_id,
            now,
            due,
            adopted
        )
    }

    /// `ended` → `uncertain`: the batch that was taken for this one is somebody else's, and is not taken for it again.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn batch_mistaken(&self, claim: Claim, due: Timestamp) -> Result<bool, StoreError> {
        Ok(write!(self, tx => {
            sqlx::query(
                "insert into mismatch (batch_id, provider_id)
                 select id, provider_id from batch where id = $1 and fence = $2 and state = 'ended' and adopted
                 on conflict (batch_id, provider_id) do nothing",
            )
            .bind(claim.batch)
            .bind(claim.fence)
            .execute(&mut *tx)
            .await?;
            sqlx::query(
                "update batch set state = 'uncertain', provider_id = null, submitted_at = null, ended_at = null,
                     adopted = $4, due_at = $3, looks = 0
                 where id = $1 and fence = $2 and state = 'ended' and adopted",
            )
            .bind(claim.batch)
            .bind(claim.fence)
            .bind(due)
            .bind(false)
            .execute(tx)
            .await?
            .rows_affected() == 1
        }))
    }

    /// Which of these provider's batches cannot be `batch`: they are certain to be another of ours, or were taken for
    /// it and were not it.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn certain_others(&self, batch: BatchId, provider_id: &str) -> Result<bool, StoreError> {
        let other: Option<i32> = read!(self, tx => {
            sqlx::query_scalar(
                "select 1 from batch where provider_id = $2 and id <> $1 and not adopted
                 union all select 1 from mismatch where batch_id = $1 and provider_id = $2 limit 1",
            )
            .bind(batch)
            .bind(provider_id)
            .fetch_optional(tx)
            .await?
        });
        Ok(other.is_some())
    }

    /// The results have confirmed an adopted batch.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn batch_confirmed(&self, claim: Claim) -> Result<bool, StoreError> {
        moved!(self, claim, "update batch set adopted = $3 where id = $1 and fence = $2", false)
    }

    /// Whether a deferral is or was last in this batch.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn is_member(&self, batch: BatchId, id: DeferralId) -> Result<bool, StoreError> {
        let member: Option<i32> = read!(self, tx => {
            sqlx::query_scalar("select 1 from deferral where id = $2 and batch_id = $1")
                .bind(batch)
                .bind(id)
                .fetch_optional(tx)
                .await?
        });
        Ok(member.is_some())
    }

    /// Whether anybody still waits for a result of this batch: a member that was neither rescued nor is to be canceled.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn batch_is_needed(&self, batch: BatchId) -> Result<bool, StoreError> {
        let needed: Option<i32> = read!(self, tx => {
            sqlx::query_scalar(
                "select 1 from deferral where batch_id = $1 and state = 'batched' and cancel_requested = $2 limit 1",
            )
            .bind(batch)
            .bind(false)
            .fetch_optional(tx)
            .await?
        });
        Ok(needed.is_some())
    }

    /// Notes that the provider was asked to stop the batch.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn batch_cancel_requested(&self, claim: Claim) -> Result<bool, StoreError> {
        moved!(self, claim, "update batch set cancel_requested = $3 where id = $1 and fence = $2", true)
    }

    /// Counts a look that found no change; the next is at `due`.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn batch_looked_at(&self, claim: Claim, due: Timestamp) -> Result<bool, StoreError> {
        moved!(self, claim, "update batch set looks = looks + 1, due_at = $3 where id = $1 and fence = $2", due)
    }

    /// `submitted` → `ended`: its results can be brought home.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn batch_ended(&self, claim: Claim, now: Timestamp) -> Result<bool, StoreError> {
        moved!(
            self,
            claim,
            "update batch set state = 'ended', ended_at = $3, due_at = $3, looks = 0
             where id = $1 and fence = $2 and state = 'submitted'",
            now
        )
    }

    /// `ended` → `ingested`, if no member is left without a result or a new place in the queue.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn batch_ingested(&self, claim: Claim, now: Timestamp) -> Result<bool, StoreError> {
        moved!(
            self,
            claim,
            "update batch set state = 'ingested', ingested_at = $3
             where id = $1 and fence = $2 and state = 'ended'
               and not exists (select 1 from deferral where batch_id = $1 and state = 'batched')",
            now
        )
    }

    /// `building` or `uncertain` → `void`: the provider does not have it, and its members are queued again in their
    /// old places, as if it had never been.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn batch_void(&self, claim: Claim) -> Result<bool, StoreError> {
        Ok(write!(self, tx => {
            let voided = sqlx::query(
                "update batch set state = 'void' where id = $1 and fence = $2 and state in ('building', 'uncertain')",
            )
            .bind(claim.batch)
            .bind(claim.fence)
            .execute(&mut *tx)
            .await?
            .rows_affected() == 1;
            if voided {
                // Whoever was to be canceled meanwhile is taken off the queue again, and not sent.
                sqlx::query(
                    "update deferral set state = 'queued', batch_id = null, attempts = attempts - 1,
                         rescue_due_at = case when cancel_requested then accepted_at else rescue_due_at end
                     where batch_id = $1 and state = 'batched'",
                )
                .bind(claim.batch)
                .execute(tx)
                .await?;
            }
            voided
        }))
    }

    /// Replaces a batch that the provider refused by two halves, both to be sent from `due` on.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn batch_split(
        &self,
        claim: Claim,
        halves: [BatchId; 2],
        now: Timestamp,
        due: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(write!(self, tx => {
            let voided = sqlx::query(
                "update batch set state = 'void'
                 where id = $1 and fence = $2 and state in ('building', 'uncertain') and item_count > 1",
            )
            .bind(claim.batch)
            .bind(claim.fence)
            .execute(&mut *tx)
            .await?
            .rows_affected() == 1;
            if voided {
                let [first, second] = halves;
                sqlx::query(
                    "update deferral set batch_id = $2 where state = 'batched' and batch_id = $1 and id in (
                         select id from deferral where batch_id = $1 and state = 'batched' order by id
                         limit (select (count(*) + 1) / 2 from deferral where batch_id = $1 and state = 'batched'))",
                )
                .bind(claim.batch)
                .bind(first)
                .execute(&mut *tx)
                .await?;
                sqlx::query("update deferral set batch_id = $2 where state = 'batched' and batch_id = $1")
                    .bind(claim.batch)
                    .bind(second)
                    .execute(&mut *tx)
                    .await?;
                for half in halves {
                    sqlx::query(
                        "insert into batch (id, lane_id, tenant, state, item_count, item_bytes, built_at, due_at, fence)
                         select $2, lane_id, tenant, 'building', members.items, members.bytes, $3, $4, 0
                         from batch, (select cast(count(*) as integer) as items, sum(body_bytes + mark_bytes) as bytes
                                      from deferral where batch_id = $2 and state = 'batched') as members
                         where batch.id = $1 and members.items > 0",
                    )
                    .bind(claim.batch)
                    .bind(half)
                    .bind(now)
                    .bind(due)
                    .execute(&mut *tx)
                    .await?;
                }
            }
            voided
        }))
    }
}
