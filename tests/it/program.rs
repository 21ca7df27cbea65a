//! The program as a child that ends by itself: what it is called with, and what it said.

use std::process::{Output, Stdio};

use tokio::process::Command;

use super::wire::soon;

/// A command with nothing in its environment, in a folder without settings; it ends with this value.
pub(crate) fn offpeak(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offpeak"));
    command.args(arguments).current_dir("/").env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// What a command said, once it has ended.
pub(crate) async fn output(command: &mut Command) -> Output {
    soon(command.output()).await.unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
