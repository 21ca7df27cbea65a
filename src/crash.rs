//! Crash points: where a test lets the process die, to show that nothing is lost there.
//!
//! One stands wherever a step has become durable, or has reached the provider, and the next has not. Builds for release
//! contain none of it.

/// Ends the process at once, without unwinding or flushing anything, if `OFFPEAK_CRASH_AT` names this point: `name`, or
/// `name:3` for its third passage.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    if armed::ARMED.as_ref().is_some_and(|armed| armed.is_met_by(name)) {
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_: &str) {}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// What the environment asks for.
    pub(super) static ARMED: LazyLock<Option<Armed>> =
        LazyLock::new(|| std::env::var("OFFPEAK_CRASH_AT").ok().map(|text| Armed::read(&text)));

    pub(super) struct Armed {
        name: String,
        /// The passage at which it happens, and how many there were.
        passage: u32,
        passed: AtomicU32,
    }

    impl Armed {
        pub(super) fn read(text: &str) -> Self {
            let counted = text.split_once(':').and_then(|(name, count)| Some((name, count.parse().ok()?)));
            let (name, passage) = counted.unwrap_or((text, 1));
            Self { name: name.to_owned(), passage, passed: AtomicU32::new(0) }
        }

        pub(super) fn is_met_by(&self, name: &str) -> bool {
            self.name == name && self.passed.fetch_add(1, Ordering::SeqCst) + 1 == self.passage
        }
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use crate::crash::armed::Armed;

    #[test]
    fn is_met_at_the_passage_that_was_asked_for() {
        let met = |text: &str| {
            let armed = Armed::read(text);
            ["a.b", "a.c", "a.b", "a.b"].map(|name| armed.is_met_by(name))
        };
        assert_eq!(met("a.b"), [true, false, false, false]);
        assert_eq!(met("a.b:2"), [false, false, true, false]);
        assert_eq!(met("a"), [false; 4]);
    }
}
