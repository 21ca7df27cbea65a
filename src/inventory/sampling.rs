//! Sampling calls as they come: all of them while they are few, then blocks of consecutive ones, each block as likely
//! to stay as any other.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::domain::record::CallRecord;
use crate::inventory::sample::{Sample, Seen};

/// So many calls of a workload are kept. A month of a call every ten minutes is kept whole.
const CALLS_MAX: usize = 4_608;
/// So many consecutive ones are a block: long enough to see what follows on what, short enough for many of them.
const BLOCK: usize = 64;
const BLOCKS: u64 = (CALLS_MAX / BLOCK) as u64;

/// A sample that grows call by call.
pub(super) struct Sampling {
    sample: Sample,
    /// Whole blocks; while nothing has been left out, they are all of the calls.
    blocks: Vec<Vec<Seen>>,
    /// The block that is being filled.
    current: Vec<Seen>,
    /// How many blocks there have been.
    offered: u64,
    random: u64,
}

impl Sampling {
    /// An empty one. What it keeps depends on the workload's name and its calls alone, so that asking twice gives the
    /// same answer.
    pub(super) fn new(workload: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        workload.hash(&mut hasher);
        Self { sample: Sample::default(), blocks: Vec::new(), current: Vec::new(), offered: 0, random: hasher.finish() }
    }

    pub(super) fn add(&mut self, call: &CallRecord) {
        let seen = self.sample.see(call);
        self.current.push(seen);
        if self.current.len() == BLOCK {
            let block = std::mem::take(&mut self.current);
            self.offer(block);
        }
    }

    /// Vitter's algorithm R, on blocks.
    fn offer(&mut self, block: Vec<Seen>) {
        self.offered += 1;
        if self.offered <= BLOCKS {
            self.blocks.push(block);
            return;
        }
        let place = self.next_random() % self.offered;
        if let Some(kept) = usize::try_from(place).ok().and_then(|place| self.blocks.get_mut(place)) {
            *kept = block;
        }
    }

    /// SplitMix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The sample: one run if all calls are in it, else a run for each block. Calls may come in any order, runs are
    /// in order of arrival.
    pub(super) fn finish(self) -> Sample {
        let Self { mut sample, mut blocks, current, offered, .. } = self;
        let whole = offered <= BLOCKS;
        blocks.push(current);
        if whole {
            blocks = vec![blocks.into_iter().flatten().collect()];
        }
        for mut run in blocks {
            run.sort_by_key(|call| call.at);
            sample.push(run);
        }
        sample.set_whole(whole);
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn sample(calls: usize, order: impl Fn(usize) -> usize) -> Sample {
        let mut sampling = Sampling::new("some");
        for number in 0..calls {
            let at = Timestamp::from_millis(order(number) as i64);
            sampling.add(&CallRecord { at, ..CallRecord::default() });
        }
        sampling.finish()
    }

    #[test]
    fn few_calls_are_kept_whole_and_in_order() {
        let sample = sample(1_000, |number| 999 - number);
        assert!(sample.is_whole() && sample.runs().len() == 1 && sample.len() == 1_000);
        assert!(sample.runs()[0].is_sorted_by_key(|call| call.at));
    }

    #[test]
    fn of_many_calls_blocks_from_all_over_are_kept() {
        const CALLS: usize = 200_000;
        let sample = sample(CALLS, |number| number);
        assert!(!sample.is_whole() && (CALLS_MAX - BLOCK..=CALLS_MAX + BLOCK).contains(&sample.len()));
        for run in sample.runs() {
            assert!(run.windows(2).all(|two| two[1].at.as_millis() - two[0].at.as_millis() == 1));
        }
        // Each tenth of the calls has its share, give or take what chance does to seven blocks of seventy.
        let tenth = |call: &&Seen| call.at.as_millis() as usize / (CALLS / 10);
        for part in 0..10 {
            let calls = sample.calls().filter(|call| tenth(call) == part).count();
            assert!((64..=1_300).contains(&calls), "tenth {part}: {calls}");
        }
    }
}
