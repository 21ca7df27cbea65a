//! Transitions: each move of a batch from each of its states, and what it does to the members.

use offpeak::clock::Timestamp;
use offpeak::domain::batch::BatchState;
use offpeak::domain::deferral::State;
use offpeak::store::{Claim, Store};

use super::fixture::{AMPLE, Fixture, LEASE, NOW, again, batch_id, call, id, provider_id, succeeded};

on_both_engines! {
    each_move_is_made_from_its_states_alone,
    the_times_of_a_batch_are_kept,
    doubt_is_dated_from_its_beginning,
    looks_are_counted_within_a_state,
    a_void_batch_puts_its_members_back_in_their_places,
    halves_carry_all_members_and_all_bytes,
    one_call_is_not_split,
    a_provider_id_belongs_to_one_batch,
    a_batch_is_not_done_while_members_are_open,
}

/// Everything that can be done with a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    Sending,
    NotSent,
    Doubted,
    Submitted,
    LookedAt,
    Ended,
    Ingested,
    Void,
    Split,
    Renew,
    Release,
}

impl Move {
    pub(super) const ALL: [Self; 11] = [
        Self::Sending,
        Self::NotSent,
        Self::Doubted,
        Self::Submitted,
        Self::LookedAt,
        Self::Ended,
        Self::Ingested,
        Self::Void,
        Self::Split,
        Self::Renew,
        Self::Release,
    ];

    /// Where it leads to from a state whose members are open; `None` where it is refused.
    pub(super) fn leads_to(self, from: BatchState) -> Option<BatchState> {
        use BatchState::{Building, Ended, Submitted, Uncertain, Void};
        match (self, from) {
            (Self::Sending, Building) => Some(Uncertain),
            (Self::NotSent, Uncertain) => Some(Building),
            (Self::Doubted, Uncertain) => Some(Uncertain),
            (Self::Submitted, Uncertain) => Some(Submitted),
            (Self::Ended, Submitted) => Some(Ended),
            (Self::Void | Self::Split, Building | Uncertain) => Some(Void),
            // These move the lease alone, so they hold in every state.
            (Self::LookedAt | Self::Renew | Self::Release, same) => Some(same),
            _ => None,
        }
    }

    pub(super) async fn make(self, store: &Store, claim: Claim, now: Timestamp) -> bool {
        let number = claim.batch.0.as_u128();
        let halves = [batch_id(number * 1_000_000), batch_id(number * 1_000_000 + 1)];
        match self {
            Self::Sending => store.batch_sending(claim, now).await.map(|sent| sent.is_some()),
            Self::NotSent => store.batch_not_sent(claim, now).await,
            Self::Doubted => store.batch_doubted(claim, now, now).await,
            Self::Submitted => store.batch_submitted(claim, &provider_id(number), false, now, now).await,
            Self::LookedAt => store.batch_looked_at(claim, now).await,
            Self::Ended => store.batch_ended(claim, now).await,
            Self::Ingested => store.batch_ingested(claim, now).await,
            Self::Void => store.batch_void(claim).await,
            Self::Split => store.batch_split(claim, halves, now, now).await,
            Self::Renew => store.renew(claim, now).await,
            Self::Release => store.release(claim, now).await,
        }
        .unwrap()
    }
}

pub(super) const STATES: [BatchState; 6] = [
    BatchState::Building,
    BatchState::Uncertain,
    BatchState::Submitted,
    BatchState::Ended,
    BatchState::Ingested,
    BatchState::Void,
];

/// All that a move could change, as text.
pub(super) async fn picture(db: &Fixture) -> Vec<String> {
    const BATCHES: &str = "select concat_ws(',', state, provider_id, item_count, sent_at, doubted_at, submitted_at,
        ended_at, ingested_at, due_at, fence, looks) from batch order by id";
    const DEFERRALS: &str = "select concat_ws(',', state, attempts, queued_at, completed_at) from deferral order by id";
    [db.raw.texts(BATCHES).await, db.raw.texts(DEFERRALS).await].concat()
}

async fn each_move_is_made_from_its_states_alone(db: Fixture) {
    let mut first = 1;
    for from in STATES {
        for step in Move::ALL {
            let batch = db.batch(first..first + 2, from).await;
            first += 10;
            let before = picture(&db).await;
            let made = step.make(&db.store, batch.claim, NOW.plus(LEASE * 3)).await;
            let after = db.batch_state(batch.claim.batch).await;
            assert_eq!(
                (made, after),
                (step.leads_to(from).is_some(), step.leads_to(from).unwrap_or(from)),
                "{step:?} from {from:?}"
            );
            assert_eq!(
                before == picture(&db).await,
                !made,
                "{step:?} from {from:?} changes something exactly if it is made"
            );
        }
    }
}

async fn the_times_of_a_batch_are_kept(db: Fixture) {
    let at = |minute: u32| NOW.plus(LEASE * minute);
    let claim = db.batch(1..2, BatchState::Building).await.claim;
    assert!(db.store.batch_sending(claim, at(2)).await.unwrap().is_some());
    assert!(db.store.batch_submitted(claim, "msgbatch_1", false, at(3), at(9)).await.unwrap());
    assert!(db.store.batch_ended(claim, at(4)).await.unwrap());
    db.store.settle(claim.batch, &[succeeded(id(1))], at(5)).await.unwrap();
    assert!(db.store.batch_ingested(claim, at(5)).await.unwrap());
    let batch = db.store.batches(1).await.unwrap().remove(0);
    assert_eq!((batch.built_at, batch.submitted_at), (at(1), Some(at(3))));
    assert_eq!((batch.ended_at, batch.ingested_at), (Some(at(4)), Some(at(5))));
    assert_eq!(
        (batch.provider_id.as_deref(), batch.tenant.as_str(), batch.item_count),
        (Some("msgbatch_1"), "tenant", 1)
    );
}

async fn doubt_is_dated_from_its_beginning(db: Fixture) {
    let at = |minute: u32| NOW.plus(LEASE * minute);
    let claim = db.batch(1..2, BatchState::Uncertain).await.claim;
    assert!(db.store.batch_doubted(claim, at(3), at(4)).await.unwrap());
    assert!(db.store.batch_doubted(claim, at(4), at(5)).await.unwrap());
    assert!(db.store.claim_batches(BatchState::Uncertain, at(4), LEASE, 9).await.unwrap().is_empty(), "due at 5");
    let batch = db.store.claim_batches(BatchState::Uncertain, at(5), LEASE, 9).await.unwrap().remove(0);
    assert_eq!((batch.doubted_at, batch.sent_at, batch.looks), (Some(at(3)), Some(at(2)), 2));
    assert!(db.store.batch_not_sent(batch.claim, at(6)).await.unwrap());
    let batch = db.store.claim_batches(BatchState::Building, at(6), LEASE, 9).await.unwrap().remove(0);
    assert_eq!(batch.sent_at, None);
    assert!(db.store.batch_sending(batch.claim, at(6)).await.unwrap().is_some());
    assert!(db.store.release(batch.claim, at(6)).await.unwrap());
    let batch = db.store.claim_batches(BatchState::Uncertain, at(6), LEASE, 9).await.unwrap().remove(0);
    assert_eq!((batch.doubted_at, batch.sent_at), (None, Some(at(6))), "it is sent anew, and nothing is doubted yet");
}

async fn looks_are_counted_within_a_state(db: Fixture) {
    let at = |minute: u32| NOW.plus(LEASE * minute);
    let claim = db.batch(1..2, BatchState::Submitted).await.claim;
    for minute in 3..6 {
        assert!(db.store.batch_looked_at(claim, at(minute)).await.unwrap());
    }
    let batch = db.store.claim_batches(BatchState::Submitted, at(5), LEASE, 9).await.unwrap().remove(0);
    assert_eq!(batch.looks, 3);
    assert!(db.store.batch_ended(batch.claim, at(6)).await.unwrap());
    let batch = db.store.claim_batches(BatchState::Ended, at(6), LEASE, 9).await.unwrap().remove(0);
    assert_eq!(batch.looks, 0);
}

async fn a_void_batch_puts_its_members_back_in_their_places(db: Fixture) {
    let batch = db.batch(1..4, BatchState::Ended).await;
    // Call 2 has been in a batch before, which is its first attempt.
    let settled = [succeeded(id(1)), again(id(2), NOW), succeeded(id(3))];
    db.store.settle(batch.claim.batch, &settled, NOW).await.unwrap();
    let doomed = db.batch(4..7, BatchState::Uncertain).await;
    assert_eq!((db.deferral(2).await.attempts, db.deferral(4).await.attempts), (2, 1));
    assert!(db.store.batch_void(doomed.claim).await.unwrap());
    db.accept([call(7)]).await;
    for (number, attempts) in [(2, 1), (4, 0), (5, 0), (6, 0), (7, 0)] {
        let deferral = db.deferral(number).await;
        assert_eq!((deferral.state, deferral.attempts, deferral.provider_batch_id), (State::Queued, attempts, None));
    }
    let portion = super::fixture::AMPLE;
    let next = db.build(20, offpeak::store::Limits { requests: 4, ..portion }).await.unwrap();
    let members = db.store.open_members(next.claim.batch, None, 9).await.unwrap();
    assert_eq!(members.iter().map(|member| member.id).collect::<Vec<_>>(), [id(2), id(4), id(5), id(6)]);
    assert_eq!(members.iter().map(|member| member.attempts).collect::<Vec<_>>(), [2, 1, 1, 1]);
}

async fn halves_carry_all_members_and_all_bytes(db: Fixture) {
    let whole = db.batch(1..8, BatchState::Uncertain).await;
    let (halves, later) = ([batch_id(20), batch_id(21)], NOW.plus(LEASE * 3));
    assert!(db.store.batch_split(whole.claim, halves, later, later).await.unwrap());
    let claimed = db.store.claim_batches(BatchState::Building, later, LEASE, 9).await.unwrap();
    let mut sizes: Vec<_> = claimed.iter().map(|half| (half.claim.batch, half.item_count, half.item_bytes)).collect();
    sizes.sort_unstable();
    let one = call(1).item.text.len() as u64;
    assert_eq!(sizes, [(batch_id(20), 4, 4 * one), (batch_id(21), 3, 3 * one)]);
    assert!(claimed.iter().all(|half| half.lane == whole.lane && half.sent_at.is_none()));
    for (half, members) in halves.into_iter().zip([1..5, 5..8]) {
        let items = db.store.batch_items(half, None).await.unwrap();
        assert!(items.iter().map(|item| item.id).eq(members.map(id)));
    }
    assert_eq!(db.states(1..8).await, [State::Batched; 7]);
    assert_eq!(db.deferral(1).await.attempts, 1, "it was not submitted twice");
    assert!(db.store.batch_items(whole.claim.batch, None).await.unwrap().is_empty());
}

async fn one_call_is_not_split(db: Fixture) {
    let batch = db.batch(1..2, BatchState::Uncertain).await;
    assert!(!db.store.batch_split(batch.claim, [batch_id(20), batch_id(21)], NOW, NOW).await.unwrap());
    assert_eq!(db.batch_state(batch.claim.batch).await, BatchState::Uncertain);
}

async fn a_provider_id_belongs_to_one_batch(db: Fixture) {
    db.batch(1..2, BatchState::Submitted).await;
    let other = db.batch(2..3, BatchState::Uncertain).await;
    assert!(!db.store.batch_submitted(other.claim, &provider_id(1), false, NOW, NOW).await.unwrap());
    assert_eq!(db.batch_state(other.claim.batch).await, BatchState::Uncertain);
    assert!(db.store.batch_submitted(other.claim, &provider_id(2), false, NOW, NOW).await.unwrap());
}

async fn a_batch_is_not_done_while_members_are_open(db: Fixture) {
    let batch = db.batch(1..4, BatchState::Ended).await.claim;
    for settlement in [succeeded(id(1)), again(id(2), NOW), succeeded(id(3))] {
        assert!(!db.store.batch_ingested(batch, NOW).await.unwrap());
        db.store.settle(batch.batch, &[settlement], NOW).await.unwrap();
    }
    // Call 2 is in another batch by now, which is no business of this one.
    db.build(20, AMPLE).await.unwrap();
    assert!(db.store.batch_ingested(batch, NOW).await.unwrap());
}
