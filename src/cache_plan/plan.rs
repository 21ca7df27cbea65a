//! The plan: which beginnings that queued calls share pay for being cached, and who waits until one is.

use std::collections::HashMap;
use std::time::Duration;

use crate::cache_plan::warmth::PRIME_LIMIT;
use crate::clock::Timestamp;
use crate::domain::caching::{Place, PrefixHash, Prefixes};
use crate::domain::id::DeferralId;
use crate::domain::money::NanoUsd;

/// A call waits for the cache only if there is as much time beyond that until its deadline: for its own batch, for
/// another one should that fail, and for the rescue.
const DEADLINE_MARGIN: Duration = Duration::from_secs(2 * 60 * 60);

/// What must be gained, in percent of what the shared beginnings cost uncached, for calls to be made to wait.
const GAIN_MIN_PERCENT: i128 = 5;

/// A queued call that may be marked.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The call.
    pub id: DeferralId,
    /// Its model.
    pub model: String,
    /// Its beginnings.
    pub prefixes: Prefixes,
    /// When its result is wanted.
    pub deadline: Timestamp,
    /// Whether it is to go now, come what may.
    pub is_urgent: bool,
}

/// How a beginning stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A first call is out with it.
    Sent {
        /// Until then it is waited for.
        until: Timestamp,
    },
    /// It is in the cache.
    Warm,
    /// It is not worth another try yet.
    Cold,
}

/// What a beginning costs once, in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worth {
    /// Read without the cache.
    pub plain: NanoUsd,
    /// Written to it for an hour.
    pub write: NanoUsd,
    /// Read from it.
    pub read: NanoUsd,
}

/// What becomes of the candidates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Those who go now, with what mark.
    pub go: Vec<(DeferralId, Option<Place>)>,
    /// Those who wait for a first call that is out, by what it is out with and until when.
    pub wait: Vec<(PrefixHash, Timestamp, Vec<DeferralId>)>,
    /// First calls to be sent.
    pub primes: Vec<Prime>,
    /// The beginnings in the cache that are counted on.
    pub ride: Vec<PrefixHash>,
}

/// A call that brings a beginning into the cache, and those who wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prime {
    /// The beginning.
    pub prefix: PrefixHash,
    /// Where it ends.
    pub place: Place,
    /// The call that goes first.
    pub first: DeferralId,
    /// Those who wait for it.
    pub followers: Vec<DeferralId>,
}

/// Candidates that share a beginning.
struct Shared<'a> {
    place: Place,
    tokens: u32,
    model: &'a str,
    members: Vec<usize>,
}

/// Plans for the queued calls of one lane, in the order of the queue. `worth` prices a beginning of so many tokens.
pub fn plan(
    candidates: &[Candidate],
    standings: &HashMap<PrefixHash, Standing>,
    worth: impl Fn(&str, u32) -> Option<Worth>,
    now: Timestamp,
) -> Plan {
    let mut shared = shared(candidates, standings);
    let is_patient: Vec<bool> = candidates.iter().map(|candidate| may_wait(candidate, now)).collect();
    let mut is_open = vec![true; candidates.len()];
    let mut plan = Plan::default();
    loop {
        for one in shared.values_mut() {
            one.members.retain(|at| is_open[*at]);
        }
        // By the hash where two are worth the same: the same on every replica.
        let best = shared
            .iter()
            .filter_map(|(hash, one)| Some((gain(one, standings.get(hash).copied(), &is_patient, &worth)?, *hash)));
        let Some((_, hash)) = best.max() else { break };
        let Some(chosen) = shared.remove(&hash) else { break };
        let standing = standings.get(&hash).copied();
        let members = chosen.members.iter().filter(|at| standing == Some(Standing::Warm) || is_patient[**at]);
        let members: Vec<usize> = members.copied().collect();
        members.iter().for_each(|at| is_open[*at] = false);
        let mut ids = members.iter().map(|at| candidates[*at].id);
        match standing {
            Some(Standing::Warm) => {
                plan.ride.push(hash);
                plan.go.extend(ids.map(|id| (id, Some(chosen.place))));
            }
            Some(Standing::Sent { until }) => plan.wait.push((hash, until, ids.collect())),
            Some(Standing::Cold) => {}
            None => {
                let Some(first) = ids.next() else { continue };
                plan.primes.push(Prime { prefix: hash, place: chosen.place, first, followers: ids.collect() });
            }
        }
    }
    let left = candidates.iter().zip(&is_open).filter(|(_, is_open)| **is_open);
    plan.go.extend(left.map(|(candidate, _)| (candidate.id, None)));
    plan
}

/// The beginnings that at least two share, or that are or will be in the cache.
///
/// Calls that come one by one, each within an hour of the one before, could keep a beginning in the cache among
/// themselves. Nothing is written for them: of the first ones nobody knows whether others follow, and where none does,
/// writing costs twice what it would have spared.
fn shared<'a>(
    candidates: &'a [Candidate],
    standings: &HashMap<PrefixHash, Standing>,
) -> HashMap<PrefixHash, Shared<'a>> {
    let mut shared: HashMap<PrefixHash, Shared<'a>> = HashMap::new();
    for (at, candidate) in candidates.iter().enumerate() {
        for prefix in candidate.prefixes.iter() {
            let new =
                || Shared { place: prefix.place, tokens: prefix.tokens, model: &candidate.model, members: Vec::new() };
            shared.entry(prefix.hash).or_insert_with(new).members.push(at);
        }
    }
    shared.retain(|hash, one| match standings.get(hash) {
        Some(Standing::Cold) => false,
        Some(_) => true,
        None => one.members.len() > 1,
    });
    shared
}

fn may_wait(candidate: &Candidate, now: Timestamp) -> bool {
    !candidate.is_urgent && candidate.deadline >= now.plus(PRIME_LIMIT).plus(DEADLINE_MARGIN)
}

/// What is gained where these share a beginning; `None` where that is nothing, or not worth the wait.
fn gain(
    shared: &Shared<'_>,
    standing: Option<Standing>,
    is_patient: &[bool],
    worth: impl Fn(&str, u32) -> Option<Worth>,
) -> Option<i128> {
    let count = match standing {
        Some(Standing::Warm) => shared.members.len(),
        Some(Standing::Cold) => 0,
        Some(Standing::Sent { .. }) | None => shared.members.iter().filter(|at| is_patient[**at]).count(),
    };
    if count == 0 {
        return None;
    }
    let worth = worth(shared.model, shared.tokens)?;
    let [plain, write, read] = [worth.plain, worth.write, worth.read].map(|amount| i128::from(amount.0));
    let count = count as i128;
    let (gain, at_least) = match standing {
        None => (count * plain - write - (count - 1) * read, count * plain * GAIN_MIN_PERCENT / 100),
        Some(_) => (count * (plain - read), 0),
    };
    (gain > at_least).then_some(gain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caching::Prefix;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3_600);

    fn id(number: u128) -> DeferralId {
        DeferralId(uuid::Uuid::from_u128(number))
    }

    /// A call with these beginnings, each of a hash and a hundred times as many tokens as its number says.
    fn call(number: u128, hashes: &[(i64, u32)]) -> Candidate {
        let mut prefixes = Prefixes::default();
        for (block, (hash, hundreds)) in (0..).zip(hashes) {
            prefixes.push(Prefix { place: Place::System(block), tokens: hundreds * 100, hash: PrefixHash(*hash) });
        }
        Candidate { id: id(number), model: "m".into(), prefixes, deadline: NOW.plus(DAY), is_urgent: false }
    }

    /// A write costs twice as much as plain reading, and a read a tenth.
    fn worth(_: &str, tokens: u32) -> Option<Worth> {
        let of = |tenths: i64| NanoUsd(i64::from(tokens) * tenths);
        Some(Worth { plain: of(10), write: of(20), read: of(1) })
    }

    fn planned(candidates: &[Candidate], standings: &[(i64, Standing)]) -> Plan {
        let standings = standings.iter().map(|(hash, standing)| (PrefixHash(*hash), *standing)).collect();
        plan(candidates, &standings, worth, NOW)
    }

    fn plain(numbers: &[u128]) -> Plan {
        Plan { go: numbers.iter().map(|number| (id(*number), None)).collect(), ..Plan::default() }
    }

    #[test]
    fn one_goes_first_if_enough_follow() {
        let calls = |count: u128| (1..=count).map(|number| call(number, &[(7, 10)])).collect::<Vec<_>>();
        assert_eq!(planned(&calls(1), &[]), plain(&[1]));
        // 20 + 1 is more than 2 x 10.
        assert_eq!(planned(&calls(2), &[]), plain(&[1, 2]));
        let prime =
            Prime { prefix: PrefixHash(7), place: Place::System(0), first: id(1), followers: vec![id(2), id(3)] };
        assert_eq!(planned(&calls(3), &[]), Plan { primes: vec![prime], ..Plan::default() });
    }

    #[test]
    fn the_longest_beginning_that_enough_share_is_taken() {
        let mut calls: Vec<_> = (1..=4).map(|number| call(number, &[(1, 10), (2, 20)])).collect();
        calls.push(call(5, &[(1, 10), (3, 20)]));
        let plan = planned(&calls, &[]);
        assert_eq!((plan.primes[0].prefix, plan.primes[0].followers.len()), (PrefixHash(2), 3));
        assert_eq!(plan.go, [(id(5), None)]);
        // Where each goes on alone, what all share is left.
        let calls: Vec<_> = (1..=4).map(|number| call(number, &[(1, 10), (number as i64 + 10, 90)])).collect();
        assert_eq!(planned(&calls, &[]).primes[0].prefix, PrefixHash(1));
    }

    #[test]
    fn what_is_warm_is_read_by_a_single_call_too() {
        let calls = [call(1, &[(7, 10), (8, 20)]), call(2, &[(9, 10)])];
        let plan = planned(&calls, &[(7, Standing::Warm)]);
        assert_eq!(plan.go, [(id(1), Some(Place::System(0))), (id(2), None)]);
        assert_eq!(plan.ride, [PrefixHash(7)]);
    }

    #[test]
    fn who_comes_while_a_first_call_is_out_waits_for_it() {
        let until = NOW.plus(Duration::from_secs(60));
        let plan = planned(&[call(1, &[(7, 10)])], &[(7, Standing::Sent { until })]);
        assert_eq!(plan.wait, [(PrefixHash(7), until, vec![id(1)])]);
        assert!(plan.go.is_empty());
    }

    #[test]
    fn what_was_tried_in_vain_is_let_be() {
        let calls: Vec<_> = (1..=3).map(|number| call(number, &[(7, 10)])).collect();
        assert_eq!(planned(&calls, &[(7, Standing::Cold)]), plain(&[1, 2, 3]));
    }

    #[test]
    fn who_has_no_time_does_not_wait() {
        let mut calls: Vec<_> = (1..=4).map(|number| call(number, &[(7, 10)])).collect();
        calls[0].is_urgent = true;
        calls[1].deadline = NOW.plus(PRIME_LIMIT).plus(DEADLINE_MARGIN).minus(Duration::from_millis(1));
        // The two that are left are too few.
        assert_eq!(planned(&calls, &[]), plain(&[1, 2, 3, 4]));
        calls[1].deadline = NOW.plus(PRIME_LIMIT).plus(DEADLINE_MARGIN);
        let plan = planned(&calls, &[]);
        assert_eq!((plan.primes[0].first, plan.go), (id(2), vec![(id(1), None)]));
        // What is warm costs nobody any time.
        assert_eq!(planned(&calls, &[(7, Standing::Warm)]).go.len(), 4);
    }

    #[test]
    fn without_a_price_nothing_is_marked() {
        let calls: Vec<_> = (1..=3).map(|number| call(number, &[(7, 10)])).collect();
        assert_eq!(plan(&calls, &HashMap::new(), |_, _| None, NOW), plain(&[1, 2, 3]));
    }
}
