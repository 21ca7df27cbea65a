//! Lanes: kept with their credential sealed, for as long as a deferral needs it.

use std::time::Duration;

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::domain::deferral::Answer;
use crate::domain::lane::{Credential, CredentialHeader, Lane};
use crate::secret::{Secret, Vault};
use crate::store::engine::{read, write};
use crate::store::{Store, StoreError};

/// A lane's `used_at` is written at most this often, so that accepting does not wait for one hot row.
pub(super) const TOUCH_AFTER: Duration = Duration::from_secs(30 * 60);

/// A lane without open deferrals is deleted this long after its last use: well beyond [`TOUCH_AFTER`], so that
/// none is deleted between being touched and being needed.
pub(super) const FORGET_AFTER: Duration = Duration::from_secs(2 * 60 * 60);

/// The id of a lane: the same for the same five facts, on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct LaneId(pub(super) Uuid);

impl LaneId {
    /// The id of these facts.
    pub fn of(lane: &Lane, vault: &Vault) -> Self {
        Self(Uuid::from_bytes(vault.pseudonym("lane", &lane.identity())))
    }

    /// Some lane, for tests of what never asks which.
    #[cfg(test)]
    pub(crate) fn test(number: u128) -> Self {
        Self(Uuid::from_u128(number))
    }
}

/// A lane with which no batch is sent for the time being, for an operator.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow, serde::Serialize)]
pub struct PausedLane {
    /// Whose calls wait.
    pub tenant: String,
    /// The provider's error type.
    pub reason: String,
    /// Until when.
    pub until: Timestamp,
}

#[derive(sqlx::FromRow)]
struct LaneRow {
    tenant: String,
    credential: Vec<u8>,
    credential_header: CredentialHeader,
    anthropic_version: Option<String>,
    betas: String,
    workspace_id: Option<String>,
    user_profile_id: Option<String>,
}

/// Makes lanes durable, each with a call that needs it, or marks those that are as used, within the transaction that accepts their calls.
macro_rules! touch_lanes {
    ($tx:ident, $vault:expr, $lanes:expr) => {
        // In the order of their ids: two replicas that touch the same lanes wait for each other, and not forever.
        for (id, call) in $lanes {
            let lane = &call.lane;
            let sealed = $vault.seal(lane.credential.secret.expose().as_bytes(), id.0.as_bytes());
            sqlx::query(
                "insert into lane (id, tenant, credential, credential_header, anthropic_version, betas, workspace_id,
                     user_profile_id, used_at)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                 on conflict (id) do update set used_at = excluded.used_at",
            )
            .bind(*id)
            .bind(&lane.tenant)
            .bind(&sealed)
            .bind(lane.credential.header)
            .bind(&lane.version)
            .bind(&lane.betas)
            .bind(&lane.workspace_id)
            .bind(&lane.user_profile_id)
            .bind(call.accepted_at)
            .execute(&mut *$tx)
            .await?;
        }
    };
}

pub(super) use touch_lanes;

impl Store {
    /// The lane with its credential opened; `None` once it was deleted.
    ///
    /// # Errors
    /// If the store is unavailable, or the credential was sealed with another master key.
    pub async fn lane(&self, id: LaneId) -> Result<Option<Lane>, StoreError> {
        let row: Option<LaneRow> = read!(self, tx => {
            sqlx::query_as(
                "select tenant, credential, credential_header, anthropic_version, betas, workspace_id, user_profile_id
                 from lane where id = $1",
            )
            .bind(id)
            .fetch_optional(tx)
            .await?
        });
        let Some(row) = row else { return Ok(None) };
        let opened = self.vault.open(&row.credential, id.0.as_bytes()).map_err(|_| StoreError::Sealed)?;
        let secret = String::from_utf8(opened).map_err(|_| StoreError::Sealed)?;
        Ok(Some(Lane {
            tenant: row.tenant,
            credential: Credential { header: row.credential_header, secret: Secret::new(secret) },
            version: row.anthropic_version,
            betas: row.betas,
            workspace_id: row.workspace_id,
            user_profile_id: row.user_profile_id,
        }))
    }

    /// Sends no batch with this lane's credential until `until`.
    ///
    /// `refused` is the provider's answer where it refuses the credential itself.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn pause_lane(
        &self,
        id: LaneId,
        until: Timestamp,
        reason: &str,
        refused: Option<&Answer>,
    ) -> Result<(), StoreError> {
        write!(self, tx => {
            sqlx::query(
                "update lane set paused_until = $2, pause_reason = $3, pauses = pauses + 1, pause_status = $4,
                     pause_error = $5
                 where id = $1",
            )
            .bind(id)
            .bind(until)
            .bind(reason)
            .bind(refused.map(|answer| i32::from(answer.status)))
            .bind(refused.map(|answer| &answer.body))
            .execute(tx)
            .await?;
        });
        Ok(())
    }

    /// The lanes with which no batch is sent for the time being.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn paused_lanes(&self, now: Timestamp) -> Result<Vec<PausedLane>, StoreError> {
        Ok(read!(self, tx => {
            sqlx::query_as(
                "select tenant, pause_reason as reason, paused_until as until from lane
                 where paused_until > $1 order by paused_until limit 100",
            )
            .bind(now)
            .fetch_all(tx)
            .await?
        }))
    }

    /// How often in a row the lane was paused.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn lane_pauses(&self, id: LaneId) -> Result<u32, StoreError> {
        let pauses: Option<i32> = read!(self, tx => {
            sqlx::query_scalar("select pauses from lane where id = $1").bind(id).fetch_optional(tx).await?
        });
        Ok(u32::try_from(pauses.unwrap_or(0)).unwrap_or(0))
    }

    /// Sends with this lane's credential again.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn resume_lane(&self, id: LaneId) -> Result<(), StoreError> {
        write!(self, tx => {
            sqlx::query(
                "update lane set paused_until = null, pause_reason = null, pauses = 0, pause_status = null,
                     pause_error = null
                 where id = $1 and paused_until is not null",
            )
            .bind(id)
            .execute(tx)
            .await?;
        });
        Ok(())
    }
}
