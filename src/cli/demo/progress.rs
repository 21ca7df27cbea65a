//! Progress, on standard error: a line that is rewritten on a terminal, a line per finished part otherwise.

use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write as _};

use crate::cli::output;

/// Returns to the start of the line and clears it.
const REWIND: &str = "\r\x1b[2K";

/// How far all parts are.
pub(super) struct Progress {
    on_terminal: bool,
    parts: [Part; 3],
}

/// Which part has come on; in the order in which they are shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A live call was answered.
    Live,
    /// A deferred call got its ticket.
    Queued,
    /// A result was fetched.
    Result,
}

#[derive(Default)]
struct Part {
    done: Cell<usize>,
    of: Cell<usize>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { on_terminal: io::stderr().is_terminal(), parts: Default::default() }
    }

    /// A line that stays.
    pub(super) fn note(&self, text: &str) {
        output::complain(text);
    }

    /// How much there is to do of a part.
    pub(super) fn expect(&self, step: Step, count: usize) {
        self.parts[step as usize].of.set(count);
    }

    /// One more is done.
    pub(super) fn advance(&self, step: Step) {
        let part = &self.parts[step as usize];
        part.done.set(part.done.get() + 1);
        if self.on_terminal {
            // A line that cannot be shown is only a picture less.
            let _ = write!(io::stderr().lock(), "{REWIND}{}", self.line());
        } else if part.done == part.of {
            output::complain(&self.part(step));
        }
    }

    /// Leaves the line as it stands.
    pub(super) fn end(&self) {
        if self.on_terminal {
            output::complain("");
        }
    }

    fn line(&self) -> String {
        [Step::Live, Step::Queued, Step::Result].map(|step| self.part(step)).join(", ")
    }

    fn part(&self, step: Step) -> String {
        let what = match step {
            Step::Live => "live calls answered",
            Step::Queued => "deferred calls queued",
            Step::Result => "results fetched",
        };
        let Part { done, of } = &self.parts[step as usize];
        format!("{}/{} {what}", done.get(), of.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_are_on_the_line() {
        let progress = Progress { on_terminal: false, parts: Default::default() };
        for (step, count) in [(Step::Live, 2), (Step::Queued, 3), (Step::Result, 3)] {
            progress.expect(step, count);
        }
        progress.advance(Step::Live);
        progress.advance(Step::Queued);
        progress.advance(Step::Queued);
        assert_eq!(progress.line(), "1/2 live calls answered, 2/3 deferred calls queued, 0/3 results fetched");
    }
}
