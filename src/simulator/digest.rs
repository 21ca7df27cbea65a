//! What a JSON text says, as a hash and a weight that do not see how it is written.
//!
//! White space and escapes do not count, and neither does `cache_control`, because the provider's answer does
//! not depend on it either. So a call and the batch item that was made of it get the same answer.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// How many bytes of text the stand-in counts as one token.
const BYTES_PER_TOKEN: u64 = 4;

/// A running hash over JSON texts, and how much text they hold.
#[derive(Clone, Default)]
pub(super) struct Digest {
    hash: Sha256,
    weight: u64,
}

impl Digest {
    /// Takes in a word that is not JSON, such as a member's name.
    pub(super) fn word(&mut self, word: &str) {
        self.hash.update((word.len() as u64).to_le_bytes());
        self.hash.update(word.as_bytes());
    }

    /// Takes in a JSON text. One that is nested too deeply to be read counts as it is written.
    pub(super) fn json(&mut self, raw: &RawValue) {
        let before = self.clone();
        if Feed(self).deserialize(&mut serde_json::Deserializer::from_str(raw.get())).is_err() {
            *self = before;
            self.text(raw.get());
        }
    }

    /// The hash so far.
    pub(super) fn finish(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    /// An estimate of the tokens so far.
    pub(super) fn tokens(&self) -> u64 {
        tokens_of(self.weight)
    }

    /// The bytes of text so far.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    fn text(&mut self, text: &str) {
        self.word(text);
        self.weight += text.len() as u64;
    }

    fn scalar(&mut self, tag: &[u8; 1], bytes: &[u8]) {
        self.hash.update(tag);
        self.hash.update(bytes);
    }
}

/// An estimate of the tokens of a text.
pub(super) fn tokens_of(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

/// The hash of one word, as lower-case hex digits.
pub(super) fn hex_of(word: &str) -> String {
    hex(&Sha256::digest(word.as_bytes()))
}

/// Bytes as lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

/// Reads any JSON value straight into the digest, without building it.
struct Feed<'d>(&'d mut Digest);

impl<'de> DeserializeSeed<'de> for Feed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Feed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.scalar(b"n", &[]);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.scalar(b"b", &[value.into()]);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.scalar(b"u", &value.to_le_bytes());
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.scalar(b"i", &value.to_le_bytes());
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.scalar(b"f", &value.to_le_bytes());
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.0.scalar(b"s", &[]);
        self.0.text(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.0.scalar(b"[", &[]);
        while seq.next_element_seed(Feed(self.0))?.is_some() {}
        self.0.scalar(b"]", &[]);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.scalar(b"{", &[]);
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            if key == "cache_control" {
                map.next_value::<IgnoredAny>()?;
            } else {
                self.0.word(&key);
                map.next_value_seed(Feed(self.0))?;
            }
        }
        self.0.scalar(b"}", &[]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> ([u8; 32], u64) {
        let mut digest = Digest::default();
        digest.json(serde_json::from_str(text).unwrap());
        (digest.finish(), digest.tokens())
    }

    #[test]
    fn sees_what_is_said_and_not_how() {
        let plain = of(r#"{"a":["caf\u00e9",1,null,true,-2,0.5]}"#);
        assert_eq!(plain, of("{ \"a\" : [ \"café\" , 1 , null , true , -2 , 0.5 ] }"));
        assert_eq!(plain, of(r#"{"cache_control":{"type":"ephemeral"},"a":["café",1,null,true,-2,0.5]}"#));
        for other in [r#"{"b":[1]}"#, r#"{"a":["cafe",1,null,true,-2,0.5]}"#, r#"{"a":["café",1,null,true,-2,0.25]}"#]
        {
            assert_ne!(plain.0, of(other).0, "{other}");
        }
        assert_ne!(of(r#"["a","b"]"#).0, of(r#"["ab",""]"#).0);
        assert_ne!(of(r#"[[1],2]"#).0, of(r#"[[1,2]]"#).0);
    }

    #[test]
    fn four_bytes_of_text_are_a_token() {
        assert_eq!(of(r#"{"text":"12345678","n":123456789}"#).1, 2);
        assert_eq!(of(r#""123456789""#).1, 3);
    }

    #[test]
    fn reads_texts_that_are_nested_too_deeply() {
        let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
        let mut digest = Digest::default();
        digest.json(&RawValue::from_string(deep).unwrap());
        assert_ne!(digest.finish(), Digest::default().finish());
        assert_eq!(digest.tokens(), 150);
    }
}
