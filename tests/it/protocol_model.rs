//! The protocol by which batches are created, searched to its end: every interleaving of two replicas that may stand
//! still or die at every step, of creates whose answers come, are lost or come late, of a list that shows them late,
//! and of a batch of the same size that is somebody else's.
//!
//! It mirrors `src/flush/submit.rs`, `src/flush/reconcile.rs` and the compare-and-set rules of `src/store/batches.rs`.
//! In each state that can be reached no batch exists twice at the provider and nobody's results are taken for another's,
//! and from each of them the end can still be reached. Each rule and each assumption, left out, breaks that.

mod search;
mod world;

use search::{Found, search};
use world::{Lack, World};

#[test]
fn one_batch_is_made_once_and_comes_home() {
    assert_eq!(search(&World::begin(1, false), None), Found::Nothing);
}

#[test]
fn a_foreign_batch_of_the_same_size_is_not_kept() {
    assert_eq!(search(&World::begin(1, true), None), Found::Nothing);
}

#[test]
fn two_batches_of_the_same_size_are_each_made_once_and_come_home() {
    assert_eq!(search(&World::begin(2, false), None), Found::Nothing);
}

#[test]
fn no_rule_and_no_assumption_can_be_spared() {
    for (lack, expected) in [
        (Lack::Fence, Found::MadeTwice),
        (Lack::CheckBeforeLastBytes, Found::MadeTwice),
        (Lack::UncertainFirst, Found::MadeTwice),
        (Lack::Wait, Found::MadeTwice),
        (Lack::WaitAfterLostAnswer, Found::MadeTwice),
        (Lack::Confirmation, Found::TakenForAnother),
        (Lack::MemoryOfMistakes, Found::NoWayHome),
        // What is assumed of the world outside; the first is the window that remains.
        (Lack::LastBytesLeaveInTime, Found::MadeTwice),
        (Lack::ArrivesInTime, Found::MadeTwice),
        (Lack::ListedInTime, Found::MadeTwice),
    ] {
        assert_eq!(search(&World::begin(1, true), Some(lack)), expected, "without {lack:?}");
    }
}
