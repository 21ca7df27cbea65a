//! A page of a list, cut by ids as the provider cuts it.

use serde::Serialize;
use serde_json::value::RawValue;

use super::error::{ApiError, json};

/// The most entries of one page.
const LIMIT_MAX: usize = 1_000;
/// The entries of a page that asks for no number.
const LIMIT_DEFAULT: usize = 20;

/// Which part of a list is wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    limit: usize,
    after: Option<String>,
    before: Option<String>,
}

impl Wanted {
    /// Reads a query; members that are not of paging do not count.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut wanted = Self { limit: LIMIT_DEFAULT, after: None, before: None };
        for (key, value) in query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
            match key {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    wanted.limit = limit.ok_or_else(|| {
                        ApiError::invalid(format!("limit: Input should be a valid integer between 1 and {LIMIT_MAX}"))
                    })?;
                }
                "after_id" => wanted.after = Some(value.to_owned()),
                "before_id" => wanted.before = Some(value.to_owned()),
                _ => {}
            }
        }
        Ok(wanted)
    }

    /// The entries that are wanted of those with these ids, and whether there are more in the direction of paging.
    fn cut(&self, ids: &[&str]) -> Result<(std::ops::Range<usize>, bool), ApiError> {
        let place = |id: &str| {
            ids.iter().position(|other| *other == id).ok_or_else(|| ApiError::invalid(format!("No such id: {id}")))
        };
        if let Some(before) = &self.before {
            let end = place(before)?;
            let start = end.saturating_sub(self.limit);
            return Ok((start..end, start > 0));
        }
        let start = self.after.as_deref().map(place).transpose()?.map_or(0, |at| at + 1);
        let end = ids.len().min(start + self.limit);
        Ok((start..end, end < ids.len()))
    }
}

/// The page that is wanted of a list of entries by id, as the provider writes it.
pub(super) fn page(wanted: &Wanted, ids: &[&str], entry: impl Fn(usize) -> Box<RawValue>) -> Result<String, ApiError> {
    let (range, has_more) = wanted.cut(ids)?;
    let shown = &ids[range.clone()];
    Ok(json(&Page {
        data: range.map(entry).collect(),
        has_more,
        first_id: shown.first().copied(),
        last_id: shown.last().copied(),
    }))
}

#[derive(Serialize)]
struct Page<'e> {
    data: Vec<Box<RawValue>>,
    has_more: bool,
    first_id: Option<&'e str>,
    last_id: Option<&'e str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_in_both_directions() {
        let cut = |query: &str| Wanted::parse(Some(query)).unwrap().cut(&["a", "b", "c", "d", "e"]).unwrap();
        assert_eq!(cut("beta=true"), (0..5, false));
        assert_eq!(cut("limit=2"), (0..2, true));
        assert_eq!(cut("limit=2&after_id=b"), (2..4, true));
        assert_eq!(cut("limit=2&after_id=c"), (3..5, false));
        assert_eq!(cut("after_id=e"), (5..5, false));
        assert_eq!(cut("limit=2&before_id=d"), (1..3, true));
        assert_eq!(cut("limit=3&before_id=d"), (0..3, false));
    }

    #[test]
    fn refuses_what_it_cannot_cut() {
        for query in ["limit=0", "limit=1001", "limit=x", "limit="] {
            assert_eq!(Wanted::parse(Some(query)).err().map(|error| error.status), Some(400), "{query}");
        }
        assert!(Wanted::parse(Some("after_id=z")).unwrap().cut(&["a"]).is_err());
    }
}
