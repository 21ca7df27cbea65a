//! What can be cached: the shortest prefix that a model's cache takes.

/// By the beginning of the model's name; the longest that fits holds. Shorter prefixes are silently not cached.
const MINIMA: [(&str, u64); 14] = [
    ("claude-fable-5", 512),
    ("claude-mythos-5", 512),
    ("claude-mythos-preview", 2_048),
    ("claude-opus-5", 512),
    ("claude-opus-4-8", 1_024),
    ("claude-opus-4-7", 2_048),
    ("claude-opus-4-6", 4_096),
    ("claude-opus-4-5", 4_096),
    ("claude-sonnet-5-5", 512),
    ("claude-sonnet-5", 1_024),
    ("claude-sonnet-4-6", 1_024),
    ("claude-sonnet-4-5", 1_024),
    ("claude-haiku-5-5", 512),
    ("claude-haiku-4-5", 4_096),
];

/// What holds for a model that is not known: the most that any has asked for.
const UNKNOWN: u64 = 4_096;

/// The fewest tokens that a prefix must have for `model` to cache it.
pub fn minimum_tokens(model: &str) -> u64 {
    let fitting = MINIMA.iter().filter(|(begin, _)| model.starts_with(begin));
    fitting.max_by_key(|(begin, _)| begin.len()).map_or(UNKNOWN, |(_, tokens)| *tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_holds() {
        for (model, tokens) in [
            ("claude-sonnet-5", 1_024),
            ("claude-sonnet-5-5", 512),
            ("claude-opus-5-5", 512),
            ("claude-haiku-4-5-20251001", 4_096),
            ("claude-fable-5-2", 512),
            ("claude-nobody", 4_096),
        ] {
            assert_eq!(minimum_tokens(model), tokens, "{model}");
        }
    }
}
