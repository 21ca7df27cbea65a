//! Queue-like: the end of one call starts the next, or always as many are under way, as when a fixed number of workers
//! empty a queue.

use super::{Findings, median};
use crate::clock::Timestamp;
use crate::inventory::assessment::SignalKind;
use crate::inventory::figures::{count, span};
use crate::inventory::sample::Seen as Call;
use crate::inventory::workload::Workload;

/// Points for a queue that is seen as clearly as can be.
const WEIGHT: i32 = 30;

/// How many calls it takes to tell.
const ENOUGH: usize = 30;

/// What part of the mean distance between calls counts as "at once", and the longest that counts as that: a worker
/// needs some milliseconds to store one answer and take the next piece of work.
const AT_ONCE: f64 = 0.1;
const AT_ONCE_MAX_MILLIS: f64 = 2_000.0;

/// The part of calls that must start at once when another ends. By chance it is about [`AT_ONCE`].
const FOLLOWS: f64 = 0.5;

/// How much less than by chance the number of calls under way may vary: for calls that come as they please its variance
/// is its mean.
const STEADY: f64 = 0.35;

/// Calls that are further apart than this many of their durations do not wait for each other.
const BUSY_DURATIONS: i64 = 3;

/// So many calls back is looked for those under way; a larger pool is judged by its latest part.
const LOOK_BACK: usize = 128;

pub(super) fn look(workload: &Workload, found: &mut Findings) {
    let mut follows = Follows::default();
    for run in workload.sample.runs() {
        for stretch in stretches(run) {
            follows.add(stretch);
        }
    }
    if let Some((strength, evidence)) = follows.judged() {
        found.signal(SignalKind::Queue, WEIGHT, strength, evidence);
    }
}

/// What was seen of calls that came while others were under way, or right after.
#[derive(Default)]
struct Follows {
    calls: usize,
    at_once: usize,
    /// How long after the last end calls came that came at once, in milliseconds.
    delays: Vec<f64>,
    under_way: Vec<f64>,
}

impl Follows {
    /// A stretch of calls that came closely after each other.
    fn add(&mut self, calls: &[Call]) {
        let [first, .., last] = calls else { return };
        let apart = (last.at.as_millis() - first.at.as_millis()) as f64 / (calls.len() - 1) as f64;
        let at_once = (apart * AT_ONCE).min(AT_ONCE_MAX_MILLIS);
        // Until the pool is full, nothing has ended whose place a call could take.
        let full = calls.iter().position(|call| call.at >= end(first)).unwrap_or(calls.len()).max(1);
        for (index, call) in calls.iter().enumerate().skip(full) {
            let before = &calls[index.saturating_sub(LOOK_BACK)..index];
            let last_end = before.iter().map(end).filter(|end| *end <= call.at).max();
            let Some(last_end) = last_end else { continue };
            let delay = (call.at.as_millis() - last_end.as_millis()) as f64;
            self.calls += 1;
            if delay <= at_once {
                self.at_once += 1;
                self.delays.push(delay);
            }
            self.under_way.push(before.iter().filter(|other| end(other) > call.at).count() as f64);
        }
    }

    /// How clearly it is a queue, and what says so.
    fn judged(self) -> Option<(f64, String)> {
        if self.calls < ENOUGH {
            return None;
        }
        let follows = self.at_once as f64 / self.calls as f64;
        let n = self.under_way.len() as f64;
        let mean = self.under_way.iter().sum::<f64>() / n;
        let variance = self.under_way.iter().map(|under_way| (under_way - mean).powi(2)).sum::<f64>() / n;
        // With none or one under way there is no crowd whose steadiness could be judged.
        let steady = mean >= 1.5 && variance / mean <= STEADY;
        let workers = mean.round() + 1.0;
        let of = count(self.calls as u64);
        if follows >= FOLLOWS {
            let delay = median(self.delays).map_or_else(String::new, |delay| format!(", {} later", span(delay)));
            let evidence = format!(
                "{:.0} % of {of} calls start when another ends{delay}; {workers:.0} at a time",
                follows * 100.0
            );
            return Some((follows.midpoint(1.0), evidence));
        }
        steady.then(|| (1.0 - variance / mean, format!("always about {workers:.0} calls at a time, over {of} calls")))
    }
}

/// A run, cut where calls are so far apart that none can have waited for another.
fn stretches(run: &[Call]) -> impl Iterator<Item = &[Call]> {
    let longest = run.iter().map(|call| call.duration_ms).max().unwrap_or(0);
    let typical = median(run.iter().map(|call| call.duration_ms as f64).collect()).unwrap_or(0.0) as i64;
    let far = BUSY_DURATIONS * typical + AT_ONCE_MAX_MILLIS as i64 + longest as i64;
    run.chunk_by(move |a, b| b.at.as_millis() - a.at.as_millis() <= far)
}

fn end(call: &Call) -> Timestamp {
    Timestamp::from_millis(call.at.as_millis().saturating_add_unsigned(call.duration_ms))
}
