//! Caching in batches: which queued calls are marked, who goes first with a beginning that many share, and when the rest
//! follow.
//!
//! Calls that run side by side all miss what none of them has written yet. So one goes ahead, in a batch of its own, and
//! the others leave the queue until it is over (see [`crate::cache_plan`] for when that is worth it). All of it stands in
//! rows: a replica that dies leaves nothing but calls that take their place in the queue again by themselves, when the
//! time is over for which they would have waited at most.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::cache_plan::{self, COLD_FOR, Candidate, PRIME_LIMIT, Plan, Prime, Standing, Worth};
use crate::clock::Timestamp;
use crate::crash;
use crate::domain::batch::BatchState;
use crate::domain::caching::{Place, PrefixHash};
use crate::domain::id::{BatchId, DeferralId};
use crate::domain::price::{PriceTable, Tier};
use crate::domain::usage::{Billed, Pass, Tokens, Usage};
use crate::flush::Flush;
use crate::store::{Cacheable, CachingOff, LaneId, NewPrime, OutPrime, PrimeState, StoreError};

/// What caching has gained is looked at over so long.
const WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Within so long those who read what a first call has written have been settled as well, as a rule.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(3 * 60 * 60);

/// So few marked calls say nothing.
const CALLS_MIN: i64 = 20;

/// A workload in which caching has lost goes without for so long: then what it lost is out of the window.
const OFF_FOR: Duration = WINDOW;

impl Flush {
    /// Looks what has become of the batches that are out with a beginning, and lets those go who wait for one.
    pub(super) async fn follow_primes(&self, now: Timestamp) -> Result<(), StoreError> {
        for out in self.store.primes_out().await? {
            let Some((state, until)) = standing(&out, now) else { continue };
            if self.store.prime_over(&out, state, until).await? {
                crash::point("prime.over");
                tracing::info!(batch.id = %out.batch, state = ?state, "a batch is over that was to warm the cache");
                self.judge(&out, now).await?;
            }
        }
        Ok(())
    }

    /// Switches caching off for a workload in which it loses.
    async fn judge(&self, out: &OutPrime, now: Timestamp) -> Result<(), StoreError> {
        let times = (now.minus(WINDOW), now.minus(FOLLOWED_WITHIN), now);
        let of = (out.tenant.as_str(), out.workload.as_str());
        if let Some(off) = self.store.judge_caching(of, times, CALLS_MIN, OFF_FOR).await? {
            let (workload, CachingOff { lost, calls, until, .. }) = (off.name(), &off);
            tracing::warn!(
                workload,
                lost_usd = %lost,
                calls,
                until = %until,
                "caching is switched off: it has cost more than it spared"
            );
        }
        Ok(())
    }

    /// Decides over the marks of what waits in a lane, and sends first calls ahead; says how many, and on what the rest
    /// of the lane counts.
    pub(super) async fn plan_caching(
        &self,
        lane: LaneId,
        flush_mark: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(usize, Vec<PrefixHash>), StoreError> {
        let waiting = self.store.cacheable(lane, now, self.settings.max_requests).await?;
        if waiting.is_empty() {
            return Ok((0, Vec::new()));
        }
        let off = self.store.caching_off(now).await?;
        let known = self.store.primes(lane, now).await?;
        let standings = known.iter().map(|prime| (prime.prefix, prime.into())).collect();
        let off: HashSet<(&str, Option<&str>)> =
            off.iter().map(|off| (off.tenant.as_str(), off.workload.as_deref())).collect();
        let is_on = |call: &&Cacheable| !off.contains(&(call.tenant.as_str(), call.workload.as_deref()));
        let candidates: Vec<Candidate> = waiting.iter().filter(is_on).map(|call| candidate(call, flush_mark)).collect();
        let prices = self.prices.table();
        let plan = cache_plan::plan(&candidates, &standings, |model, tokens| worth(&prices, model, tokens, now), now);
        self.carry_out(lane, &waiting, &plan, now).await
    }

    async fn carry_out(
        &self,
        lane: LaneId,
        waiting: &[Cacheable],
        plan: &Plan,
        now: Timestamp,
    ) -> Result<(usize, Vec<PrefixHash>), StoreError> {
        self.store.mark_calls(&changes(waiting, plan)).await?;
        for (prefix, until, ids) in &plan.wait {
            self.store.wait_for_prime(*prefix, *until, ids).await?;
        }
        let mut begun = 0;
        for Prime { prefix, place, first, followers } in &plan.primes {
            let until = now.plus(PRIME_LIMIT);
            let new = NewPrime { lane, prefix: *prefix, place: *place, first: *first, followers, until };
            let id = BatchId::new(now);
            if self.store.begin_prime(id, new, now).await? {
                crash::point("prime.begun");
                tracing::info!(batch.id = %id, followers = followers.len(), "a call goes ahead to warm the cache");
                begun += 1;
            }
        }
        Ok((begun, plan.ride.clone()))
    }
}

/// What is to be made of a batch that is out with a beginning; `None` as long as it is waited for.
fn standing(out: &OutPrime, now: Timestamp) -> Option<(PrimeState, Timestamp)> {
    let cold = || Some((PrimeState::Cold, now.plus(COLD_FOR)));
    let is_first = out.state == PrimeState::Sent;
    match (out.batch_state, out.sent_at, out.ended_at) {
        (Some(BatchState::Ingested), Some(sent_at), Some(ended_at)) => {
            let warm_until = cache_plan::warm_until(sent_at, ended_at);
            match out.is_cached {
                true if is_first && warm_until <= now => cold(),
                true if is_first => Some((PrimeState::Warm, warm_until)),
                true => Some((out.state, out.until.max(warm_until))),
                false if is_first => cold(),
                false => Some((out.state, out.until)),
            }
        }
        (None | Some(BatchState::Void), ..) if is_first => cold(),
        (None | Some(BatchState::Void), ..) => Some((out.state, out.until)),
        _ if is_first && out.until <= now => cold(),
        _ => None,
    }
}

fn candidate(call: &Cacheable, flush_mark: Option<Timestamp>) -> Candidate {
    Candidate {
        id: call.id,
        model: call.model.clone(),
        prefixes: call.prefixes.clone(),
        deadline: call.deadline,
        is_urgent: flush_mark.is_some_and(|mark| call.queued_at <= mark),
    }
}

impl From<&crate::store::KnownPrime> for Standing {
    fn from(known: &crate::store::KnownPrime) -> Self {
        match known.state {
            PrimeState::Sent => Self::Sent { until: known.until },
            PrimeState::Warm => Self::Warm,
            PrimeState::Cold => Self::Cold,
        }
    }
}

/// The marks that are not what they were; calls that were not planned for have none.
fn changes(waiting: &[Cacheable], plan: &Plan) -> Vec<(DeferralId, Option<Place>)> {
    let marks: HashMap<DeferralId, Option<Place>> = plan.go.iter().copied().collect();
    let ahead = plan.primes.iter().flat_map(|prime| prime.followers.iter().chain([&prime.first]));
    let elsewhere: HashSet<&DeferralId> = ahead.chain(plan.wait.iter().flat_map(|(.., ids)| ids)).collect();
    let here = waiting.iter().filter(|call| !elsewhere.contains(&call.id));
    let wanted = here.map(|call| (call, marks.get(&call.id).copied().flatten()));
    wanted.filter(|(call, mark)| call.mark != *mark).map(|(call, mark)| (call.id, mark)).collect()
}

/// What a beginning of so many tokens costs in a batch; `None` where the model has no price.
fn worth(prices: &PriceTable, model: &str, tokens: u32, now: Timestamp) -> Option<Worth> {
    let cost = |tokens: Tokens| {
        let passes = vec![Pass { model: None, tokens }];
        let billed = Billed { model: model.to_owned(), usage: Usage { passes, ..Usage::default() } };
        prices.cost(&billed, Tier::Batch, now)
    };
    let tokens = u64::from(tokens);
    Some(Worth {
        plain: cost(Tokens { input: tokens, ..Tokens::default() })?,
        write: cost(Tokens { cache_write_1h: tokens, ..Tokens::default() })?,
        read: cost(Tokens { cache_read: tokens, ..Tokens::default() })?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(100_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn out(state: PrimeState, batch_state: Option<BatchState>, took: u32, is_cached: bool) -> OutPrime {
        OutPrime {
            lane: LaneId::test(1),
            prefix: PrefixHash(1),
            state,
            until: NOW.plus(MINUTE),
            batch: BatchId::new(NOW),
            tenant: String::new(),
            workload: String::new(),
            batch_state,
            sent_at: Some(NOW.minus(MINUTE * took)),
            ended_at: Some(NOW),
            is_cached,
        }
    }

    #[test]
    fn a_beginning_is_warm_once_its_first_call_is_home_and_has_written_it() {
        let first = |state, took, is_cached| standing(&out(PrimeState::Sent, Some(state), took, is_cached), NOW);
        let cold = Some((PrimeState::Cold, NOW.plus(COLD_FOR)));
        assert_eq!(first(BatchState::Ingested, 10, true), Some((PrimeState::Warm, NOW.plus(MINUTE * 35))));
        assert_eq!(first(BatchState::Ingested, 10, false), cold);
        assert_eq!(first(BatchState::Ingested, 40, true), cold);
        assert_eq!(first(BatchState::Void, 1, false), cold);
        assert_eq!(first(BatchState::Ended, 1, true), None);
        assert_eq!(standing(&out(PrimeState::Sent, None, 1, false), NOW), cold);
        let late = OutPrime { until: NOW, ..out(PrimeState::Sent, Some(BatchState::Submitted), 1, false) };
        assert_eq!(standing(&late, NOW), cold);
    }

    #[test]
    fn who_reads_it_keeps_it_longer_and_never_shorter() {
        let later = |batch, took, is_cached| standing(&out(PrimeState::Warm, batch, took, is_cached), NOW);
        let as_before = Some((PrimeState::Warm, NOW.plus(MINUTE)));
        assert_eq!(later(Some(BatchState::Ingested), 10, true), Some((PrimeState::Warm, NOW.plus(MINUTE * 35))));
        assert_eq!(later(Some(BatchState::Ingested), 29, true), as_before);
        assert_eq!(later(Some(BatchState::Ingested), 10, false), as_before);
        assert_eq!(later(Some(BatchState::Void), 10, false), as_before);
        assert_eq!(later(Some(BatchState::Submitted), 10, false), None);
    }

    #[test]
    fn a_beginning_costs_what_the_table_says() {
        let prices = PriceTable::built_in().unwrap();
        let worth = worth(&prices, "claude-haiku-4-5", 1_000_000, NOW).unwrap();
        let dollars = |text| crate::domain::money::NanoUsd::parse_dollars(text).unwrap();
        assert_eq!((worth.plain, worth.write, worth.read), (dollars("0.5"), dollars("1"), dollars("0.05")));
        assert_eq!(super::worth(&prices, "nobody", 1, NOW), None);
    }
}
