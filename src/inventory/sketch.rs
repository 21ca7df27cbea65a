//! Sketches: what prompts are compared by, small enough to keep one of each workload.
//!
//! A prompt is taken for the set of its runs of three words, and its tools' names. Of the keyed hashes of these the
//! smallest are kept, which are a fair sample: by how many two samples share, it is told how much two prompts do.
//! The same for the beginning alone, since a template may end in a whole document that was filled in.

use std::collections::BTreeSet;

use crate::inventory::keyed::{Keyed, word_hash};

/// Hashes that are kept of the whole, and of the beginning: enough to tell a third from a half.
const WHOLE: usize = 64;
const BEGINNING: usize = 32;

/// Words that count as the beginning: about what somebody writes before he fills something in.
const BEGINNING_WORDS: usize = 80;

/// Words of a prompt that are looked at.
const WORDS_MAX: usize = 20_000;

/// From this share of common runs on, two prompts are one template that was filled in twice. Two that were written apart
/// share hardly any.
const ALIKE_WHOLE: f64 = 0.5;

/// The same for their beginnings: more, because there is less of them.
const ALIKE_BEGINNING: f64 = 0.7;

/// A shorter beginning says too little: many prompts begin with the same sentence.
const BEGINNING_MIN: usize = 24;

const HASH_BYTES: usize = 8;

/// What is kept of a prompt to compare it by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sketch {
    whole: Vec<u64>,
    beginning: Vec<u64>,
}

impl Sketch {
    /// The sketch of a prompt in its normal form, and of its tools.
    pub(super) fn of(normal: &str, tools: &[&str], keyed: &Keyed) -> Self {
        let words: Vec<u64> =
            normal.split(' ').filter(|word| !word.is_empty()).take(WORDS_MAX).map(word_hash).collect();
        let runs = |words: &[u64]| -> Vec<u64> {
            match words.len() {
                0 => Vec::new(),
                1 | 2 => vec![keyed.mix(words.iter().copied())],
                _ => words.windows(3).map(|run| keyed.mix(run.iter().copied())).collect(),
            }
        };
        let named = tools.iter().map(|tool| keyed.mix([word_hash("tool"), word_hash(tool)]));
        let beginning = &words[..words.len().min(BEGINNING_WORDS)];
        Self {
            whole: smallest(runs(&words).into_iter().chain(named), WHOLE),
            beginning: if beginning.len() < BEGINNING_MIN {
                Vec::new()
            } else {
                smallest(runs(beginning).into_iter(), BEGINNING)
            },
        }
    }

    /// How alike two prompts are, if they are alike enough to be of one workload.
    pub(super) fn likeness(&self, other: &Self) -> Option<f64> {
        let (whole, beginning) =
            (common(&self.whole, &other.whole, WHOLE), common(&self.beginning, &other.beginning, BEGINNING));
        (whole >= ALIKE_WHOLE || beginning >= ALIKE_BEGINNING).then_some(whole + beginning)
    }

    /// As the database has it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let count = self.whole.len() as u64;
        std::iter::once(&count).chain(&self.whole).chain(&self.beginning).flat_map(|hash| hash.to_be_bytes()).collect()
    }

    /// Reads what [`Sketch::to_bytes`] wrote; anything else is like nothing.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let mut hashes =
            bytes.chunks_exact(HASH_BYTES).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_be_bytes);
        let count = hashes.next().and_then(|count| usize::try_from(count).ok()).unwrap_or(0).min(WHOLE);
        let whole = hashes.by_ref().take(count).collect();
        Self { whole, beginning: hashes.take(BEGINNING).collect() }
    }
}

fn smallest(hashes: impl Iterator<Item = u64>, count: usize) -> Vec<u64> {
    hashes.collect::<BTreeSet<u64>>().into_iter().take(count).collect()
}

/// The share of what two sets have in common, from the smallest hashes of each: of all that either has, the `count`
/// smallest are a fair sample.
fn common(one: &[u64], other: &[u64], count: usize) -> f64 {
    let (mut ours, mut theirs) = (one.iter().peekable(), other.iter().peekable());
    let (mut seen, mut shared) = (0usize, 0usize);
    while seen < count {
        match (ours.peek(), theirs.peek()) {
            (Some(a), Some(b)) if a == b => {
                shared += 1;
                ours.next();
                theirs.next();
            }
            (Some(a), Some(b)) if a < b => drop(ours.next()),
            (Some(_), None) => drop(ours.next()),
            (_, Some(_)) => drop(theirs.next()),
            (None, None) => break,
        }
        seen += 1;
    }
    if seen == 0 { 0.0 } else { shared as f64 / seen as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::normal::normal;

    const SUPPORT: &str = "You are the support assistant of a shop for garden tools. You answer the letters of \
        customers in a friendly and brief way. You never promise a refund, and you never give a discount. If a customer \
        is angry, you say that you are sorry and offer to call. You write in the language of the letter. The customer \
        whose letter you answer is";
    const REVIEW: &str = "Review the change that follows as an experienced engineer would. Look for mistakes in \
        arithmetic, for missing checks of what comes from outside, and for locks that are taken in a changing order. \
        List each with the line it stands in, the worst first. Do not praise. If there is nothing to say, say nothing.";

    fn sketch(text: &str) -> Sketch {
        Sketch::of(&normal(text), &[], &Keyed::test())
    }

    #[test]
    fn a_template_is_known_again_with_whatever_is_filled_in() {
        let known = sketch(&format!("{SUPPORT} Ann Smith from Leeds, who bought a spade."));
        for filled_in in ["Jörg Müller of Bonn, who bought two rakes and a hose last spring.", &REVIEW.repeat(5)] {
            assert!(sketch(&format!("{SUPPORT} {filled_in}")).likeness(&known).is_some(), "{filled_in}");
        }
        assert_eq!(sketch(REVIEW).likeness(&known), None);
        assert_eq!(sketch(&format!("You are the support assistant. {REVIEW}")).likeness(&known), None);
    }

    #[test]
    fn tools_count_where_there_is_no_prompt() {
        let of = |tools: &[&str]| Sketch::of("", tools, &Keyed::test());
        assert!(of(&["a", "b", "c"]).likeness(&of(&["a", "b", "c", "d"])).is_some());
        assert_eq!(of(&["a", "b"]).likeness(&of(&["c", "d"])), None);
        assert_eq!(of(&[]).likeness(&of(&[])), None);
    }

    #[test]
    fn a_sketch_reads_back_and_is_small() {
        for text in ["", "one", SUPPORT, &REVIEW.repeat(100)] {
            let sketch = sketch(text);
            let bytes = sketch.to_bytes();
            assert!(bytes.len() <= (1 + WHOLE + BEGINNING) * HASH_BYTES);
            assert_eq!(Sketch::from_bytes(&bytes), sketch);
        }
        assert_eq!(Sketch::from_bytes(&[0xff; 20]), Sketch { whole: vec![u64::MAX], beginning: vec![] });
    }
}
