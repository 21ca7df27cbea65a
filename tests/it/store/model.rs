//! The model test: any sequence of operations leaves the store as it leaves a few plain structs in memory.

mod reference;

use std::time::Duration;

use offpeak::clock::{Clock, Timestamp};
use offpeak::domain::batch::BatchState;
use offpeak::domain::deferral::{Answer, State};
use offpeak::domain::id::DeferralId;
use offpeak::store::{
    Accepted, Claim, Closed, Departure, Filter, Limits, NewDeferral, PageCursor, Position, Scope, Settlement, Verdict,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use self::reference::{Answered, Picture, Reference, SeenBatch, SeenCall, SeenGroup};
use super::fixture::{AMPLE, Fixture, LEASE, NOW, again, batch_id, call, failed, id, item, lane, lane_id, succeeded};
use super::transitions::{Move, STATES};

/// Few enough bodies, keys and groups that calls meet in them.
const BODIES: u8 = 3;
const KEYS: u8 = 3;
const GROUPS: u8 = 3;

/// One thing that happens; where it names a call or a batch by index, it means one of those that are there by then.
#[derive(Clone, Debug)]
enum Step {
    Accept(New),
    Close {
        group: u8,
        expect: Option<u64>,
    },
    Announce,
    Build {
        requests: usize,
    },
    Claim(BatchState),
    /// With the newest claim on the batch, or with its first, which may be too old.
    Move {
        batch: usize,
        step: Move,
        with_first_claim: bool,
    },
    Settle {
        batch: usize,
        verdicts: Vec<(usize, Word)>,
    },
    Cancel {
        call: usize,
    },
    /// A caller goes, who has waited since now, or since the beginning.
    Leave {
        call: usize,
        since_the_beginning: bool,
    },
    Advance {
        minutes: u64,
    },
}

/// A call that is to be accepted.
#[derive(Clone, Copy, Debug)]
struct New {
    key: Option<u8>,
    body: u8,
    group: Option<u8>,
    is_retry: bool,
}

/// What is decided for a member.
#[derive(Clone, Copy, Debug)]
enum Word {
    Succeeded,
    Failed,
    Canceled,
    Again { minutes: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    // Those that lead to the end more often, or few batches would get there.
    let step = prop_oneof![
        1 => proptest::sample::select(Move::ALL.to_vec()),
        2 => proptest::sample::select(vec![Move::Sending, Move::Submitted, Move::Ended, Move::Ingested]),
    ];
    let word = prop_oneof![
        2 => Just(Word::Succeeded),
        1 => Just(Word::Failed),
        1 => Just(Word::Canceled),
        2 => (0..30_u64).prop_map(|minutes| Word::Again { minutes }),
    ];
    prop_oneof![
        6 => (proptest::option::of(0..KEYS), 0..BODIES, proptest::option::of(0..GROUPS), any::<bool>())
            .prop_map(|(key, body, group, is_retry)| Step::Accept(New { key, body, group, is_retry })),
        1 => (0..GROUPS, proptest::option::of(1..5_u64)).prop_map(|(group, expect)| Step::Close { group, expect }),
        1 => Just(Step::Announce),
        3 => (1..5_usize).prop_map(|requests| Step::Build { requests }),
        1 => proptest::sample::select(STATES.to_vec()).prop_map(Step::Claim),
        8 => (0..8_usize, step, proptest::bool::weighted(0.1))
            .prop_map(|(batch, step, with_first_claim)| Step::Move { batch, step, with_first_claim }),
        4 => (0..8_usize, vec((0..12_usize, word), 1..5))
            .prop_map(|(batch, verdicts)| Step::Settle { batch, verdicts }),
        1 => (0..12_usize).prop_map(|call| Step::Cancel { call }),
        2 => (0..12_usize, any::<bool>())
            .prop_map(|(call, since_the_beginning)| Step::Leave { call, since_the_beginning }),
        1 => (0..100_u64).prop_map(|minutes| Step::Advance { minutes }),
    ]
}

/// Plays random histories, each on a store of its own.
fn play_histories(cases: u32, open: impl AsyncFn() -> Fixture) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Each history costs a database, so a failure is shrunk for no longer than it took to find.
    let config = Config { cases, failure_persistence: None, max_shrink_iters: cases, ..Config::default() };
    let outcome = TestRunner::new(config).run(&vec(step(), 10..50), |history| {
        runtime.block_on(async {
            let mut world = World::new(open().await);
            for step in &history {
                world.play(step).await;
                assert_eq!(world.seen().await, world.reference.picture(), "after {step:?}");
            }
        });
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn any_history_on_sqlite() {
    play_histories(60, Fixture::sqlite);
}

#[test]
fn any_history_on_postgres() {
    play_histories(6, Fixture::postgres);
}

/// The store, the reference, and what whoever works with them has in hand.
struct World {
    db: Fixture,
    reference: Reference,
    clock: Clock,
    /// Each batch with the claims on it, oldest first.
    claims: Vec<(u128, Vec<Claim>)>,
}

impl World {
    fn new(db: Fixture) -> Self {
        Self { db, reference: Reference::default(), clock: Clock::manual(NOW), claims: Vec::new() }
    }

    fn hold(&mut self, claim: Claim) {
        let number = claim.batch.0.as_u128();
        match self.claims.iter_mut().find(|(of, _)| *of == number) {
            Some((_, claims)) => claims.push(claim),
            None => self.claims.push((number, vec![claim])),
        }
    }

    /// Does one thing on both sides, which have to say the same about it.
    async fn play(&mut self, step: &Step) {
        let now = self.clock.now();
        match step {
            Step::Accept(new) => self.accept(*new, now).await,
            Step::Close { group, expect } => {
                let closed = self.db.store.close_group("tenant", &name(*group), *expect, None, now).await.unwrap();
                assert_eq!(matches!(closed, Closed::Yes(_)), self.reference.close(*group, *expect));
            }
            Step::Announce => {
                let announced = self.db.store.announce_groups(now).await.unwrap();
                assert_eq!(announced, (self.reference.announce_all(), false));
            }
            Step::Build { requests } => {
                let number = self.reference.next_batch();
                let limits = Limits { requests: *requests, ..AMPLE };
                let (batch, lane) = (batch_id(number), lane_id(&lane()));
                let built = self.db.store.build_batch(batch, lane, limits, now, LEASE).await.unwrap();
                let count = built.as_ref().map(|batch| batch.item_count as usize);
                assert_eq!(count, self.reference.build(number, *requests, now, now.plus(LEASE)));
                if let Some(batch) = built {
                    self.hold(batch.claim);
                }
            }
            Step::Claim(state) => {
                let claimed = self.db.store.claim_batches(*state, now, LEASE, 1_000).await.unwrap();
                let mut numbers: Vec<_> = claimed.iter().map(|batch| batch.claim.batch.0.as_u128()).collect();
                numbers.sort_unstable();
                assert_eq!(numbers, self.reference.claim(*state, now, now.plus(LEASE)));
                claimed.into_iter().for_each(|batch| self.hold(batch.claim));
            }
            Step::Move { batch, step, with_first_claim } => {
                let Some((number, claims)) = pick(&self.claims, *batch) else { return };
                let claim = if *with_first_claim { claims[0] } else { claims[claims.len() - 1] };
                let is_late = claim != claims[claims.len() - 1];
                let made = step.make(&self.db.store, claim, now).await;
                assert_eq!(made, !is_late && self.reference.make(*step, *number, now), "{step:?}");
            }
            Step::Settle { batch, verdicts } => self.settle(*batch, verdicts, now).await,
            Step::Cancel { call } => {
                if let Some(number) = pick(&self.reference.numbers(), *call) {
                    let answer = Answer::canceled(id(*number));
                    self.db.store.cancel(id(*number), &Scope::All, &answer, now).await.unwrap().expect("a deferral");
                    self.reference.cancel(*number, now);
                }
            }
            Step::Leave { call, since_the_beginning } => {
                if let Some(number) = pick(&self.reference.numbers(), *call) {
                    let since = if *since_the_beginning { NOW } else { now };
                    self.db.store.callers_left(&[Departure { id: id(*number), since, at: now }]).await.unwrap();
                    self.reference.leave(*number, since, now);
                }
            }
            Step::Advance { minutes } => self.clock.advance(Duration::from_secs(60 * minutes)),
        }
    }

    async fn accept(&mut self, new: New, now: Timestamp) {
        let number = self.reference.next_call();
        let call = NewDeferral {
            item: item(&format!("body {}", new.body)),
            group: new.group.map(name),
            idempotency_key: new.key.map(|key| format!("key {key}")),
            retries: new.is_retry.into(),
            accepted_at: now,
            ..call(number)
        };
        let answered = match self.db.store.accept(call).await.unwrap() {
            Accepted::Fresh => Answered::Number(number),
            Accepted::Existing(id) => Answered::Number(id.0.as_u128()),
            Accepted::KeyTaken => Answered::KeyTaken,
            Accepted::GroupClosed => Answered::GroupClosed,
        };
        assert_eq!(answered, self.reference.accept(number, new, now));
    }

    async fn settle(&mut self, batch: usize, verdicts: &[(usize, Word)], now: Timestamp) {
        let Some((batch, _)) = pick(&self.claims, batch) else { return };
        let calls = self.reference.numbers();
        let named: Vec<_> =
            verdicts.iter().filter_map(|(call, word)| pick(&calls, *call).map(|number| (*number, *word))).collect();
        let settlements: Vec<_> = named.iter().map(|(number, word)| word.settlement(id(*number), now)).collect();
        let mut fresh: Vec<_> = self.db.store.settle(batch_id(*batch), &settlements, now).await.unwrap();
        fresh.sort_unstable();
        let expected = self.reference.settle(*batch, &named, now);
        assert_eq!(fresh, expected.into_iter().map(id).collect::<Vec<_>>());
    }

    /// All that can be seen of the store.
    async fn seen(&self) -> Picture {
        let store = &self.db.store;
        let page = store.page(&Scope::All, &Filter::default(), PageCursor::Newest, 1_000).await.unwrap();
        let calls = page.deferrals.into_iter().rev().map(|deferral| SeenCall {
            number: deferral.id.0.as_u128(),
            state: deferral.state,
            attempts: deferral.attempts,
            cancel_requested: deferral.cancel_requested,
            completed_at: deferral.completed_at,
            provider_id: deferral.provider_batch_id,
            has_answer: deferral.answer.is_some(),
            has_cost: deferral.cost.is_some(),
        });
        let mut batches = Vec::new();
        for batch in store.batches(1_000).await.unwrap().into_iter().rev() {
            let members = store.open_members(batch.id, None, 1_000).await.unwrap();
            batches.push(SeenBatch {
                number: batch.id.0.as_u128(),
                state: batch.state,
                provider_id: batch.provider_id,
                item_count: batch.item_count as usize,
                members: members.into_iter().map(|member| member.id.0.as_u128()).collect(),
            });
        }
        let lines = store.feed(&Scope::All, Position::START, 1_000).await.unwrap();
        // Places are given out one after the other.
        assert!(lines.iter().map(|line| line.position.0).eq(1..=lines.len() as i64), "{lines:?}");
        let mut groups = Vec::new();
        for group in 0..GROUPS {
            let found = store.groups(&name(group), &Scope::All).await.unwrap().pop();
            groups.extend(found.map(|found| SeenGroup {
                name: group,
                state: found.state,
                expect: found.expect,
                members: found.counts.total(),
                open: found.counts.0[..3].iter().sum(),
            }));
        }
        Picture {
            feed: lines.into_iter().map(|line| line.deferral_id.0.as_u128()).collect(),
            groups,
            calls: calls.collect(),
            batches,
            queued: store.queue_depth().await.unwrap().0.get("tenant").map_or(0, |calls| *calls as usize),
            tries: self.db.raw.count("attempt").await as usize,
        }
    }
}

fn name(group: u8) -> String {
    format!("g{group}")
}

impl Word {
    fn settlement(self, id: DeferralId, now: Timestamp) -> Settlement {
        match self {
            Self::Succeeded => succeeded(id),
            Self::Failed => failed(id),
            Self::Canceled => {
                let verdict = Verdict::Final { state: State::Canceled, answer: Answer::canceled(id), bill: None };
                Settlement { id, verdict }
            }
            Self::Again { .. } => again(id, self.queued_at(now)),
        }
    }

    fn queued_at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Again { minutes } => now.plus(Duration::from_secs(60 * minutes)),
            _ => now,
        }
    }
}

/// One of those that are there, if there is any.
fn pick<T>(those: &[T], index: usize) -> Option<&T> {
    those.get(index % those.len().max(1))
}
