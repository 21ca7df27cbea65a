//! Reading a large file: on a terminal it shows how far that is.

use std::io::{self, IsTerminal as _, Read, Write as _};

/// Returns to the start of the line and clears it.
const REWIND: &str = "\r\x1b[2K";

/// How often the line is rewritten, in percent of the file.
const STEP_PERCENT: u64 = 2;

/// A file smaller than this is read before anybody could read the line.
const SHOWN_FROM_BYTES: u64 = 50_000_000;

/// A reader that shows how far it is.
pub(super) struct Reading<R> {
    input: R,
    size: u64,
    read: u64,
    shown_percent: u64,
    is_shown: bool,
}

impl<R: Read> Reading<R> {
    /// `size` is how much there is to read.
    pub(super) fn new(input: R, size: u64) -> Self {
        let is_shown = size >= SHOWN_FROM_BYTES && io::stderr().is_terminal();
        Self { input, size, read: 0, shown_percent: 0, is_shown }
    }

    fn show(&mut self) {
        let percent = (self.read * 100).checked_div(self.size).unwrap_or(100).min(100);
        // A line that cannot be shown is only a picture less.
        if percent >= 100 {
            self.is_shown = false;
            let _ = write!(io::stderr().lock(), "{REWIND}");
        } else if percent >= self.shown_percent + STEP_PERCENT {
            self.shown_percent = percent;
            let _ = write!(io::stderr().lock(), "{REWIND}reading: {percent} %");
        }
    }
}

impl<R: Read> Read for Reading<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read += read as u64;
        if self.is_shown {
            self.show();
        }
        Ok(read)
    }
}
