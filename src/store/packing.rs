//! Packing: bodies and results are compressed, and sealed where the operator wants it, before the database has them.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use zstd::bulk::{Compressor, Decompressor};

use crate::domain::id::DeferralId;
use crate::store::{Store, StoreError};

/// The fastest level: at 2 KB it keeps a body in its row, and it costs less than writing the rest would.
const ZSTD_LEVEL: i32 = 1;

/// No packed text unpacks to more; 10 times the largest request, so that no result meets it.
const UNPACKED_MAX: usize = 320_000_000;

/// Packing or unpacking so much at a stretch takes about a millisecond; then others have a turn on the thread.
pub(super) const STRETCH_BYTES: usize = 256_000;

const CODEC_ZSTD: i16 = 1;
const CODEC_ZSTD_SEALED: i16 = 2;

thread_local! {
    // Setting up a context costs more than a body of 2 KB, so each thread keeps its own.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// A text as the database has it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct Packed {
    pub(super) codec: i16,
    pub(super) body: Vec<u8>,
}

impl Store {
    pub(super) fn pack(&self, owner: DeferralId, text: &str) -> Result<Packed, StoreError> {
        let squeezed = squeeze(text.as_bytes()).map_err(damaged)?;
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
        let text = unsqueeze(squeezed).map_err(damaged)?;
        String::from_utf8(text).map_err(|error| damaged(io::Error::other(error.utf8_error())))
    }
}

fn squeeze(plain: &[u8]) -> io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(compressor) => compressor.compress(plain),
        None => kept.insert(Compressor::new(ZSTD_LEVEL)?).compress(plain),
    })
}

fn unsqueeze(squeezed: &[u8]) -> io::Result<Vec<u8>> {
    let size = Decompressor::upper_bound(squeezed).unwrap_or(UNPACKED_MAX).min(UNPACKED_MAX);
    DECOMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(decompressor) => decompressor.decompress(squeezed, size),
        None => kept.insert(Decompressor::new()?).decompress(squeezed, size),
    })
}

fn damaged(error: io::Error) -> StoreError {
    StoreError::Damaged(Arc::new(error))
}
