//! When machines call: by the clock, in bursts, and as workers that empty a queue.

use offpeak::domain::record::CallRecord;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::job::Job;
use super::{DAY, DAYS, SECOND, START};

/// A number around `mean`, now and then far from it: the sum of uniform ones, which is nearly a normal one.
pub(in crate::it::inventory) fn normal(random: &mut StdRng, mean: f64, deviation: f64) -> f64 {
    let sum: f64 = (0..12).map(|_| random.random::<f64>()).sum();
    mean + (sum - 6.0) * deviation
}

/// The time to the next of events that come as they please.
pub(in crate::it::inventory) fn exponential(random: &mut StdRng, mean: f64) -> f64 {
    -mean * (1.0 - random.random::<f64>()).ln()
}

/// Every `period` from `offset` into the month, up to `jitter` late.
pub(in crate::it::inventory) fn clock(random: &mut StdRng, period: i64, offset: i64, jitter: i64) -> Vec<i64> {
    let mut times = Vec::new();
    let mut at = START + offset;
    while at < START + DAYS * DAY {
        times.push(at + random.random_range(0..=jitter));
        at += period;
    }
    times
}

/// So many calls for each of these times, one after the other, `workers` at a time.
pub(in crate::it::inventory) fn bursts(
    random: &mut StdRng,
    job: &Job,
    times: &[i64],
    size: (u64, u64),
    workers: usize,
) -> Vec<CallRecord> {
    let mut calls = Vec::new();
    for time in times {
        let size = random.random_range(size.0..=size.1);
        calls.extend(drain(random, job, *time, size, workers));
    }
    calls
}

/// `workers` take piece after piece from a queue of `size`, with some milliseconds to store each answer.
pub(in crate::it::inventory) fn drain(
    random: &mut StdRng,
    job: &Job,
    begin: i64,
    size: u64,
    workers: usize,
) -> Vec<CallRecord> {
    drain_slowly(random, job, begin, (size, workers), (4, 40))
}

/// The same, with so many milliseconds from an end to the next beginning.
pub(in crate::it::inventory) fn drain_slowly(
    random: &mut StdRng,
    job: &Job,
    begin: i64,
    (size, workers): (u64, usize),
    pause: (i64, i64),
) -> Vec<CallRecord> {
    let mut free: Vec<i64> = (0..workers).map(|worker| begin + worker as i64 * 15).collect();
    let mut calls = Vec::new();
    for _ in 0..size {
        let Some(next) = free.iter_mut().min() else { break };
        let call = job.call(random, *next);
        *next += call.duration_ms as i64 + random.random_range(pause.0..=pause.1);
        calls.push(call);
    }
    calls
}

/// Calls that come as they please, so many a day, day and night.
pub(in crate::it::inventory) fn at_random(random: &mut StdRng, job: &Job, a_day: f64) -> Vec<CallRecord> {
    let mut calls = Vec::new();
    let mut at = START as f64;
    loop {
        at += exponential(random, DAY as f64 / a_day);
        if at as i64 >= START + DAYS * DAY {
            return calls;
        }
        calls.push(job.call(random, at as i64));
    }
}

/// A loop that does its work and then pauses.
pub(in crate::it::inventory) fn looping(random: &mut StdRng, job: &Job, pause: i64) -> Vec<CallRecord> {
    let mut calls = Vec::new();
    let mut at = START + 17 * SECOND;
    while at < START + DAYS * DAY {
        let call = job.call(random, at);
        at += call.duration_ms as i64 + pause;
        calls.push(call);
    }
    calls
}
