//! What a workload would save in a month: in batches, and in batches with what its prompts share cached.
//!
//! Money is whole nano-dollars throughout. What a month costs is what the window cost, stretched to 30 days.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::domain::cacheable;
use crate::domain::money::NanoUsd;
use crate::domain::price::{PriceTable, Tier};
use crate::domain::usage::{Billed, Pass, Tokens, Usage};
use crate::inventory::assessment::{Ineligible, Savings};
use crate::inventory::sample::{Sample, Seen};
use crate::inventory::workload::{Window, Workload};

/// A month, in milliseconds: 30 days.
const MONTH_MILLIS: i128 = 30 * 86_400_000;

/// How long a cache entry of a batch lives after its last use: an hour, since a batch may take that long.
const CACHE_MILLIS: i64 = 3_600_000;

/// What a workload would save; prices are those of `now`.
pub(super) fn savings(workload: &Workload, prices: &PriceTable, now: Timestamp) -> Savings {
    let sums = &workload.sums;
    let month = Month::of(workload.window);
    let blocked: NanoUsd = sums.blocked.iter().map(|one| one.live_price).sum();
    let movable = NanoUsd((sums.served_live_price - blocked).0.max(0));
    let of_tokens = NanoUsd((movable - sums.fees).0.max(0));
    let sampled = Sampled::of(&workload.sample, prices, now);
    let in_batch = sampled.in_batch(of_tokens);
    let cached = sampled.cached(in_batch);
    Savings {
        monthly_calls: month.calls(sums.calls),
        monthly_live: month.money(sums.live_price),
        batch: month.money(of_tokens - in_batch),
        batch_cached: month.money(of_tokens - cached),
        ineligible: sums
            .blocked
            .iter()
            .map(|one| Ineligible {
                reason: one.reason.clone(),
                monthly_calls: month.calls(one.calls),
                monthly_live: month.money(one.live_price),
            })
            .collect(),
        unpriced_calls: sums.unpriced,
    }
}

/// What a window must be stretched by to become a month.
struct Month {
    window_millis: i128,
}

impl Month {
    fn of(window: Window) -> Self {
        let millis = i128::from(window.to.as_millis()) - i128::from(window.from.as_millis());
        Self { window_millis: millis.max(1) }
    }

    fn scaled(&self, amount: i128) -> i128 {
        (amount * MONTH_MILLIS + self.window_millis / 2) / self.window_millis
    }

    fn money(&self, amount: NanoUsd) -> NanoUsd {
        NanoUsd(i64::try_from(self.scaled(i128::from(amount.0))).unwrap_or(i64::MAX))
    }

    fn calls(&self, calls: u64) -> u64 {
        u64::try_from(self.scaled(i128::from(calls))).unwrap_or(u64::MAX)
    }
}

/// What the sampled calls cost live, in batches as they are, and in batches with what they share cached.
#[derive(Default)]
struct Sampled {
    live: i128,
    batch: i128,
    cached: i128,
}

impl Sampled {
    fn of(sample: &Sample, prices: &PriceTable, now: Timestamp) -> Self {
        let mut sums = Self::default();
        // When each prefix was last used; entries are kept per model.
        let mut used: HashMap<(&str, u64), i64> = HashMap::new();
        for run in sample.runs() {
            if !sample.is_whole() {
                used.clear();
            }
            for (index, call) in run.iter().enumerate() {
                let at = call.at.as_millis();
                let before = used.insert((&*call.model, call.prefix_hash), at);
                // Who used the prefix before a sampled run began is not known.
                if index == 0 && !sample.is_whole() {
                    continue;
                }
                let warm = before.is_some_and(|before| at - before <= CACHE_MILLIS);
                sums.add(call, warm, prices, now);
            }
        }
        sums
    }

    fn add(&mut self, call: &Seen, warm: bool, prices: &PriceTable, now: Timestamp) {
        let price = |tokens, tier| {
            let usage = Usage { passes: vec![Pass { model: None, tokens }], ..Usage::default() };
            prices.cost(&Billed { model: call.model.to_string(), usage }, tier, now).map(|nano| i128::from(nano.0))
        };
        let (live, batch) = (price(call.tokens, Tier::Live), price(call.tokens, Tier::Batch));
        let cached = price(with_cache(call, warm), Tier::Batch);
        if let (Some(live), Some(batch), Some(cached)) = (live, batch, cached) {
            self.live += live;
            self.batch += batch;
            self.cached += cached;
        }
    }

    /// What costs this much live costs in batches.
    fn in_batch(&self, live: NanoUsd) -> NanoUsd {
        match self.live {
            // Sums without calls: the provider's discount.
            ..=0 => NanoUsd(live.0 - live.0 / 2),
            of => scaled(live, self.batch, of),
        }
    }

    /// What costs this much in batches costs with caching. Caching that would cost more is not done.
    fn cached(&self, in_batch: NanoUsd) -> NanoUsd {
        if self.cached >= self.batch { in_batch } else { scaled(in_batch, self.cached, self.batch) }
    }
}

fn scaled(amount: NanoUsd, by: i128, of: i128) -> NanoUsd {
    NanoUsd(i64::try_from((i128::from(amount.0) * by + of / 2) / of).unwrap_or(i64::MAX))
}

/// A call's tokens if its tools and system prompt were read from the cache, or written for those that follow.
fn with_cache(call: &Seen, warm: bool) -> Tokens {
    let Tokens { input, cache_write_5m, cache_write_1h, cache_read, .. } = call.tokens;
    let prompt = u128::from(call.tokens.prompt());
    let prefix = (prompt * u128::from(call.prefix_bytes)).checked_div(u128::from(call.request_bytes)).unwrap_or(0);
    let prefix = u64::try_from(prefix.min(prompt)).unwrap_or(0);
    if call.prefix_hash == 0 || prefix < cacheable::minimum_tokens(&call.model) {
        return call.tokens;
    }
    // What is cached already stays as it is.
    let moved = prefix.saturating_sub(cache_read + cache_write_5m + cache_write_1h).min(input);
    match warm {
        true => Tokens { input: input - moved, cache_read: cache_read + moved, ..call.tokens },
        false => Tokens { input: input - moved, cache_write_1h: cache_write_1h + moved, ..call.tokens },
    }
}
