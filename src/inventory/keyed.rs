//! Hashes under a key of ours: they are the same on every replica, and from a copy of the database nobody can try out what
//! a prompt may have been.

use crate::domain::workload::WorkloadId;
use crate::secret::Vault;

/// Hashes under a key.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    vault: Vault,
    /// For the many small hashes of a sketch.
    seed: u64,
}

impl Keyed {
    pub(super) fn new(vault: Vault) -> Self {
        let seed = first(vault.pseudonym("inventory sketch", b""));
        Self { vault, seed }
    }

    #[cfg(test)]
    pub(super) fn test() -> Self {
        Self::new(Vault::new(&crate::secret::MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap()))
    }

    /// A hash of `data` among those with the same label; never 0, which stands for nothing.
    pub(super) fn hash(&self, label: &str, data: &[u8]) -> u64 {
        first(self.vault.pseudonym(&format!("inventory {label}"), data)).max(1)
    }

    /// The id of the workload that these parts make up.
    pub(super) fn workload(&self, parts: &[&str]) -> WorkloadId {
        // Each part behind its length, so that no two lists read alike.
        let identity: Vec<u8> =
            parts.iter().flat_map(|part| (part.len() as u64).to_be_bytes().into_iter().chain(part.bytes())).collect();
        WorkloadId::of(self.vault.pseudonym("workload", &identity))
    }

    /// A hash of one word, or of some together, for comparing prompts.
    pub(super) fn mix(&self, words: impl IntoIterator<Item = u64>) -> u64 {
        words.into_iter().fold(self.seed, |hash, word| scramble(hash.rotate_left(5) ^ word))
    }
}

/// A hash of a word that is the same in every build; its quality comes with [`Keyed::mix`].
pub(super) fn word_hash(word: &str) -> u64 {
    word.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Spreads every bit over all the others (the finish of MurmurHash3).
fn scramble(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}

fn first(pseudonym: [u8; 16]) -> u64 {
    WorkloadId::of(pseudonym).0.cast_unsigned()
}
