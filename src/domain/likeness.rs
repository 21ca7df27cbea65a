//! Likeness: which known name was meant by one that is not known.

/// From this likeness on (0 is nothing alike, 1 the same) a name is taken for a slip of the pen.
const LIKENESS_MIN: f64 = 0.6;

/// The candidate that is most like `name`, if one is like it at all.
pub fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let likeness = |candidate: &str| strsim::normalized_damerau_levenshtein(name, candidate);
    let near = candidates.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(near) >= LIKENESS_MIN).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_seen_through_and_another_word_is_not() {
        let known = ["model", "messages", "max_tokens"];
        assert_eq!(nearest("modle", &known), Some("model"));
        assert_eq!(nearest("max_token", &known), Some("max_tokens"));
        assert_eq!(nearest("temperature", &known), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
