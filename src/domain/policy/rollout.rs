//! Rollout: of the calls that a rule matches, those that it already means.

use sha2::{Digest, Sha256};

/// Whether this call is among the first `percent` in a hundred of a rule.
///
/// The same call always is or is not, on every replica and after a restart; and one that is stays in as `percent` grows.
pub fn includes(rule: &str, percent: u8, body: &[u8]) -> bool {
    percent >= 100 || (percent > 0 && share(rule, body) < u64::from(percent))
}

/// Where a call stands among a hundred, by its body; each rule deals its own way.
fn share(rule: &str, body: &[u8]) -> u64 {
    let mut hash = Sha256::new();
    hash.update((rule.len() as u64).to_be_bytes());
    hash.update(rule);
    hash.update(body);
    let digest: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) % 100
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies() -> Vec<String> {
        (0..2_000).map(|number| format!("{{\"n\":{number}}}")).collect()
    }

    fn included(rule: &str, percent: u8) -> Vec<bool> {
        bodies().iter().map(|body| includes(rule, percent, body.as_bytes())).collect()
    }

    #[test]
    fn as_many_are_in_as_the_percentage_says() {
        for (percent, low, high) in [(0, 0, 0), (1, 5, 40), (10, 150, 250), (50, 900, 1_100), (100, 2_000, 2_000)] {
            let count = included("nightly", percent).into_iter().filter(|is_in| *is_in).count();
            assert!((low..=high).contains(&count), "{percent}: {count}");
        }
    }

    #[test]
    fn who_is_in_stays_in_as_it_grows() {
        for (fewer, more) in included("nightly", 10).into_iter().zip(included("nightly", 30)) {
            assert!(more || !fewer);
        }
    }

    #[test]
    fn each_rule_deals_its_own_way() {
        assert_ne!(included("nightly", 50), included("weekly", 50));
    }

    #[test]
    fn the_deal_is_the_same_in_every_build() {
        // A release that dealt anew would move calls that wait on a held connection.
        let dealt = ["", "a", "{\"model\":\"m\"}"].map(|body| share("nightly", body.as_bytes()));
        assert_eq!(dealt, [49, 46, 27]);
    }
}
