//! Lines out of a stream of chunks, one at a time.

use bytes::{Bytes, BytesMut};

/// A result is one line; longer ones than this are no results. Ten times the largest answer a model can give.
const LINE_MAX: usize = 64_000_000;

/// Collects chunks and gives back whole lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    buffer: BytesMut,
    /// How much of the buffer was searched without finding an end of line.
    searched: usize,
}

/// A line is longer than any result.
#[derive(Debug)]
pub(super) struct TooLong;

impl Lines {
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), TooLong> {
        self.buffer.extend_from_slice(chunk);
        if self.searched > LINE_MAX { Err(TooLong) } else { Ok(()) }
    }

    /// The next whole line without its end.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        let Some(end) = end else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.searched + end + 1).freeze();
        self.searched = 0;
        Some(line.slice(..line.len() - 1))
    }

    /// What is left behind the last end of line.
    pub(super) fn rest(self) -> Bytes {
        self.buffer.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let text = b"one\n\ntwo\nrest";
        for size in 1..=text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for chunk in text.chunks(size) {
                lines.push(chunk).unwrap();
                while let Some(line) = lines.next() {
                    found.push(line);
                }
            }
            assert_eq!(found, ["one", "", "two"]);
            assert_eq!(lines.rest(), "rest");
        }
    }
}
