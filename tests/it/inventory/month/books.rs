//! The books: what each call costs, by figures that were written down here and nowhere else.

use std::collections::HashMap;

use offpeak::domain::record::CallRecord;

use super::HOUR;
use super::job::BYTES;

/// Nano-dollars for a token: input, answer, written to the cache for an hour, read from it; and the shortest prefix
/// that is cached.
const PRICES: [(&str, [u64; 5]); 4] = [
    ("claude-haiku-5-5", [100, 500, 200, 10, 512]),
    ("claude-haiku-4-5", [1_000, 5_000, 2_000, 100, 4_096]),
    ("claude-sonnet-5-5", [2_000, 10_000, 4_000, 100, 512]),
    ("claude-opus-5-5", [4_000, 20_000, 8_000, 200, 512]),
];

/// What a month comes to, in nano-dollars.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Books {
    /// At live prices.
    pub(crate) live: u64,
    /// Saved in batches.
    pub(crate) saved: u64,
    /// Saved in batches whose first call of an hour writes the prefix, and whose others read it.
    pub(crate) saved_cached: u64,
}

impl Books {
    pub(super) fn of(calls: &[CallRecord]) -> Self {
        let mut books = Self::default();
        let mut used: HashMap<(u64, u64), i64> = HashMap::new();
        for call in calls {
            let [input, answer, write, read, shortest] = prices(&call.model);
            let at = call.at.as_millis();
            let fixed = call.tokens.output * answer + call.tokens.cache_read * read;
            let live = call.tokens.input * input + fixed;
            let fees = call.fees.0 as u64;
            let prefix = if call.tokens.cache_read > 0 { 0 } else { call.prefix_bytes / BYTES };
            let before = used.insert((call.system_hash, call.tools_hash), at);
            let warm = before.is_some_and(|before| at - before <= HOUR);
            let of_prefix = match warm {
                _ if prefix < shortest => input,
                true => read,
                false => write,
            };
            let cached = (call.tokens.input - prefix) * input + prefix * of_prefix + fixed;
            books.live += live + fees;
            if call.blocked_by.is_none() {
                books.saved += live / 2;
                books.saved_cached += live - cached.div_ceil(2).min(live);
            }
        }
        books.saved_cached = books.saved_cached.max(books.saved);
        books
    }
}

fn prices(model: &str) -> [u64; 5] {
    PRICES.iter().find(|(name, _)| *name == model).unwrap().1
}
