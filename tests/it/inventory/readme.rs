//! What the README shows of the inventory is what the program says.

use std::fmt::Write as _;

use offpeak::inventory::import::line;
use tempfile::TempDir;

use super::month::some_of_month;
use crate::it::program::{offpeak, output, text};

/// The workloads of the month that the README shows.
const SHOWN: [&str; 9] = [
    "nightly-one-by-one",
    "four-times-a-day",
    "one-worker",
    "daily-digest",
    "hourly-some-fast",
    "on-upload",
    "office-chat",
    "coding-agents",
    "page-with-timeout",
];

/// The command in the README, behind which stands what it prints.
const COMMAND: &str = "offpeak inventory --import november.jsonl\n```\n\n```text\n";

#[tokio::test]
async fn the_readmes_table_is_the_programs() {
    let folder = TempDir::new().unwrap();
    let mut lines = String::new();
    for traffic in &some_of_month(11, |name| SHOWN.contains(&name)) {
        for call in &traffic.calls {
            writeln!(lines, "{}", line(call, None).unwrap()).unwrap();
        }
    }
    std::fs::write(folder.path().join("november.jsonl"), lines).unwrap();
    let mut command = offpeak(&["inventory", "--import", "november.jsonl"]);
    let output = output(command.current_dir(folder.path())).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let shown = readme.split_once(COMMAND).and_then(|(_, behind)| behind.split_once("```")).map(|(shown, _)| shown);
    assert_eq!(shown, Some(said), "\n{said}");
}
