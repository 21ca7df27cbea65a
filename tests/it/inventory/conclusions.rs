//! What is concluded from the month: who may wait and who may not, and what that saves.

use offpeak::domain::money::NanoUsd;
use offpeak::inventory::{Assessment, Verdict, Workload};

use super::month::{Traffic, Truth, month, some_of_month};
use super::thought::{assessed, without_shape};

/// From so many nano-dollars a month on a workload has weight.
const WEIGHT: u64 = 1_000_000_000;

/// How far savings may be from the books, in percent.
const WITHIN_PERCENT: i128 = 2;

#[test]
fn who_can_wait_is_found_and_nobody_else_and_savings_are_those_of_the_books() {
    agrees_with_the_truth(1);
}

#[test]
fn another_month_is_understood_as_well() {
    agrees_with_the_truth(2);
}

#[test]
fn and_a_third() {
    agrees_with_the_truth(3);
}

fn agrees_with_the_truth(seed: u64) {
    let traffic = month(seed);
    let assessed = assessed(traffic.iter().flat_map(|one| &one.calls));
    assert_eq!((traffic.len(), assessed.len()), (40, 40));
    let faults: Vec<_> = traffic.iter().flat_map(|one| faults(one, &of(one, &assessed).1)).collect();
    assert!(faults.is_empty(), "seed {seed}:\n{}", faults.join("\n"));
}

/// What an assessment has wrong.
fn faults(one: &Traffic, assessment: &Assessment) -> Vec<String> {
    let mut faults = Vec::new();
    let wrong = match one.truth {
        Truth::CanWait => one.books.live >= WEIGHT && assessment.verdict != Verdict::Candidate,
        Truth::MustNotWait => assessment.verdict == Verdict::Candidate,
        Truth::Either => false,
    };
    if wrong {
        faults.push(format!("{} ({:?}): {assessment:#?}", one.name, one.truth));
    }
    let savings = &assessment.savings;
    for (what, ours, book) in [
        ("live", savings.monthly_live, one.books.live),
        ("batch", savings.batch, one.books.saved),
        ("cached", savings.batch_cached, one.books.saved_cached),
    ] {
        if !is_close(ours, book) {
            faults.push(format!("{} {what}: {ours} instead of {}", one.name, NanoUsd(book as i64)));
        }
    }
    faults
}

#[test]
fn no_agent_is_recommended_although_nothing_of_its_shape_is_known() {
    for seed in 1..=3 {
        let agents = some_of_month(seed, |name| name.ends_with("-agent"));
        let calls: Vec<_> = agents.iter().flat_map(|one| &one.calls).map(without_shape).collect();
        for (workload, assessment) in assessed(&calls) {
            assert_ne!(assessment.verdict, Verdict::Candidate, "{}: {assessment:#?}", workload.profile.workload);
        }
    }
}

#[test]
fn a_score_is_the_sum_of_its_parts() {
    let traffic = month(4);
    for (workload, assessment) in assessed(traffic.iter().flat_map(|one| &one.calls)) {
        let sum: i32 = assessment.parts.iter().map(|part| part.points).sum();
        assert_eq!(i32::from(assessment.score), sum.clamp(0, 100), "{}", workload.profile.workload);
        assert!(assessment.parts.iter().all(|part| !part.reason.is_empty()));
    }
}

fn of<'a>(one: &Traffic, assessed: &'a [(Workload, Assessment)]) -> &'a (Workload, Assessment) {
    assessed.iter().find(|(workload, _)| workload.profile.workload == one.name).unwrap()
}

fn is_close(ours: NanoUsd, book: u64) -> bool {
    let apart = (i128::from(ours.0) - i128::from(book)).abs();
    apart * 100 <= i128::from(book) * WITHIN_PERCENT
}
