//! The search: every state that can be reached, the nearest first, and whether each can still reach the end.

use std::collections::HashMap;

use super::world::{Lack, World};

/// More states than this are not searched.
const STATES_MAX: usize = 4_000_000;

/// What the search has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing that should not be.
    Nothing,
    /// The provider has made two batches of one.
    MadeTwice,
    /// Results of another batch were taken for those of ours.
    TakenForAnother,
    /// A state from which not every batch can come home any more.
    NoWayHome,
}

/// Searches all that can follow; `lack` is the one rule or assumption that does not hold.
pub(super) fn search(begin: &World, lack: Option<Lack>) -> Found {
    let mut known = HashMap::from([(begin.canonical(), 0u32)]);
    let mut states = vec![begin.canonical()];
    let mut before: Vec<Vec<u32>> = vec![Vec::new()];
    let mut next = 0;
    while let Some(state) = states.get(next).copied() {
        let broken = if state.is_made_twice() {
            Some(Found::MadeTwice)
        } else if state.is_taken_for_another() {
            Some(Found::TakenForAnother)
        } else {
            None
        };
        if let Some(found) = broken {
            tell_how(&states, &before, next);
            return found;
        }
        for follower in state.followers(lack) {
            let follower = follower.canonical();
            let index = *known.entry(follower).or_insert_with(|| {
                states.push(follower);
                before.push(Vec::new());
                u32::try_from(states.len() - 1).unwrap()
            });
            before[index as usize].push(u32::try_from(next).unwrap());
        }
        assert!(states.len() <= STATES_MAX, "the search finds no end");
        next += 1;
    }
    println!("{} states", states.len());
    if all_reach_the_end(&states, &before) { Found::Nothing } else { Found::NoWayHome }
}

/// Goes back from every end, and sees whether that leads everywhere.
fn all_reach_the_end(states: &[World], before: &[Vec<u32>]) -> bool {
    let mut reaches: Vec<bool> = states.iter().map(World::is_the_end).collect();
    let mut open: Vec<usize> = (0..states.len()).filter(|index| reaches[*index]).collect();
    while let Some(index) = open.pop() {
        for earlier in &before[index] {
            let earlier = *earlier as usize;
            if !reaches[earlier] {
                reaches[earlier] = true;
                open.push(earlier);
            }
        }
    }
    reaches.iter().all(|reaches| *reaches)
}

/// The shortest way to a state, for whoever reads why a test failed.
fn tell_how(states: &[World], before: &[Vec<u32>], end: usize) {
    let way = std::iter::successors(Some(end), |index| (*index > 0).then(|| before[*index][0] as usize));
    let way: Vec<usize> = way.collect();
    way.iter().rev().for_each(|index| println!("{:?}", states[*index]));
}
