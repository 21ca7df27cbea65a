//! The beginnings of a prompt, by which calls are known that share one.

use sha2::{Digest as _, Sha256};

use crate::cache_plan::prompt::Prompt;
use crate::domain::cacheable::minimum_tokens;
use crate::domain::caching::{Place, Prefix, PrefixHash, Prefixes};
use crate::domain::json;

/// Bytes that are taken for a token: most texts have four or fewer, and a beginning that turns out too short to be cached
/// would have been waited for in vain.
const BYTES_PER_TOKEN: usize = 5;

/// What stands behind the tools and the system prompt, or changes nothing of how they are cached. Whatever else a call
/// has is taken to change it.
const WITHOUT_EFFECT: [&str; 12] = [
    "messages",
    "max_tokens",
    "metadata",
    "stop_sequences",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "tool_choice",
    "service_tier",
    "cache_control",
    "diagnostics",
];

/// The beginnings of a call's prompt that its model caches and where a mark may stand.
///
/// Blanks between the parts of the text do not count, nor do marks that are there already.
pub fn prefixes(text: &str, model: &str) -> Prefixes {
    let mut found = Prefixes::default();
    let Some(prompt) = Prompt::read(text) else { return found };
    let mut reading = Reading::default();
    reading.setting(&prompt);
    let minimum = minimum_tokens(model);
    let mut note = |reading: &Reading, place: Place| {
        let tokens = reading.bytes / BYTES_PER_TOKEN;
        if tokens as u64 >= minimum && prompt.change(place).is_some() {
            let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
            found.push(Prefix { place, tokens, hash: reading.hash() });
        }
    };
    prompt.tools().for_each(|tool| reading.block(tool));
    note(&reading, Place::Tools);
    reading.hasher.update(b"system");
    for (number, block) in (0..=u8::MAX - 1).zip(prompt.system()) {
        reading.block(block);
        note(&reading, Place::System(number));
    }
    found
}

/// Reads a prompt in the order in which it is cached.
#[derive(Default)]
struct Reading {
    hasher: Sha256,
    bytes: usize,
}

impl Reading {
    /// What is no text of the prompt, and yet parts calls that would share one.
    fn setting(&mut self, prompt: &Prompt<'_>) {
        let apart = |name: &str| matches!(name, "tools" | "system") || WITHOUT_EFFECT.contains(&name);
        let mut members: Vec<_> = prompt.members.iter().filter(|member| !apart(&member.name)).collect();
        // Stable, so that of a name that stands twice the last stays last.
        members.sort_by(|one, other| one.name.cmp(&other.name));
        for member in members {
            self.hasher.update(member.name.as_bytes());
            self.hasher.update([0]);
            compact(member.value, |part| self.hasher.update(part));
        }
    }

    fn block(&mut self, block: &str) {
        let (open, close) = if block.starts_with('"') { (r#"{"type":"text","text":"#, "}") } else { ("", "") };
        let members = json::members(block).unwrap_or_default();
        let plain = json::without(block, &members, "cache_control");
        self.hasher.update(open.as_bytes());
        compact(&plain, |part| {
            self.hasher.update(part);
            self.bytes += part.len();
        });
        self.hasher.update(close.as_bytes());
    }

    fn hash(&self) -> PrefixHash {
        let digest = self.hasher.clone().finalize();
        let begin = digest.first_chunk::<8>().copied().unwrap_or_default();
        PrefixHash(i64::from_be_bytes(begin))
    }
}

/// The parts of a JSON text, without the blanks between them.
fn compact(text: &str, mut part: impl FnMut(&[u8])) {
    let bytes = text.as_bytes();
    let (mut start, mut at, mut in_string) = (0, 0, false);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => {
                part(&bytes[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    part(&bytes[start.min(bytes.len())..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "claude-haiku-5-5";

    fn hashes(text: &str) -> Vec<(Place, PrefixHash)> {
        assert!(json::is_valid(text), "{text}");
        prefixes(text, MODEL).iter().map(|prefix| (prefix.place, prefix.hash)).collect()
    }

    fn long(letter: &str) -> String {
        letter.repeat(512 * BYTES_PER_TOKEN)
    }

    #[test]
    fn calls_share_what_they_have_in_common() {
        let call = |tools: &str, blocks: &[&str], rest: &str| {
            let blocks = blocks.iter().map(|text| format!(r#"{{"type":"text","text":"{text}"}}"#));
            let blocks = blocks.collect::<Vec<_>>().join(" , ");
            hashes(&format!(r#"{{"model":"m","tools":[{{"name":"{tools}"}}],"system":[{blocks}]{rest}}}"#))
        };
        let (a, b) = (long("a"), long("b"));
        let one = call(&a, &[&b, "x"], r#","messages":[1],"max_tokens":1"#);
        let other = call(&a, &[&b, "y"], r#","messages":[2],"max_tokens":2,"tool_choice":{"type":"auto"}"#);
        assert_eq!(
            one.iter().map(|(place, _)| *place).collect::<Vec<_>>(),
            [Place::Tools, Place::System(0), Place::System(1)]
        );
        assert_eq!(one[..2], other[..2]);
        assert_ne!(one[2], other[2]);
        assert_ne!(call(&b, &[&b], "")[1], one[1], "other tools before it");
        assert_ne!(call(&a, &[&b], r#","thinking":{"type":"adaptive"}"#)[0], one[0], "another way to think");
    }

    #[test]
    fn neither_blanks_nor_marks_nor_the_short_form_count() {
        let text = long("a");
        let plain = hashes(&format!(r#"{{"model":"m","system":"{text}"}}"#));
        assert_eq!(plain.len(), 1);
        for system in [
            format!(r#"[{{"type":"text","text":"{text}"}}]"#),
            format!(r#"[ {{ "type" : "text" ,"text": "{text}","cache_control":{{"type":"ephemeral"}}}} ]"#),
        ] {
            assert_eq!(hashes(&format!("{{ \"model\" : \"m\",\n\"system\":{system}}}")), plain, "{system}");
        }
        let spaced = text.replacen("aa", "a a", 1);
        assert_ne!(hashes(&format!(r#"{{"model":"m","system":"{spaced}"}}"#)), plain);
    }

    #[test]
    fn what_is_too_short_or_cannot_be_marked_is_none() {
        let short = "a".repeat(512 * BYTES_PER_TOKEN - 10);
        assert_eq!(hashes(&format!(r#"{{"system":"{short}"}}"#)), []);
        assert_eq!(hashes(&format!(r#"{{"tools":["{}"]}}"#, long("a"))), []);
        assert_eq!(prefixes("[]", MODEL), Prefixes::default());
        assert_eq!(prefixes(&format!(r#"{{"system":"{}"}}"#, long("a")), "unknown"), Prefixes::default());
    }
}
