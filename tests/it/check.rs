//! `offpeak check`, run as a program: exit codes, and which stream says what.

use std::process::{Command, Output};

use tempfile::TempDir;

/// Runs `offpeak` in an empty folder but for this settings file, with nothing in its environment.
fn offpeak(file: &str, arguments: &[&str]) -> Output {
    command(&folder_with(file), arguments).output().unwrap()
}

fn folder_with(file: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("test.toml"), file).unwrap();
    folder
}

fn command(folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offpeak"));
    command.current_dir(folder.path()).env_clear().args(arguments);
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_fine_configuration_is_said_to_be() {
    let output = offpeak("batch.linger = \"5s\"", &["check", "--config", "test.toml"]);
    assert_eq!(output.status.code(), Some(0));
    let expected = "The configuration is fine: 1 from test.toml, 0 from the environment, 32 defaults.\n";
    assert_eq!(text(&output.stdout), expected);
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn faults_go_to_standard_error_and_fail() {
    let output = offpeak("batch.lingr = \"5s\"", &["check", "--config", "test.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let expected = "test.toml:1:7: batch.lingr: unknown key; did you mean \"linger\"?\n1 fault in the configuration\n";
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn wrong_use_is_told_from_failure() {
    for arguments in [&["check", "--nonsense"][..], &["chekc"], &[]] {
        assert_eq!(offpeak("", arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn print_shows_each_setting_and_its_origin_but_no_secret() {
    let folder = folder_with("admin.token = \"literal\"\nbatch.linger = \"5s\"\n");
    let output = command(&folder, &["check", "--print"])
        .envs([
            ("OFFPEAK_CONFIG", "test.toml"),
            ("OFFPEAK__BATCH__LEASE", "9s"),
            ("OFFPEAK_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ])
        .output()
        .unwrap();
    let lines: Vec<Vec<_>> = text(&output.stdout).lines().map(|line| line.split_whitespace().collect()).collect();
    for expected in [
        "admin.token = *** # test.toml:1:15",
        "batch.linger = \"5s\" # test.toml:2:16",
        "batch.lease = \"9s\" # env OFFPEAK__BATCH__LEASE",
        "batch.max_requests = 10000 # default",
        "webhooks.secret = \"env:OFFPEAK_WEBHOOK_SECRET\" # default",
    ] {
        assert!(lines.iter().any(|line| line.join(" ") == expected), "{expected}\n{lines:#?}");
    }
    assert_eq!(lines.len(), 33);
}

#[test]
fn json_holds_faults_and_settings() {
    let output = offpeak("batch.linger = 5", &["check", "--json", "--config", "test.toml"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), ""));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["ok"], false);
    let fault = &answer["faults"][0];
    assert_eq!((&fault["file"], &fault["line"], &fault["column"]), (&"test.toml".into(), &1.into(), &16.into()));
    assert_eq!(fault["key"], "batch.linger");

    let output = offpeak("", &["check", "--json", "--print", "--config", "test.toml"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["ok"], &answer["faults"]), (&true.into(), &serde_json::json!([])));
    let first = serde_json::json!({"key": "gateway.listen", "value": "\"127.0.0.1:8100\"", "origin": "default"});
    assert_eq!(answer["data"][0], first);
}

#[test]
fn a_reader_that_has_gone_away_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let folder = folder_with("");
    let status = command(&folder, &["check", "--print", "--config", "test.toml"]).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}
