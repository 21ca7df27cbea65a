//! Pieces: what is kept of a body while it passes: all of a short one, of a stream its beginning and its end.

use bytes::Bytes;

/// Shorter pieces are copied: a handle to one would keep the whole buffer that it was read into.
const COPIED_MAX: usize = 8 * 1024;

/// Of a stream so much is kept at its beginning, where its model and its prompt's tokens stand, and at its end, where its
/// usage does. Together with what a stream weighs anyway this stays far below 32 KiB.
const BEGINNING: usize = 4 * 1024;
const ENDING: usize = 4 * 1024;

/// What has passed of a body that is kept whole.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    // Most bodies come in one piece, which then costs no list.
    first: Bytes,
    more: Vec<Bytes>,
    length: usize,
}

impl Pieces {
    /// Keeps one more.
    pub(super) fn push(&mut self, data: &Bytes) {
        let kept = if data.len() < COPIED_MAX { Bytes::copy_from_slice(data) } else { data.clone() };
        self.length += kept.len();
        if self.first.is_empty() {
            self.first = kept;
        } else {
            self.more.push(kept);
        }
    }

    /// How long they are together.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// All of them as one.
    pub(super) fn joined(self) -> Bytes {
        if self.more.is_empty() {
            return self.first;
        }
        let mut whole = Vec::with_capacity(self.length);
        std::iter::once(&self.first).chain(&self.more).for_each(|piece| whole.extend_from_slice(piece));
        whole.into()
    }

    fn iter(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(&self.more)
    }
}

/// The beginning and the end of what has passed.
#[derive(Debug, Default)]
pub(super) struct Ends {
    beginning: Vec<u8>,
    /// The last bytes, in a ring that begins at `oldest` once it is full.
    ending: Vec<u8>,
    oldest: usize,
    /// Whether something between them is not kept.
    has_gap: bool,
}

/// Both ends of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BothEnds {
    pub(super) beginning: Vec<u8>,
    /// Empty where the beginning is all.
    pub(super) ending: Vec<u8>,
}

impl Ends {
    /// What one takes at most.
    pub(super) const MAX: usize = BEGINNING + ENDING;

    /// The ends of what was to be kept whole and has become too long for that.
    pub(super) fn of(pieces: &Pieces) -> Self {
        let mut ends = Self::default();
        pieces.iter().for_each(|piece| ends.push(piece));
        ends
    }

    /// One more piece passes.
    pub(super) fn push(&mut self, data: &[u8]) {
        let missing = BEGINNING - self.beginning.len();
        let (first, rest) = data.split_at(missing.min(data.len()));
        self.beginning.extend_from_slice(first);
        if rest.is_empty() {
            return;
        }
        if self.ending.capacity() == 0 {
            self.ending.reserve_exact(ENDING);
        }
        let last = &rest[rest.len().saturating_sub(ENDING)..];
        self.has_gap |= last.len() < rest.len() || self.ending.len() + last.len() > ENDING;
        let (fills, wraps) = last.split_at((ENDING - self.ending.len()).min(last.len()));
        self.ending.extend_from_slice(fills);
        self.overwrite(wraps);
    }

    /// Puts `data`, of at most the ring's length, over what is oldest.
    fn overwrite(&mut self, data: &[u8]) {
        let (here, around) = data.split_at((ENDING - self.oldest).min(data.len()));
        if !here.is_empty() {
            self.ending[self.oldest..self.oldest + here.len()].copy_from_slice(here);
        }
        self.ending[..around.len()].copy_from_slice(around);
        self.oldest = (self.oldest + data.len()) % ENDING;
    }

    /// Both ends in their order; as one where nothing is missing between them.
    pub(super) fn into_both(mut self) -> BothEnds {
        let oldest = self.oldest.min(self.ending.len());
        self.ending.rotate_left(oldest);
        if !self.has_gap {
            self.beginning.append(&mut self.ending);
        }
        BothEnds { beginning: self.beginning, ending: self.ending }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_ends_are_kept_however_it_is_cut(
            cuts in prop::collection::vec(0..6_000usize, 0..8),
            length in 0..20_000usize,
        ) {
            let whole: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
            let mut ends = Ends::default();
            let mut rest = whole.as_slice();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                ends.push(piece);
                rest = after;
            }
            ends.push(rest);
            let BothEnds { beginning, ending } = ends.into_both();
            if length <= Ends::MAX {
                prop_assert_eq!(beginning, whole);
                prop_assert!(ending.is_empty());
            } else {
                prop_assert_eq!(beginning, &whole[..BEGINNING]);
                prop_assert_eq!(ending, &whole[length - ENDING..]);
            }
        }
    }

    #[test]
    fn pieces_are_one_again() {
        let mut pieces = Pieces::default();
        let long = Bytes::from(vec![b'x'; COPIED_MAX]);
        for piece in [&Bytes::from_static(b"ab"), &Bytes::new(), &long] {
            pieces.push(piece);
        }
        assert_eq!(pieces.len(), COPIED_MAX + 2);
        assert_eq!(pieces.joined(), [b"ab".as_slice(), &long].concat());
        assert!(Pieces::default().joined().is_empty());
    }
}
