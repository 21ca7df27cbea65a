//! What the store should be, in the plainest words: three maps, a list, and loops over them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use offpeak::clock::Timestamp;
use offpeak::domain::batch::BatchState;
use offpeak::domain::deferral::State;
use offpeak::domain::group::GroupState;

use super::{New, Word};
use crate::it::store::fixture::provider_id;
use crate::it::store::transitions::Move;

const HOUR: Duration = Duration::from_secs(60 * 60);

#[derive(Debug)]
struct Call {
    key: Option<u8>,
    body: u8,
    group: Option<u8>,
    state: State,
    queued_at: Timestamp,
    batch: Option<u128>,
    attempts: u32,
    cancel_requested: bool,
    completed_at: Option<Timestamp>,
    left_at: Option<Timestamp>,
    attached_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Batch {
    state: BatchState,
    due: Timestamp,
    item_count: usize,
    is_submitted: bool,
}

#[derive(Debug)]
struct Group {
    state: GroupState,
    expect: Option<u64>,
}

/// What becomes of a call that is to be accepted.
#[derive(Debug, PartialEq)]
pub(super) enum Answered {
    /// With the ticket of this call.
    Number(u128),
    /// Its key is taken.
    KeyTaken,
    /// Its group takes no more.
    GroupClosed,
}

/// A call as the store shows it.
#[derive(Debug, PartialEq)]
pub(super) struct SeenCall {
    pub(super) number: u128,
    pub(super) state: State,
    pub(super) attempts: u32,
    pub(super) cancel_requested: bool,
    pub(super) completed_at: Option<Timestamp>,
    pub(super) provider_id: Option<String>,
    pub(super) has_answer: bool,
    pub(super) has_cost: bool,
}

/// A batch as the store shows it, with the calls that are still open in it.
#[derive(Debug, PartialEq)]
pub(super) struct SeenBatch {
    pub(super) number: u128,
    pub(super) state: BatchState,
    pub(super) provider_id: Option<String>,
    pub(super) item_count: usize,
    pub(super) members: Vec<u128>,
}

/// A group as the store shows it.
#[derive(Debug, PartialEq)]
pub(super) struct SeenGroup {
    pub(super) name: u8,
    pub(super) state: GroupState,
    pub(super) expect: Option<u64>,
    pub(super) members: u64,
    pub(super) open: u64,
}

/// All that can be seen, in the order of numbers.
#[derive(Debug, PartialEq)]
pub(super) struct Picture {
    /// Final calls, in the order in which they became so.
    pub(super) feed: Vec<u128>,
    pub(super) groups: Vec<SeenGroup>,
    pub(super) calls: Vec<SeenCall>,
    pub(super) batches: Vec<SeenBatch>,
    pub(super) queued: usize,
    pub(super) tries: usize,
}

/// Calls and batches by their numbers, groups by their names.
#[derive(Debug, Default)]
pub(super) struct Reference {
    feed: Vec<u128>,
    groups: BTreeMap<u8, Group>,
    calls: BTreeMap<u128, Call>,
    batches: BTreeMap<u128, Batch>,
    calls_made: u128,
    batches_made: u128,
    tries: usize,
}

impl Reference {
    pub(super) fn next_call(&mut self) -> u128 {
        self.calls_made += 1;
        self.calls_made
    }

    pub(super) fn next_batch(&mut self) -> u128 {
        self.batches_made += 1;
        self.batches_made
    }

    pub(super) fn numbers(&self) -> Vec<u128> {
        self.calls.keys().copied().collect()
    }

    pub(super) fn accept(&mut self, number: u128, new: New, now: Timestamp) -> Answered {
        let New { key, body, group, is_retry } = new;
        if let Some((holder, call)) = self.calls.iter_mut().find(|(_, call)| key.is_some() && call.key == key) {
            if call.body == body {
                (call.left_at, call.attached_at) = (None, Some(now));
            }
            return if call.body == body { Answered::Number(*holder) } else { Answered::KeyTaken };
        }
        if key.is_none() && is_retry {
            let attaches = |call: &Call| {
                let is_recent = call.completed_at.is_none_or(|completed| completed > now.minus(HOUR));
                let was_told = call.left_at.is_none_or(|left| Some(left) < call.completed_at);
                call.body == body && (call.state != State::Canceled || !was_told) && is_recent
            };
            let twins = self.calls.iter_mut().filter(|(_, call)| attaches(call));
            let order = |(number, call): &(&u128, &mut Call)| {
                (call.left_at.is_none(), call.attached_at.is_some(), call.attached_at, Reverse(**number))
            };
            if let Some((twin, call)) = twins.min_by_key(order) {
                (call.left_at, call.attached_at) = (None, Some(now));
                return Answered::Number(*twin);
            }
        }
        if let Some(name) = group {
            let members = self.members_of(name).count() as u64;
            let group = self.groups.entry(name).or_insert(Group { state: GroupState::Open, expect: None });
            if group.state != GroupState::Open && members >= group.expect.unwrap_or(0) {
                return Answered::GroupClosed;
            }
        }
        let call = Call {
            key,
            body,
            group,
            state: State::Queued,
            queued_at: now,
            batch: None,
            attempts: 0,
            cancel_requested: false,
            completed_at: None,
            left_at: None,
            attached_at: None,
        };
        self.calls.insert(number, call);
        Answered::Number(number)
    }

    /// Whether the group is closed then; not if there is none, or it has more members than are expected.
    pub(super) fn close(&mut self, name: u8, expect: Option<u64>) -> bool {
        let members = self.members_of(name).count() as u64;
        if expect.is_some_and(|expect| expect < members) {
            return false;
        }
        if expect.is_some() {
            self.groups.entry(name).or_insert(Group { state: GroupState::Open, expect: None });
        }
        let Some(group) = self.groups.get_mut(&name) else { return false };
        if group.state != GroupState::Announced {
            (group.state, group.expect) = (GroupState::Closed, expect.or(group.expect));
        }
        if self.is_complete(name) {
            self.announce(name);
        }
        true
    }

    /// Announces whatever is complete; how many groups that were.
    pub(super) fn announce_all(&mut self) -> u32 {
        let complete: Vec<u8> = self.groups.keys().copied().filter(|name| self.is_complete(*name)).collect();
        complete.iter().for_each(|name| self.announce(*name));
        complete.len() as u32
    }

    fn announce(&mut self, name: u8) {
        self.groups.get_mut(&name).expect("a group").state = GroupState::Announced;
    }

    fn is_complete(&self, name: u8) -> bool {
        let group = &self.groups[&name];
        let all_are_there = self.members_of(name).count() as u64 >= group.expect.unwrap_or(0);
        group.state == GroupState::Closed && all_are_there && self.members_of(name).all(|call| call.state.is_final())
    }

    fn members_of(&self, name: u8) -> impl Iterator<Item = &Call> {
        self.calls.values().filter(move |call| call.group == Some(name))
    }

    pub(super) fn build(&mut self, number: u128, requests: usize, now: Timestamp, due: Timestamp) -> Option<usize> {
        let is_due = |call: &Call| call.state == State::Queued && call.queued_at <= now && !call.cancel_requested;
        let mut queue: Vec<_> = self.calls.iter_mut().filter(|(_, call)| is_due(call)).collect();
        queue.sort_by_key(|(number, call)| (call.queued_at, **number));
        let item_count = queue.len().min(requests);
        for (_, call) in queue.into_iter().take(requests) {
            (call.state, call.batch, call.attempts) = (State::Batched, Some(number), call.attempts + 1);
        }
        if item_count == 0 {
            return None;
        }
        self.batches.insert(number, Batch { state: BatchState::Building, due, item_count, is_submitted: false });
        Some(item_count)
    }

    pub(super) fn claim(&mut self, state: BatchState, now: Timestamp, until: Timestamp) -> Vec<u128> {
        let due = self.batches.iter_mut().filter(|(_, batch)| batch.state == state && batch.due <= now);
        due.map(|(number, batch)| {
            batch.due = until;
            *number
        })
        .collect()
    }

    /// Makes a move by whoever holds the batch; false where it is refused.
    pub(super) fn make(&mut self, step: Move, number: u128, now: Timestamp) -> bool {
        let members = self.members(number);
        let batch = self.batches.get_mut(&number).expect("a batch");
        let to = match (step, batch.state) {
            (Move::Ingested, BatchState::Ended) if members.is_empty() => Some(BatchState::Ingested),
            (Move::Split, _) if batch.item_count == 1 => None,
            // A batch whose members have all become final is not sent.
            (Move::Sending, _) if members.is_empty() => None,
            (step, from) => step.leads_to(from),
        };
        let Some(to) = to else { return false };
        batch.state = to;
        batch.is_submitted |= step == Move::Submitted;
        if !matches!(step, Move::Sending | Move::Ingested | Move::Void | Move::Split) {
            batch.due = now;
        }
        match step {
            Move::Sending => batch.item_count = members.len(),
            Move::Void => {
                for member in members {
                    let call = self.calls.get_mut(&member).expect("a call");
                    (call.state, call.batch, call.attempts) = (State::Queued, None, call.attempts - 1);
                }
            }
            Move::Split => {
                let (first, second) = members.split_at(members.len().div_ceil(2));
                for (half, members) in [(number * 1_000_000, first), (number * 1_000_000 + 1, second)] {
                    self.make_half(half, members, now);
                }
            }
            _ => {}
        }
        true
    }

    fn make_half(&mut self, number: u128, members: &[u128], due: Timestamp) {
        for member in members {
            self.calls.get_mut(member).expect("a call").batch = Some(number);
        }
        if !members.is_empty() {
            let half = Batch { state: BatchState::Building, due, item_count: members.len(), is_submitted: false };
            self.batches.insert(number, half);
        }
    }

    /// Which calls became final.
    pub(super) fn settle(&mut self, batch: u128, verdicts: &[(u128, Word)], now: Timestamp) -> Vec<u128> {
        let mut fresh = Vec::new();
        let mut heard = HashSet::new();
        for (number, word) in verdicts.iter().filter(|(number, _)| heard.insert(*number)) {
            let call = self.calls.get_mut(number).expect("a call");
            if call.state != State::Batched || call.batch != Some(batch) {
                continue;
            }
            call.state = match word {
                Word::Succeeded => State::Succeeded,
                Word::Failed => State::Failed,
                Word::Canceled => State::Canceled,
                Word::Again { .. } => State::Queued,
            };
            if call.state == State::Queued {
                (call.batch, call.queued_at) = (None, word.queued_at(now));
                self.tries += 1;
            } else {
                call.completed_at = Some(now);
                fresh.push(*number);
            }
        }
        fresh.sort_unstable();
        self.feed.extend(&fresh);
        fresh
    }

    pub(super) fn cancel(&mut self, number: u128, now: Timestamp) {
        let call = self.calls.get_mut(&number).expect("a call");
        let is_unsent = call.batch.is_some_and(|batch| self.batches[&batch].state == BatchState::Building);
        if call.state == State::Batched && is_unsent {
            (call.state, call.batch, call.attempts) = (State::Queued, None, call.attempts - 1);
        }
        if call.state == State::Queued {
            (call.state, call.completed_at) = (State::Canceled, Some(now));
            call.cancel_requested = true;
            self.feed.push(number);
        }
        if call.state == State::Batched {
            call.cancel_requested = true;
        }
    }

    pub(super) fn leave(&mut self, number: u128, since: Timestamp, now: Timestamp) {
        let call = self.calls.get_mut(&number).expect("a call");
        if call.attached_at.is_none_or(|attached| attached <= since) {
            call.left_at = Some(now);
        }
    }

    pub(super) fn picture(&self) -> Picture {
        let calls = self.calls.iter().map(|(number, call)| SeenCall {
            number: *number,
            state: call.state,
            attempts: call.attempts,
            cancel_requested: call.cancel_requested,
            completed_at: call.completed_at,
            provider_id: call.batch.filter(|batch| self.batches[batch].is_submitted).map(provider_id),
            has_answer: call.state.is_final(),
            has_cost: call.state == State::Succeeded,
        });
        let batches = self.batches.iter().map(|(number, batch)| SeenBatch {
            number: *number,
            state: batch.state,
            provider_id: batch.is_submitted.then(|| provider_id(*number)),
            item_count: batch.item_count,
            members: self.members(*number),
        });
        let groups = self.groups.iter().map(|(name, group)| SeenGroup {
            name: *name,
            state: group.state,
            expect: group.expect,
            members: self.members_of(*name).count() as u64,
            open: self.members_of(*name).filter(|call| !call.state.is_final()).count() as u64,
        });
        Picture {
            feed: self.feed.clone(),
            groups: groups.collect(),
            calls: calls.collect(),
            batches: batches.collect(),
            queued: self.calls.values().filter(|call| call.state == State::Queued).count(),
            tries: self.tries,
        }
    }

    /// The calls that are open in a batch.
    fn members(&self, number: u128) -> Vec<u128> {
        let is_open = |call: &Call| call.state == State::Batched && call.batch == Some(number);
        self.calls.iter().filter(|(_, call)| is_open(call)).map(|(number, _)| *number).collect()
    }
}
