//! The floor plan: the picture of the architecture, and the test that holds every module to it.
//!
//! A module imports only from floors below its own. Rooms of one floor do not import each other; only on the
//! roof may a module use those to its right.

use std::path::{Path, PathBuf};

/// From the roof down to the ground.
const FLOORS: [&str; 8] = [
    "main  cli  app  settings",
    // Doors: they call rooms, rooms never call them.
    "http  workers  simulator",
    // What Offpeak does; they meet only in the database.
    "live intake hold flush poll ingest announce deliver rescue inventory verify savings retain",
    // The only two that talk to something outside.
    "store  provider",
    // Pure, and asked by several rooms.
    "cache_plan",
    // The words: no I/O, no async, no clock.
    "domain",
    "crash  egress  encoding  health  metrics  nudge  secret  telemetry",
    "clock",
];

/// Crates that only some rooms, or single files, may name.
const FENCES: [(&str, &[&str]); 5] = [
    ("sqlx", &["store"]), // and derives in domain
    ("axum", &["http", "simulator"]),
    ("reqwest", CLIENTS),
    ("hyper_util::client", CLIENTS),
    ("hyper::client", CLIENTS),
];
/// Who may speak HTTP to somebody else: the last one asks a running gateway.
const CLIENTS: &[&str] = &["provider", "live", "deliver", "cli/client.rs"];

#[test]
fn every_module_keeps_to_the_floor_plan() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&source);
    assert!(files.iter().any(|file| file.ends_with("src/lib.rs")), "no sources under {}", source.display());
    let faults: Vec<_> = files
        .iter()
        .filter(|file| !file.ends_with("src/lib.rs")) // the map itself names every room
        .flat_map(|file| {
            let name = file.strip_prefix(&source).unwrap().to_str().unwrap();
            faults(name, &std::fs::read_to_string(file).unwrap())
        })
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// What one file does against the plan, a line of text each; `file` is relative to `src/`.
fn faults(file: &str, text: &str) -> Vec<String> {
    let room = file.split(['/', '.']).next().unwrap_or_default();
    let lines: Vec<_> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let tests_begin = lines.windows(2).position(|two| two[0] == "#[cfg(test)]" && two[1].starts_with("mod "));
    let mut faults = Vec::new();
    for (index, path) in paths(&lines) {
        let in_tests =
            file.ends_with("/tests.rs") || file.contains("/tests/") || tests_begin.is_some_and(|begin| index > begin);
        let depth = file.split('/').count() + usize::from(in_tests && tests_begin.is_some());
        if let Some(target) = from_root(&path, depth)
            && let Err(why) = may_import(room, target)
        {
            faults.push(format!("src/{file}:{}: {path}: {why}", index + 1));
        }
        for (fenced, places) in FENCES {
            let named = path.strip_prefix(fenced).is_some_and(|rest| rest.starts_with("::"));
            let derived = room == "domain" && fenced == "sqlx" && lines[index].trim_start().starts_with("#[");
            let tried_out = room == "simulator" && places == CLIENTS && in_tests;
            if named && !derived && !tried_out && !places.contains(&room) && !places.contains(&file) {
                faults.push(format!("src/{file}:{}: {path}: {fenced} belongs to {}", index + 1, places.join(", ")));
            }
        }
    }
    faults
}

/// Whether one room may import another.
fn may_import(from: &str, to: &str) -> Result<(), &'static str> {
    let place = |room| {
        let at =
            |(floor, rooms): (usize, &&str)| Some((floor, rooms.split_whitespace().position(|name| name == room)?));
        FLOORS.iter().enumerate().find_map(at)
    };
    let (Some((floor, column)), Some((target_floor, target_column))) = (place(from), place(to)) else {
        return Err("not in the floor plan: give it a floor in tests/it/floor_plan.rs");
    };
    match target_floor.cmp(&floor) {
        _ if from == to => Ok(()),
        std::cmp::Ordering::Greater => Ok(()),
        std::cmp::Ordering::Less => Err("a higher floor"),
        std::cmp::Ordering::Equal if floor == 0 && target_column > column => Ok(()),
        std::cmp::Ordering::Equal => Err("a room of its own floor"),
    }
}

/// The room that a path names, if it starts at the root of the crate: by `crate::`, or by climbing there.
fn from_root(path: &str, depth: usize) -> Option<&str> {
    let mut rest = path;
    let mut climbed = 0;
    while let Some(parent) = rest.strip_prefix("super::") {
        (rest, climbed) = (parent, climbed + 1);
    }
    let inside = if climbed >= depth { rest } else { path.strip_prefix("crate::")? };
    inside.split("::").next()
}

/// Every path in the code with the index of its line; `use` trees are unfolded.
fn paths(lines: &[&str]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut path = String::new();
    // What stands in front of each open brace: the stem of a `use` tree, or nothing for a block.
    let mut stems = vec![String::new()];
    for (index, line) in lines.iter().enumerate() {
        for character in line.chars().chain(['\n']) {
            if character.is_alphanumeric() || matches!(character, '_' | ':') {
                path.push(character);
                continue;
            }
            let stem = stems.last().map_or("", String::as_str);
            let whole = format!("{stem}{}", path.trim_start_matches(':'));
            match character {
                '{' => stems.push(if path.ends_with("::") { whole } else { String::new() }),
                _ if !path.is_empty() => found.push((index, whole)),
                _ => {}
            }
            if character == '}' {
                stems.pop();
            }
            path.clear();
        }
    }
    found
}

/// All Rust files under a folder.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => rust_files(&path),
            false => Vec::from_iter(path.extension().is_some_and(|ending| ending == "rs").then_some(path)),
        })
        .collect()
}

#[test]
fn a_violation_is_caught() {
    for (file, text, fault) in [
        ("intake.rs", "use crate::http::Caller;", "a higher floor"),
        ("intake/admit.rs", "let x = crate::live::relay();", "a room of its own floor"),
        ("store/batches.rs", "use crate::{clock::Clock, provider::Batches};", "crate::provider::Batches"),
        ("domain.rs", "use super::store::Store;", "a higher floor"),
        ("flush/submit.rs", "use super::super::{\n    poll,\n};", "src/flush/submit.rs:2"),
        ("poll.rs", "#[cfg(test)]\nmod tests {\n    use super::super::ingest;\n}", "a room of its own floor"),
        ("app.rs", "use crate::cli::Arguments;", "a room of its own floor"),
        ("attic.rs", "use crate::clock::Clock;", "not in the floor plan"),
        ("http/page.rs", "let rows = sqlx::query(\"…\");", "sqlx belongs to store"),
        ("domain/ids.rs", "sqlx::query(\"…\");", "sqlx belongs to store"),
        ("workers.rs", "use axum::Router;", "axum belongs to http, simulator"),
        ("cli/flush.rs", "reqwest::get(url)", "reqwest belongs to"),
        ("rescue.rs", "use hyper_util::{rt::TokioIo, client::legacy::Client};", "hyper_util::client belongs to"),
        ("simulator.rs", "use reqwest::Client;", "reqwest belongs to"),
    ] {
        let found = faults(file, text);
        assert!(found.len() == 1 && found[0].contains(fault), "{file}: {text}: {found:?}");
    }
}

#[test]
fn what_the_plan_allows_is_no_violation() {
    for (file, text) in [
        ("main.rs", "use crate::{app, cli::{Arguments, demo}, settings::Settings};"),
        ("http/messages.rs", "use super::error::Error;\nuse crate::intake::{decide, hold};"),
        ("intake.rs", "use crate::intake::admit; // crate::http is told by the caller"),
        ("flush/group.rs", "#[cfg(test)]\nmod tests {\n    use super::super::live;\n}"),
        ("simulator/messages.rs", "use axum::Json;\n#[cfg(test)]\nmod tests {\n    use reqwest::Client;\n}"),
        ("domain/ids.rs", "#[derive(Debug, sqlx::Type)]\n#[sqlx(transparent)]"),
        ("cli/client.rs", "use reqwest::Client;"),
    ] {
        assert_eq!(faults(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}
