//! Collecting calls into workloads, one after the other, in memory that their number does not move: sums, hours and a
//! bounded sample for each workload.

use std::collections::{BTreeMap, HashMap};

use crate::clock::Timestamp;
use crate::domain::money::NanoUsd;
use crate::domain::price::{PriceTable, Tier};
use crate::domain::record::{CallRecord, Way};
use crate::domain::tally::SLOWLY_MILLIS;
use crate::domain::usage::{Billed, Pass, Tokens, Usage};
use crate::inventory::sampling::Sampling;
use crate::inventory::workload::{Blocked, Hour, ModelSums, Profile, Share, Sums, Window, Workload};

/// What is in the way of a fee that batches do not halve, such as that for searching the web.
const FEE: &str = "fee";

const HOUR_MILLIS: i64 = 3_600_000;

/// So many workloads are kept apart; an export whose calls do not name theirs alike must not fill the memory.
const WORKLOADS_MAX: usize = 1_000;
/// The workload of all calls beyond that.
const OTHERS: &str = "all-others";
/// So many values of one kind are kept for each workload; a rule that named more would be of no use.
const SHARES_MAX: usize = 16;
/// A window shorter than this is stretched to it: what a minute's calls would cost in a month says nothing.
const WINDOW_MIN_MILLIS: i64 = 86_400_000;

/// Takes calls, in any order, and gives workloads.
pub struct Collector<'a> {
    prices: &'a PriceTable,
    now: Timestamp,
    workloads: HashMap<String, Tally>,
    /// The first call and the last.
    seen: Option<(Timestamp, Timestamp)>,
}

/// Tokens of many calls at once, as the provider's own exports have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSum {
    /// When the time that they belong to begins.
    pub from: Timestamp,
    /// When it ends.
    pub to: Timestamp,
    /// Whose they are, under the name that the export gives.
    pub tenant: String,
    /// The workload.
    pub workload: String,
    /// The model.
    pub model: String,
    /// The tokens.
    pub tokens: Tokens,
    /// Whether they were served in batches.
    pub batch: bool,
    /// What the export says that they cost, where it has no tokens.
    pub stated: Option<NanoUsd>,
    /// Whether it is a fee that a batch does not halve.
    pub is_fee: bool,
}

impl<'a> Collector<'a> {
    /// A collector that prices calls as of `now`.
    pub fn new(prices: &'a PriceTable, now: Timestamp) -> Self {
        Self { prices, now, workloads: HashMap::new(), seen: None }
    }

    /// Takes a call that another program has recorded. What that says of its cost counts where the model has no price.
    pub fn add_imported(&mut self, call: &CallRecord, stated: Option<NanoUsd>) {
        let price = self.price(call).or(stated.map(|stated| (stated, stated)));
        self.look(call.at, call.at);
        let tally = self.tally(&call.workload);
        tally.profile.is_imported = true;
        tally.add(call, price);
    }

    /// Takes one call.
    pub fn add(&mut self, call: &CallRecord) {
        let price = self.price(call);
        self.look(call.at, call.at);
        self.tally(&call.workload).add(call, price);
    }

    /// Takes a sum of calls.
    pub fn add_sum(&mut self, sum: &UsageSum) {
        let price = |tier| cost_of_sum(self.prices, &sum.model, &sum.tokens, tier, self.now);
        let cost = match sum.stated {
            // In batches half is paid.
            Some(stated) if sum.batch => Some((stated, NanoUsd(stated.0.saturating_mul(2)))),
            Some(stated) => Some((stated, stated)),
            None => price(if sum.batch { Tier::Batch } else { Tier::Live }).zip(price(Tier::Live)),
        };
        self.look(sum.from, Timestamp::from_millis(sum.to.as_millis() - 1));
        self.tally(&sum.workload).add_sum(sum, cost);
    }

    /// Remembers how a workload's system prompt begins.
    pub fn add_system_prefix(&mut self, workload: &str, prefix: &str) {
        self.tally(workload).profile.system_prefix.get_or_insert_with(|| prefix.to_owned());
    }

    /// The workloads over `window`, or over the time from the first call to the last.
    pub fn finish(self, window: Option<Window>) -> Vec<Workload> {
        let Some(window) = window.or_else(|| self.seen.map(|(first, last)| around(first, last))) else {
            return Vec::new();
        };
        self.workloads.into_values().map(|tally| tally.finish(window)).collect()
    }

    fn tally(&mut self, workload: &str) -> &mut Tally {
        let known = self.workloads.contains_key(workload) || self.workloads.len() < WORKLOADS_MAX;
        let workload = if known { workload } else { OTHERS };
        self.workloads.entry(workload.to_owned()).or_insert_with(|| Tally::new(workload))
    }

    fn look(&mut self, first: Timestamp, last: Timestamp) {
        let (from, to) = self.seen.unwrap_or((first, last));
        self.seen = Some((from.min(first), to.max(last)));
    }

    /// What a call cost and what it would have cost live, at the prices of now. Surcharges that only the record knows of
    /// keep their part in it, and fees stay as they were.
    fn price(&self, call: &CallRecord) -> Option<(NanoUsd, NanoUsd)> {
        let usage = Usage { passes: vec![Pass { model: None, tokens: call.tokens }], ..Usage::default() };
        let billed = Billed { model: call.model.clone(), usage };
        let of_tokens = |tier, at| self.prices.cost(&billed, tier, at);
        let tier = if call.way == Way::Batch { Tier::Batch } else { Tier::Live };
        let now = of_tokens(Tier::Live, self.now);
        let Some((paid, live)) = call.cost else {
            return of_tokens(tier, self.now).zip(now).map(|(paid, live)| (paid + call.fees, live + call.fees));
        };
        match (of_tokens(Tier::Live, call.at), now) {
            (Some(then), Some(now)) if then != now && then.0 > 0 => {
                let moved = |amount: NanoUsd| scaled(amount - call.fees, now.0, then.0) + call.fees;
                Some((moved(paid), moved(live)))
            }
            _ => Some((paid, live)),
        }
    }
}

/// What the tokens of many calls cost together: the price of a prompt so short that no threshold is in its way, as
/// often as it takes.
fn cost_of_sum(prices: &PriceTable, model: &str, tokens: &Tokens, tier: Tier, at: Timestamp) -> Option<NanoUsd> {
    /// Well below the smallest threshold of any model.
    const SHORT: u64 = 50_000;
    let parts = tokens.prompt() / SHORT + 1;
    let each = |part: fn(u64, u64) -> u64| Tokens {
        input: part(tokens.input, parts),
        output: part(tokens.output, parts),
        cache_write_5m: part(tokens.cache_write_5m, parts),
        cache_write_1h: part(tokens.cache_write_1h, parts),
        cache_read: part(tokens.cache_read, parts),
    };
    let cost = |tokens| {
        let usage = Usage { passes: vec![Pass { model: None, tokens }], ..Usage::default() };
        prices.cost(&Billed { model: model.to_owned(), usage }, tier, at)
    };
    let whole = i64::try_from(parts).ok()?.checked_mul(cost(each(|tokens, parts| tokens / parts))?.0)?;
    Some(NanoUsd(whole) + cost(each(|tokens, parts| tokens % parts))?)
}

fn scaled(amount: NanoUsd, by: i64, of: i64) -> NanoUsd {
    let exact = (i128::from(amount.0) * i128::from(by) + i128::from(of) / 2) / i128::from(of);
    NanoUsd(i64::try_from(exact).unwrap_or(i64::MAX))
}

/// The whole hours around two instants, a day at least.
fn around(first: Timestamp, last: Timestamp) -> Window {
    let from = first.as_millis().div_euclid(HOUR_MILLIS) * HOUR_MILLIS;
    let to = (last.as_millis().div_euclid(HOUR_MILLIS) + 1) * HOUR_MILLIS;
    Window { from: Timestamp::from_millis(from), to: Timestamp::from_millis(to.max(from + WINDOW_MIN_MILLIS)) }
}

/// One workload as far as it has come.
struct Tally {
    profile: Profile,
    tools: Option<(u32, u32)>,
    sums: Sums,
    hours: BTreeMap<i64, u64>,
    sampling: Sampling,
}

impl Tally {
    fn new(workload: &str) -> Self {
        Self {
            profile: Profile { workload: workload.to_owned(), ..Profile::default() },
            tools: None,
            sums: Sums::default(),
            hours: BTreeMap::new(),
            sampling: Sampling::new(workload),
        }
    }

    fn add(&mut self, call: &CallRecord, price: Option<(NanoUsd, NanoUsd)>) {
        let sums = &mut self.sums;
        sums.calls += 1;
        sums.failed += u64::from(call.status >= 400 || call.way == Way::None);
        sums.batched += u64::from(call.way == Way::Batch);
        sums.streamed += u64::from(call.stream);
        sums.hung_up += u64::from(call.hung_up);
        sums.retried += u64::from(call.retries > 0);
        sums.tool_turns += u64::from(call.tool_turn);
        sums.tool_stops += u64::from(call.tool_stop);
        sums.slowly_read += u64::from(call.reader_wait_ms >= SLOWLY_MILLIS);
        sums.reader_wait_ms += call.reader_wait_ms;
        sums.duration_ms += call.duration_ms;
        self.add_money(price, call.way != Way::Batch, call.blocked_by.as_deref());
        if call.way != Way::Batch && call.blocked_by.is_none() {
            self.sums.fees += call.fees;
        }
        self.add_tokens(&call.model, &call.tokens, 1);
        let (fewest, most) = self.tools.unwrap_or((call.tools, call.tools));
        self.tools = Some((fewest.min(call.tools), most.max(call.tools)));
        note(&mut self.profile.tenants, &call.tenant, 1);
        note(&mut self.profile.models, &call.model, 1);
        note(&mut self.profile.clients, &call.client, 1);
        *self.hours.entry(call.at.as_millis().div_euclid(HOUR_MILLIS)).or_default() += 1;
        self.sampling.add(call);
    }

    fn add_sum(&mut self, sum: &UsageSum, price: Option<(NanoUsd, NanoUsd)>) {
        self.profile.is_imported = true;
        self.add_money(price, !sum.batch, sum.is_fee.then_some(FEE));
        self.add_tokens(&sum.model, &sum.tokens, 0);
        note(&mut self.profile.tenants, &sum.tenant, 0);
        note(&mut self.profile.models, &sum.model, 0);
    }

    fn add_money(&mut self, price: Option<(NanoUsd, NanoUsd)>, served_live: bool, blocked_by: Option<&str>) {
        let sums = &mut self.sums;
        sums.unpriced += u64::from(price.is_none());
        let (paid, live) = price.unwrap_or_default();
        sums.paid += paid;
        sums.live_price += live;
        if served_live {
            sums.served_live_price += live;
        }
        let Some(reason) = blocked_by else { return };
        let fresh = || Blocked { reason: reason.to_owned(), calls: 0, live_price: NanoUsd(0) };
        if let Some(one) = entry(&mut sums.blocked, |one| one.reason == reason, fresh) {
            one.calls += 1;
            one.live_price += live;
        }
    }

    fn add_tokens(&mut self, model: &str, tokens: &Tokens, calls: u64) {
        let sums = &mut self.sums;
        sums.tokens = sums.tokens.plus(tokens);
        let fresh = || ModelSums { model: model.to_owned(), calls: 0, tokens: Tokens::default() };
        if let Some(of_model) = entry(&mut sums.models, |sums| sums.model == model, fresh) {
            of_model.calls += calls;
            of_model.tokens = of_model.tokens.plus(tokens);
        }
    }

    fn finish(mut self, window: Window) -> Workload {
        self.sums.models.sort_by_key(|sums| std::cmp::Reverse(sums.calls));
        for shares in [&mut self.profile.tenants, &mut self.profile.models, &mut self.profile.clients] {
            shares.sort_by_key(|share| std::cmp::Reverse(share.calls));
        }
        self.profile.tools = self.tools.unwrap_or_default();
        let hour = |(hour, calls)| Hour { at: Timestamp::from_millis(hour * HOUR_MILLIS), calls };
        Workload {
            profile: self.profile,
            window,
            sums: self.sums,
            hours: self.hours.into_iter().map(hour).collect(),
            sample: self.sampling.finish(),
        }
    }
}

fn note(shares: &mut Vec<Share>, name: &str, calls: u64) {
    if name.is_empty() {
        return;
    }
    let fresh = || Share { name: name.to_owned(), calls: 0 };
    if let Some(share) = entry(shares, |share| share.name == name, fresh) {
        share.calls += calls;
    }
}

/// The entry of a short list that fits, or a fresh one while there is room.
fn entry<T>(list: &mut Vec<T>, fits: impl Fn(&T) -> bool, fresh: impl FnOnce() -> T) -> Option<&mut T> {
    match list.iter().position(fits) {
        Some(place) => list.get_mut(place),
        None if list.len() < SHARES_MAX => Some(list.push_mut(fresh())),
        None => None,
    }
}
