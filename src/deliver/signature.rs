//! Signatures of webhooks, as Standard Webhooks has them: by one a receiver tells what is ours, and from when.

use std::fmt;
use std::ops::RangeInclusive;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::clock::Timestamp;
use crate::domain::id::DeliveryId;
use crate::secret::MASK;

/// How secrets begin.
const PREFIX: &str = "whsec_";

/// How long secrets are, in bytes: shorter ones could be guessed, and longer ones are hashed first, which adds nothing.
const KEY_BYTES: RangeInclusive<usize> = 24..=64;

/// What HMAC-SHA256 works on; shorter keys are filled up with zeros.
const BLOCK_BYTES: usize = 64;

/// What a secret may look like, and how one is made, for error texts.
pub const KEY_FORM: &str =
    "whsec_ and 24 to 64 random bytes in base64; `echo whsec_$(openssl rand -base64 32)` makes such a secret";

/// A key that webhooks are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey([u8; BLOCK_BYTES]);

impl SigningKey {
    /// Reads a secret as receivers are given it.
    pub fn parse(text: &str) -> Option<Self> {
        let key = BASE64_STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        KEY_BYTES.contains(&key.len()).then(|| Self::filled_up(&key))
    }

    /// The key with these bytes.
    pub fn of(key: &[u8; 32]) -> Self {
        Self::filled_up(key)
    }

    fn filled_up(key: &[u8]) -> Self {
        let mut block = [0; BLOCK_BYTES];
        block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        Self(block)
    }

    fn sign(&self, id: DeliveryId, seconds: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new(&self.0.into());
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// The time in the header `webhook-timestamp`.
pub(super) fn timestamp(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1_000)
}

/// The text of the header `webhook-signature`: a signature by each key, in their order.
pub(super) fn signatures(keys: &[SigningKey], id: DeliveryId, at: Timestamp, body: &[u8]) -> String {
    let all: Vec<_> = keys.iter().map(|key| key.sign(id, timestamp(at), body)).collect();
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: DeliveryId = DeliveryId(uuid::Uuid::nil());

    fn signed(secrets: &[&str]) -> String {
        let keys: Vec<_> = secrets.iter().map(|text| SigningKey::parse(text).unwrap()).collect();
        signatures(&keys, ID, Timestamp::from_millis(1_614_265_330_999), br#"{"test": 2432232314}"#)
    }

    #[test]
    fn a_signature_is_what_others_compute() {
        // Computed elsewhere over the same id, second and body.
        const FIRST: &str = "v1,S9vInuS+dZ2L48kcdS0A+6ECGHToHI/zAzaoKi4k1Ds=";
        const SECOND: &str = "v1,UOMhdwV8WZFoUns0CQm8I9xx7C/rG4QUVlM0tcplbQ0=";
        let (first, second) =
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        assert_eq!(signed(&[first]), FIRST);
        assert_eq!(signed(&[second]), SECOND);
        assert_eq!(signed(&[second, first]), format!("{SECOND} {FIRST}"));
    }

    #[test]
    fn a_secret_has_its_form_and_its_length() {
        let of = |bytes: usize| format!("whsec_{}", BASE64_STANDARD.encode(vec![7; bytes]));
        for right in [24, 32, 64] {
            assert!(SigningKey::parse(&of(right)).is_some(), "{right}");
        }
        assert_eq!(SigningKey::parse(&of(32)), Some(SigningKey::of(&[7; 32])));
        for wrong in [
            &of(23),
            &of(65),
            "",
            "whsec_",
            &of(32)[6..],
            &of(32).to_uppercase(),
            "whsec_not base64 at all, not at all!",
        ] {
            assert_eq!(SigningKey::parse(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{:?}", SigningKey::of(&[7; 32])), MASK);
    }
}
