//! `offpeak demo`, run as a program: what it shows adds up, and it leaves nothing behind.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::app::client;
use super::program::{offpeak, output, text};
use super::wire::soon;

/// A demo on free ports whose folder is made in `temporary`.
fn demo(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = offpeak(&["demo"]);
    command.args(arguments).env("TMPDIR", temporary);
    command.env("OFFPEAK__GATEWAY__LISTEN", "127.0.0.1:0").env("OFFPEAK__ADMIN__LISTEN", "127.0.0.1:0");
    command
}

fn is_empty(folder: &TempDir) -> bool {
    std::fs::read_dir(folder.path()).unwrap().next().is_none()
}

/// Dollars as whole billionths.
fn nanos(value: &Value) -> i64 {
    (value.as_f64().unwrap() * 1e9).round() as i64
}

#[tokio::test]
async fn its_json_adds_up_and_nothing_is_left_behind() {
    let temporary = TempDir::new().unwrap();
    let output = output(&mut demo(temporary.path(), &["--exit", "--json"])).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();

    let rows = report["data"].as_array().unwrap();
    for member in ["calls", "input_tokens", "output_tokens"] {
        let sum: u64 = rows.iter().map(|row| row[member].as_u64().unwrap()).sum();
        assert!(sum > 0 && report["total"][member] == sum, "{member}: {report}");
    }
    for member in ["live_price", "paid", "saved"] {
        let sum: i64 = rows.iter().map(|row| nanos(&row[member])).sum();
        assert!(sum > 0 && nanos(&report["total"][member]) == sum, "{member}: {report}");
    }
    for row in rows {
        let [live_price, paid, saved] = ["live_price", "paid", "saved"].map(|member| nanos(&row[member]));
        let (expected, calls) = match row["served_by"].as_str() {
            Some("batch") => (live_price / 2, 8),
            _ => (live_price, 6),
        };
        assert!(paid == expected && saved == live_price - paid, "{row}");
        assert!(row["calls"].as_u64().unwrap() >= calls, "{row}");
    }
    assert!(report["batches"].as_u64().unwrap() >= 2, "two tenants share no batch: {report}");
    assert!(report["token_counts"].as_u64().unwrap() >= 1, "{report}");
    assert_eq!(report["failed"], 0);
    assert!(is_empty(&temporary));
}

#[tokio::test]
async fn its_table_shows_every_workload_and_how_to_go_on() {
    let temporary = TempDir::new().unwrap();
    let output = output(&mut demo(temporary.path(), &["--exit"])).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    let micros = |cell: &str| cell.trim_start_matches("$0.").parse::<u64>().unwrap();
    let amounts = |line: &str| {
        let cells: Vec<_> = line.split_whitespace().collect();
        [3, 2, 1].map(|from_right| micros(cells[cells.len() - from_right]))
    };
    let rows: Vec<_> =
        shown.lines().filter(|line| line.contains("claude-") && line.contains('$')).map(amounts).collect();
    let total = amounts(shown.lines().find(|line| line.starts_with("total")).unwrap());
    assert!(rows.len() >= 4, "{shown}");
    assert_eq!(total, [0, 1, 2].map(|column| rows.iter().map(|row| row[column]).sum::<u64>()), "{shown}");
    assert!(rows.iter().chain([&total]).all(|[live, paid, saved]| live - paid == *saved), "{shown}");
    for words in ["x-defer: batch", "/message?wait=60", "extra_headers", "deferrals list --admin http://127.0.0.1:"] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    assert_eq!(text(&output.stderr).lines().filter(|line| line.contains("62/62")).count(), 2);
}

#[tokio::test]
async fn the_gateway_stays_up_until_it_is_asked_to_end() {
    let temporary = TempDir::new().unwrap();
    let mut child = demo(temporary.path(), &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut first = None;
    loop {
        let line = soon(notes.next_line()).await.unwrap().expect("it ended");
        if line.contains("Ctrl-C") {
            break;
        }
        first.get_or_insert(line);
    }
    let gateway = first.unwrap().split([' ', ';']).find(|word| word.starts_with("http://")).unwrap().to_owned();
    let ready = soon(client().get(format!("{gateway}/readyz")).send()).await.unwrap();
    assert_eq!(ready.status(), 200);
    assert!(!is_empty(&temporary));

    let pid = child.id().unwrap().to_string();
    assert!(soon(Command::new("kill").args(["-TERM", &pid]).status()).await.unwrap().success());
    assert_eq!(soon(child.wait_with_output()).await.unwrap().status.code(), Some(0));
    assert!(is_empty(&temporary));
}

#[tokio::test]
async fn a_busy_port_is_told_with_the_variable_that_sets_another() {
    let temporary = TempDir::new().unwrap();
    let busy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = busy.local_addr().unwrap().to_string();
    for variable in ["OFFPEAK__GATEWAY__LISTEN", "OFFPEAK__ADMIN__LISTEN"] {
        let output = output(demo(temporary.path(), &["--exit"]).env(variable, &address)).await;
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
        let complaint = text(&output.stderr);
        assert!(complaint.contains(variable) && complaint.contains(&address), "{complaint}");
    }
    assert!(is_empty(&temporary));
}

#[tokio::test]
async fn a_call_that_fails_fails_the_demo() {
    let temporary = TempDir::new().unwrap();
    // Without --exit: where something failed there is nothing to stay up for.
    let output = output(demo(temporary.path(), &["--json"]).env("OFFPEAK__DEFER__MAX_QUEUED", "5")).await;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    // How many find room depends on how soon the first batch goes out.
    let failed = report["failed"].as_u64().unwrap();
    assert!(failed > 0 && failed + report["deferred"]["calls"].as_u64().unwrap() == 62, "{report}");
    let complaints = text(&output.stderr).lines().filter(|line| line.ends_with("answered with 429 rate_limit_error"));
    assert_eq!(complaints.count() as u64, failed);
    assert!(is_empty(&temporary));
}
