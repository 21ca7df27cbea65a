//! What commands say: answers on standard output, complaints on standard error.

use std::io::{self, ErrorKind, Write};

/// Prints a line; a reader that has gone away has seen enough.
pub(super) fn say(text: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints a line for people to standard error; if even that fails there is nobody left to tell.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
