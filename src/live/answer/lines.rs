//! Lines up to an empty one, found as they arrive.

use memchr::memchr;

use super::Fault;

/// How far some lines have been looked through, so that no byte is looked at twice however slowly they arrive.
#[derive(Debug, Default)]
pub(super) struct Lines {
    looked: usize,
    line: usize,
}

impl Lines {
    /// Where the empty line ends that closes the lines at the front, if it has arrived.
    ///
    /// Every line must end in CR and LF. Others that read the same bytes might take either alone for an end, or not.
    pub(super) fn end(&mut self, arrived: &[u8], most: usize) -> Result<Option<usize>, Fault> {
        while let Some(found) = memchr(b'\n', arrived.get(self.looked..).unwrap_or_default()) {
            let line_feed = self.looked + found;
            let Some(text) = arrived.get(self.line..line_feed).and_then(|line| line.strip_suffix(b"\r")) else {
                return Err(Fault::Head);
            };
            self.looked = line_feed + 1;
            self.line = self.looked;
            if self.looked > most {
                return Err(Fault::HeadTooLong);
            }
            if text.is_empty() {
                return Ok(Some(self.looked));
            }
        }
        self.looked = arrived.len();
        if arrived.len() > most { Err(Fault::HeadTooLong) } else { Ok(None) }
    }
}
