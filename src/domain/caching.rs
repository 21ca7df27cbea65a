//! Caching: where in a prompt a mark may go, and by what calls are known that share a beginning up to there.

/// Bytes that a marked item takes more in a batch than its text has: the most that a mark adds, and blanks for the rest.
/// Always the same, so that the length of a batch is known before its items are read.
pub const MARK_BYTES: u16 = 80;

/// How many places of a prompt are kept. Prompts of more blocks share their first ones, if any.
const PLACES_MAX: usize = 8;

/// Bytes of one place as it is kept: where it is, its tokens, and its hash.
const KEPT_BYTES: usize = 1 + 4 + 8;

/// Where a mark may go: behind the tools, or behind a block of the system prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Behind the last tool.
    Tools,
    /// Behind this block of the system prompt, counted from 0.
    System(u8),
}

/// Stands for a beginning: the same for the same model, the same tools and the same blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct PrefixHash(pub i64);

/// The beginning of a prompt, up to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Where it ends.
    pub place: Place,
    /// How many tokens it has, at the least.
    pub tokens: u32,
    /// What it is known by.
    pub hash: PrefixHash,
}

/// The beginnings of one prompt that can be cached, the shortest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes(Vec<Prefix>);

impl Place {
    /// As a number, for keeping.
    pub fn number(self) -> i16 {
        match self {
            Self::Tools => 0,
            Self::System(block) => i16::from(block) + 1,
        }
    }

    /// The place of this number.
    pub fn of(number: i16) -> Option<Self> {
        match number {
            0 => Some(Self::Tools),
            _ => u8::try_from(number.checked_sub(1)?).ok().map(Self::System),
        }
    }
}

impl Prefixes {
    /// Adds a longer one, while there is room.
    pub fn push(&mut self, prefix: Prefix) {
        if self.0.len() < PLACES_MAX {
            self.0.push(prefix);
        }
    }

    /// They, the shortest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Prefix> {
        self.0.iter()
    }

    /// As they are kept; `None` where there are none.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let kept = self.0.iter().flat_map(|prefix| {
            let place = u8::try_from(prefix.place.number()).unwrap_or(u8::MAX);
            [place].into_iter().chain(prefix.tokens.to_be_bytes()).chain(prefix.hash.0.to_be_bytes())
        });
        (!self.0.is_empty()).then(|| kept.collect())
    }

    /// What was kept.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let prefix = |kept: &[u8]| {
            let (place, rest) = kept.split_first()?;
            let (tokens, hash) = rest.split_at_checked(4)?;
            Some(Prefix {
                place: Place::of(i16::from(*place))?,
                tokens: u32::from_be_bytes(tokens.try_into().ok()?),
                hash: PrefixHash(i64::from_be_bytes(hash.try_into().ok()?)),
            })
        };
        Self(bytes.chunks_exact(KEPT_BYTES).filter_map(prefix).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_kept_as_they_are() {
        let mut prefixes = Prefixes::default();
        assert_eq!(prefixes.to_bytes(), None);
        for (place, tokens, hash) in
            [(Place::Tools, 1, i64::MIN), (Place::System(0), 7, 0), (Place::System(254), 9, -1)]
        {
            prefixes.push(Prefix { place, tokens, hash: PrefixHash(hash) });
        }
        assert_eq!(Prefixes::from_bytes(&prefixes.to_bytes().unwrap()), prefixes);
        assert_eq!(Prefixes::from_bytes(&[0; KEPT_BYTES - 1]), Prefixes::default());
    }
}
