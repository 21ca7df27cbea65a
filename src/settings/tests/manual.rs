//! The manual says what the code does.

use std::collections::BTreeSet;

use super::*;

/// The examples at the manual's end, as they would stand in a file.
fn examples() -> String {
    let lines = MANUAL.lines().skip_while(|line| !line.starts_with("# [[")).filter_map(|line| line.strip_prefix("# "));
    lines.filter(|line| line.starts_with("[[") || line.contains(" = ")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_manuals_examples_are_right() {
    let secrets =
        [("WAREHOUSE_SECRET", WEBHOOK_SECRET), ("TEAM_REPORTS_KEY", "key"), ("ANTHROPIC_API_KEY", "sk-ant-1")];
    let settings = load(&examples(), &secrets).map(|loaded| loaded.settings);
    let intake = settings.unwrap_or_else(|told| panic!("{told:#?}")).intake;
    assert_eq!((intake.receivers.len(), intake.keys.len(), intake.rules.len()), (1, 1, 1));
}

/// Each setting of the manual with the comment above it.
fn manual_entries() -> BTreeMap<String, String> {
    let (mut section, mut comment, mut entries) = (String::new(), String::new(), BTreeMap::new());
    for line in MANUAL.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment += text;
        } else if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
            comment.clear();
        } else if let Some((key, _)) = line.split_once(" = ") {
            entries.insert(format!("{section}.{key}"), std::mem::take(&mut comment));
        } else {
            comment.clear();
        }
    }
    entries
}

#[test]
fn the_manual_explains_every_setting() {
    assert!(toml::de::DeTable::parse(MANUAL).is_ok());
    let entries = manual_entries();
    let explained: BTreeSet<_> =
        entries.iter().filter(|(_, comment)| comment.len() >= 40).map(|(path, _)| path.clone()).collect();
    let known = Known::from_manual().defaults.into_iter().map(|(path, _)| path).collect();
    assert_eq!(explained, known);
}

#[test]
fn the_manual_states_the_limits_that_the_code_holds() {
    let mut stated = 0;
    for (key, comment) in manual_entries() {
        let Err(told) = load("", &[(&variable_of(&key), "\u{1}")]) else { continue };
        let limits = told[0].split_once(" from ").map(|(_, rest)| rest.split([',', ';']).next().unwrap());
        if let Some(limits) = limits.filter(|limits| limits.contains(" to ")) {
            assert!(comment.contains(limits), "{key}: the manual does not say \"{limits}\"");
            stated += 1;
        }
    }
    assert_eq!(stated, 16, "settings with limits");
}
