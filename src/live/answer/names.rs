//! The names of the headers that an upstream sent last: it sends the same ones, in the same order, with every answer.

use http::HeaderName;
use http::header::InvalidHeaderName;

/// The names that were read on a connection, by their place in the head. To know one again costs a comparison and no
/// allocation; most of what reading a head takes would go into the names.
#[derive(Debug, Default)]
pub struct Names(Vec<HeaderName>);

impl Names {
    /// The name that stands at `place`, written as `raw`. Places are asked for from the first on, one by one.
    pub(super) fn read(&mut self, place: usize, raw: &[u8]) -> Result<HeaderName, InvalidHeaderName> {
        if let Some(known) = self.0.get(place).filter(|known| known.as_str().as_bytes() == raw) {
            return Ok(known.clone());
        }
        let name = HeaderName::from_bytes(raw)?;
        match self.0.get_mut(place) {
            Some(known) => *known = name.clone(),
            None => self.0.push(name.clone()),
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_stands_there_whatever_stood_there_before() {
        let mut names = Names::default();
        for head in [&["Date", "x-a"][..], &["date", "x-a", "x-b"], &["x-b", "date"], &["date", "X-A", "x-c"]] {
            for (place, raw) in head.iter().enumerate() {
                assert_eq!(names.read(place, raw.as_bytes()).unwrap().as_str(), raw.to_ascii_lowercase());
            }
        }
        assert!(names.read(0, b"a b").is_err());
    }
}
