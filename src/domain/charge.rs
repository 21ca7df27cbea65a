//! Charges: what live calls took and cost, added up by the hour and apart for all that a price depends on, so that the
//! sums can be priced again as exactly as the calls.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::domain::money::NanoUsd;
use crate::domain::price::PriceTable;
use crate::domain::tally::{Recorded, whole};
use crate::domain::usage::{Billed, Tokens, Usage};
use crate::domain::workload::WorkloadId;

const HOUR_MILLIS: i64 = 3_600_000;

/// What one pass of a live call took and cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// What its price depends on.
    pub terms: Terms,
    /// Whether it is the pass of the call itself, by which calls are counted.
    pub is_call: bool,
    /// Whether what it took went unread.
    pub is_unread: bool,
    /// What it took.
    pub tokens: Tokens,
    /// Web searches of the call.
    pub web_searches: u64,
    /// What it cost, and what it would have cost without caching; none without a known price.
    pub price: Option<(NanoUsd, NanoUsd)>,
}

/// What a price depends on, beside the time and the tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Terms {
    /// The model that answered.
    pub model: String,
    /// The model of a pass that another one served; empty for the call's own.
    pub pass_model: String,
    /// Whether it was bound to run in the United States.
    pub us_only: bool,
    /// Whether it ran in fast mode.
    pub fast: bool,
    /// Its prompt was longer than so many tokens, from which on another price holds; 0 for the usual one.
    pub prompt_above: u64,
}

/// Which charges a sum is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChargeKey {
    /// When their hour began.
    pub hour: Timestamp,
    /// Their workload.
    pub workload: WorkloadId,
    /// What their price depends on.
    pub terms: Terms,
}

/// What charges add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChargeSum {
    /// The calls.
    pub calls: u64,
    /// Those that went unread, so that what they took is not known.
    pub unread: u64,
    /// Passes without a known price, which are in neither amount.
    pub unpriced: u64,
    /// What they took.
    pub tokens: Tokens,
    /// Web searches.
    pub web_searches: u64,
    /// What they cost.
    pub paid: NanoUsd,
    /// What they would have cost without caching.
    pub uncached: NanoUsd,
}

impl Charge {
    /// The charges of a call, one for each of its passes; what comes of rounding the call's price once is on the first.
    pub fn of(billed: &Billed, prices: &PriceTable, at: Timestamp) -> Vec<Self> {
        let price = |billed: &Billed| prices.live(billed, at).map(|price| (price.live, price.uncached));
        let alone = |passes: &[_], web_searches| {
            let usage = Usage { passes: passes.to_vec(), web_searches, ..billed.usage.clone() };
            Billed { model: billed.model.clone(), usage }
        };
        let mut charges = Vec::with_capacity(billed.usage.passes.len());
        for (index, pass) in billed.usage.passes.iter().enumerate() {
            let pass_model = pass.model.clone().unwrap_or_default();
            let served = if pass_model.is_empty() { &billed.model } else { &pass_model };
            let web_searches = if index == 0 { billed.usage.web_searches } else { 0 };
            charges.push(Self {
                terms: Terms {
                    prompt_above: prices.threshold(served, pass.tokens.prompt(), at),
                    model: billed.model.clone(),
                    pass_model,
                    us_only: billed.usage.us_only,
                    fast: billed.usage.fast,
                },
                is_call: index == 0,
                is_unread: false,
                tokens: pass.tokens,
                web_searches,
                price: price(&alone(std::slice::from_ref(pass), web_searches)),
            });
        }
        if let ([first, rest @ ..], Some(whole)) = (charges.as_mut_slice(), price(billed)) {
            let rest = rest.iter().filter_map(|charge| charge.price);
            let (paid, uncached) = rest.fold((NanoUsd::ZERO, NanoUsd::ZERO), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            first.price = Some((whole.0 - paid, whole.1 - uncached));
        }
        charges
    }

    /// The charge of a call of which it is not known what it took.
    pub fn unread(model: String) -> Self {
        Self { terms: Terms { model, ..Terms::default() }, is_call: true, is_unread: true, ..Self::default() }
    }
}

impl ChargeKey {
    /// What a sum of such charges costs by a table, and what it would cost without caching.
    pub fn price(&self, sum: &ChargeSum, prices: &PriceTable) -> Option<(NanoUsd, NanoUsd)> {
        let Terms { model, pass_model, us_only, fast, prompt_above } = &self.terms;
        let pass_model = Some(pass_model.clone()).filter(|model| !model.is_empty());
        let price = |tokens: Tokens| {
            let pass = crate::domain::usage::Pass { model: pass_model.clone(), tokens };
            let usage = Usage { passes: vec![pass], web_searches: sum.web_searches, us_only: *us_only, fast: *fast };
            prices.cost_of_many(&Billed { model: model.clone(), usage }, *prompt_above, self.hour)
        };
        let afresh = Tokens { input: sum.tokens.prompt(), output: sum.tokens.output, ..Tokens::default() };
        Some((price(sum.tokens)?, price(afresh)?))
    }
}

impl ChargeSum {
    fn add(&mut self, charge: &Charge) {
        let one = u64::from;
        self.calls += one(charge.is_call);
        self.unread += one(charge.is_unread);
        self.unpriced += one(charge.price.is_none() && !charge.is_unread);
        // A provider that says nonsense must not make a sum overflow.
        let sane = |count: u64| whole(count).unsigned_abs();
        let Tokens { input, output, cache_write_5m, cache_write_1h, cache_read } = charge.tokens;
        self.tokens = self.tokens.plus(&Tokens {
            input: sane(input),
            output: sane(output),
            cache_write_5m: sane(cache_write_5m),
            cache_write_1h: sane(cache_write_1h),
            cache_read: sane(cache_read),
        });
        self.web_searches += sane(charge.web_searches);
        let (paid, uncached) = charge.price.unwrap_or_default();
        self.paid += paid;
        self.uncached += uncached;
    }
}

/// Adds the charges of calls up, always in the same order.
pub fn charges<'a>(calls: impl IntoIterator<Item = &'a Recorded>) -> BTreeMap<ChargeKey, ChargeSum> {
    let mut sums: BTreeMap<ChargeKey, ChargeSum> = BTreeMap::new();
    for call in calls {
        let at = call.record.at.as_millis();
        let hour = Timestamp::from_millis(at - at.rem_euclid(HOUR_MILLIS));
        for charge in &call.charges {
            let key = ChargeKey { hour, workload: call.workload, terms: charge.terms.clone() };
            sums.entry(key).or_default().add(charge);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::CallRecord;

    fn at() -> Timestamp {
        Timestamp::parse_rfc3339("2026-11-20T12:34:56Z").unwrap()
    }

    fn call(usage: &str) -> Recorded {
        let prices = PriceTable::built_in().unwrap();
        let billed = Billed::read(&format!(r#"{{"model":"claude-haiku-5-5","usage":{usage}}}"#)).unwrap();
        let record = CallRecord { at: at(), ..CallRecord::default() };
        let charges = Charge::of(&billed, &prices, at());
        Recorded { record, id: 1, workload: WorkloadId(7), is_unread: false, charges }
    }

    const USAGES: [&str; 6] = [
        r#"{"input_tokens":1001,"cache_read_input_tokens":3,"output_tokens":17}"#,
        r#"{"input_tokens":1,"cache_read_input_tokens":1,"output_tokens":1,"inference_geo":"us"}"#,
        r#"{"input_tokens":100001,"output_tokens":3,"inference_geo":"us"}"#,
        r#"{"input_tokens":20,"output_tokens":3,"server_tool_use":{"web_search_requests":2}}"#,
        r#"{"input_tokens":20,"output_tokens":3,"inference_geo":"us","iterations":[
            {"type":"advisor_message","model":"claude-opus-5-5","input_tokens":7,"output_tokens":5},
            {"type":"compaction","input_tokens":150001,"output_tokens":5}]}"#,
        r#"{"input_tokens":20,"iterations":[{"type":"advisor_message","model":"claude-nobody","input_tokens":7}]}"#,
    ];

    #[test]
    fn sums_are_those_of_the_calls_to_the_nano_dollar() {
        let prices = PriceTable::built_in().unwrap();
        let calls: Vec<Recorded> = USAGES.iter().flat_map(|usage| [call(usage), call(usage)]).collect();
        let sums = charges(&calls);
        let all = sums.values().fold(ChargeSum::default(), |mut all, sum| {
            (all.calls, all.unpriced) = (all.calls + sum.calls, all.unpriced + sum.unpriced);
            (all.paid, all.uncached) = (all.paid + sum.paid, all.uncached + sum.uncached);
            all
        });
        let price = |usage: &str| {
            let billed = Billed::read(&format!(r#"{{"model":"claude-haiku-5-5","usage":{usage}}}"#)).unwrap();
            prices.live(&billed, at()).unwrap()
        };
        let priced = &USAGES[..5];
        let (live, uncached) = priced
            .iter()
            .map(|usage| price(usage))
            .fold((0, 0), |sum, price| (sum.0 + 2 * price.live.0, sum.1 + 2 * price.uncached.0));
        // Of the last one only the pass without a price is not in the sums.
        let own = 2 * 20 * 100;
        assert_eq!((all.calls, all.unpriced), (12, 2));
        assert_eq!((all.paid.0, all.uncached.0), (live + own, uncached + own));
    }

    #[test]
    fn a_sum_is_priced_again_as_its_calls_would_be() {
        let calls: Vec<Recorded> = USAGES.iter().flat_map(|usage| [call(usage), call(usage)]).collect();
        let sums = charges(&calls);
        // Plain, in the United States, there with a long prompt, and the passes of two advisors.
        assert_eq!(sums.len(), 5);
        for (key, sum) in &sums {
            let again = key.price(sum, &PriceTable::built_in().unwrap());
            if key.terms.pass_model == "claude-nobody" {
                assert_eq!((again, sum.unpriced), (None, 2));
                continue;
            }
            // Each call was rounded, and the sum is rounded once.
            let (paid, uncached) = again.unwrap();
            let off = [(paid, sum.paid), (uncached, sum.uncached)].map(|(a, b)| (a.0 - b.0).unsigned_abs());
            assert!(off.iter().all(|off| *off <= 4), "{key:?} {off:?}");
        }
        let half = PriceTable::with_own("[[discount]]\nmodel = [\"*\"]\npercent_off = 50\n").unwrap();
        let (key, sum) = sums.iter().find(|(key, _)| key.terms.prompt_above > 0).unwrap();
        let (paid, _) = key.price(sum, &half).unwrap();
        assert!((paid.0 * 2 - sum.paid.0).abs() <= 4);
    }

    #[test]
    fn what_went_unread_is_counted() {
        let mut unread = call(USAGES[0]);
        unread.charges = vec![Charge::unread("claude-haiku-5-5".into())];
        let sums = charges(&[unread, call(USAGES[0])]);
        assert_eq!(sums.len(), 1);
        let sum = sums.values().next().unwrap();
        assert_eq!((sum.calls, sum.unread, sum.unpriced), (2, 1, 0));
    }
}
