//! The vault: seals bytes at rest, and gives stable names to what must not be named.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use thiserror::Error;

use super::{MASK, MasterKey};

/// First byte of all that is sealed, so that another way of sealing can be told from this one.
const VERSION: u8 = 1;

/// Random for each sealing: at 24 bytes two never meet, however much is sealed and by however many replicas.
const NONCE_BYTES: usize = 24;

/// Length of a pseudonym: as long as a UUID, far too long to meet another by chance.
const PSEUDONYM_BYTES: usize = 16;

/// Seals and opens with keys derived from the master key.
#[derive(Clone)]
pub struct Vault {
    cipher: XChaCha20Poly1305,
    pseudonyms: Hmac<Sha256>,
    webhook_key: [u8; 32],
}

/// What was to be opened was sealed by another key, for another place, or is damaged.
#[derive(Debug, Error)]
#[error("sealed with another master key, moved from its place, or damaged")]
pub struct OpenError;

impl Vault {
    /// Derives a key for each purpose, so that what one gives away tells nothing about the other.
    pub fn new(master: &MasterKey) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(&derive::<32>(master, b"offpeak seal 1").into()),
            pseudonyms: Hmac::new(&derive::<64>(master, b"offpeak pseudonym 1").into()),
            webhook_key: derive(master, b"offpeak webhook 1"),
        }
    }

    /// Seals `plaintext`; it opens only with the same `aad`, which says where it belongs.
    #[expect(clippy::expect_used, reason = "the cipher refuses only what is longer than 256 GB")]
    pub fn seal(&self, plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: plaintext, aad };
        let ciphertext = self.cipher.encrypt(&XNonce::from(nonce), payload).expect("far below 256 GB");
        [&[VERSION], nonce.as_slice(), &ciphertext].concat()
    }

    /// Opens what [`Vault::seal`] sealed with the same `aad`.
    pub fn open(&self, sealed: &[u8], aad: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (&version, rest) = sealed.split_first().ok_or(OpenError)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError)?;
        if version != VERSION {
            return Err(OpenError);
        }
        self.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: ciphertext, aad }).map_err(|_| OpenError)
    }

    /// What webhooks are signed with where the operator gives no secret; the same after a restart and on every replica.
    pub fn webhook_key(&self) -> &[u8; 32] {
        &self.webhook_key
    }

    /// A stable name for `data` that cannot be traced back to it; names under different labels have nothing in common.
    pub fn pseudonym(&self, label: &str, data: &[u8]) -> [u8; PSEUDONYM_BYTES] {
        let mut mac = self.pseudonyms.clone();
        // With its length in front, no label can be continued by the data into another label.
        mac.update(&(label.len() as u64).to_be_bytes());
        mac.update(label.as_bytes());
        mac.update(data);
        let full: [u8; 32] = mac.finalize().into_bytes().into();
        std::array::from_fn(|index| full[index])
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

#[expect(clippy::expect_used, reason = "at start-up, and HKDF refuses only what is longer than 255 hashes")]
fn derive<const BYTES: usize>(master: &MasterKey, purpose: &[u8]) -> [u8; BYTES] {
    let mut key = [0; BYTES];
    Hkdf::<Sha256>::new(None, master.as_bytes()).expand(purpose, &mut key).expect("at most two hashes long");
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A vault that is the same in every run.
    fn vault() -> Vault {
        Vault::new(&MasterKey::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap())
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_in_its_place_only(plaintext: Vec<u8>, aad: Vec<u8>, other: Vec<u8>) {
            let vault = vault();
            let sealed = vault.seal(&plaintext, &aad);
            prop_assert_eq!(vault.open(&sealed, &aad).unwrap(), plaintext);
            prop_assert_eq!(vault.open(&sealed, &other).is_ok(), aad == other);
        }

        #[test]
        fn one_changed_bit_spoils_it(plaintext: Vec<u8>, place: prop::sample::Index, bit in 0..8u8) {
            let vault = vault();
            let mut sealed = vault.seal(&plaintext, b"");
            let place = place.index(sealed.len());
            sealed[place] ^= 1 << bit;
            prop_assert!(vault.open(&sealed, b"").is_err());
        }
    }

    #[test]
    fn sealing_twice_gives_two_texts_and_neither_shows_the_plaintext() {
        let vault = vault();
        let (first, second) = (vault.seal(b"sk-ant-123", b""), vault.seal(b"sk-ant-123", b""));
        assert_ne!(first, second);
        assert!(!first.windows(6).any(|window| window == b"sk-ant"));
    }

    #[test]
    fn another_master_key_opens_nothing() {
        let sealed = vault().seal(b"text", b"");
        assert!(Vault::new(&MasterKey::random()).open(&sealed, b"").is_err());
        for cut in 0..sealed.len() {
            assert!(vault().open(&sealed[..cut], b"").is_err(), "cut to {cut} bytes");
        }
    }

    #[test]
    fn pseudonyms_are_stable_and_separate() {
        let name = |label, data: &str| vault().pseudonym(label, data.as_bytes());
        // Computed outside, from RFC 5869 and RFC 2104: a change of this value orphans every tenant's deferrals.
        assert_eq!(u128::from_be_bytes(name("tenant", "sk-ant-123")), PINNED);
        assert_ne!(name("tenant", "sk-ant-123"), name("tenant", "sk-ant-124"));
        assert_ne!(name("tenant", "sk-ant-123"), name("lane", "sk-ant-123"));
        assert_ne!(name("tenant", "sk"), name("tenants", "k"));
    }

    #[test]
    fn the_key_of_webhooks_is_stable() {
        // Computed outside, from RFC 5869: with another value receivers take webhooks for forged ones.
        let hex: String = vault().webhook_key().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "7955c5e7dca5de86130d73bd33750fd37da268b36c0337df29eb9e8f3a8651a8");
    }

    const PINNED: u128 = 0x9327_0c61_6602_2b3b_2f0a_2c81_f5a8_261f;
}
