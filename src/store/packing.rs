//! Packing: bodies and results are compressed, and sealed where the operator wants it, before the database has them.

use std::sync::Arc;

use crate::domain::id::DeferralId;
use crate::store::{Store, StoreError};

/// The fastest level: at 2 KB it keeps a body in its row, and it costs less than writing the rest would.
const ZSTD_LEVEL: i32 = 1;

/// No packed text unpacks to more; 10 times the largest request, so that no result meets it.
const UNPACKED_MAX: usize = 320_000_000;

const CODEC_ZSTD: i16 = 1;
const CODEC_ZSTD_SEALED: i16 = 2;

/// A text as the database has it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct Packed {
    pub(super) codec: i16,
    pub(super) body: Vec<u8>,
}

impl Store {
    pub(super) fn pack(&self, owner: DeferralId, text: &str) -> Result<Packed, StoreError> {
        let squeezed = zstd::bulk::compress(text.as_bytes(), ZSTD_LEVEL).map_err(damaged)?;
        if self.encrypt_bodies {
            let body = self.vault.seal(&squeezed, owner.0.as_bytes());
            return Ok(Packed { codec: CODEC_ZSTD_SEALED, body });
        }
        Ok(Packed { codec: CODEC_ZSTD, body: squeezed })
    }

    pub(super) fn unpack(&self, owner: DeferralId, packed: &Packed) -> Result<String, StoreError> {
        let opened;
        let squeezed = match packed.codec {
            CODEC_ZSTD => &packed.body,
            _ => {
                opened = self.vault.open(&packed.body, owner.0.as_bytes()).map_err(|_| StoreError::Sealed)?;
                &opened
            }
        };
        let size = zstd::bulk::Decompressor::upper_bound(squeezed).unwrap_or(UNPACKED_MAX);
        let text = zstd::bulk::decompress(squeezed, size.min(UNPACKED_MAX)).map_err(damaged)?;
        String::from_utf8(text).map_err(|error| damaged(std::io::Error::other(error.utf8_error())))
    }
}

fn damaged(error: std::io::Error) -> StoreError {
    StoreError::Damaged(Arc::new(error))
}
