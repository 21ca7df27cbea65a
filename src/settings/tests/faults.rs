//! What is wrong is told: all of it, each with its place and a remedy.

use proptest::prelude::*;

use super::*;

#[test]
fn all_that_is_wrong_is_told_at_once_with_its_place_and_a_remedy() {
    let file = r#"
[batch]
lingr = "5s"
linger = 30
max_requests = 200_000
poll_min = "5m"
on_deadline = "live"
[gateway]
listen = "localhost:8100"
[admin]
listen = "0.0.0.0:8101"
[defer]
on_deadline = "later"
max_body = "33MB"
[stores]
[store]
encrypt_bodies = "yes"
[upstream]
url = "https://me:hunter2@proxy/?q=1"
[[inventory]]
[key]
name = "a"
"#;
    let expected = r#"
FILE:3:1: batch.lingr: unknown key; did you mean "linger"?
FILE:4:10: batch.linger: expected a duration from 0 to 1d, such as "30s" or "4m30s" (an integer with ms, s, m, h or d); found 30
FILE:5:16: batch.max_requests: expected an integer from 1 to 100000; found 200000
FILE:6:12: batch.poll_min: batch.poll_min (5m) is above batch.poll_max (2m); lower the one or raise the other
FILE:7:1: batch.on_deadline: unknown key; did you mean defer.on_deadline?
FILE:9:10: gateway.listen: expected an IP address and a port, such as "127.0.0.1:8100" or "[::]:8100"; found "localhost:8100"
FILE:13:15: defer.on_deadline: expected one of "live", "wait", "expire"; found "later"
FILE:14:12: defer.max_body: expected a size from 1KB to 32MB, such as "5MB" (an integer with KB, MB or GB); found "33MB"
FILE:15:2: stores: unknown section; did you mean [store]?
FILE:17:18: store.encrypt_bodies: expected true or false; found "yes"
FILE:19:7: upstream.url: expected an http or https URL without user, query or fragment; found "https://***@proxy/?***"
FILE:20:3: inventory: expected one section that begins with [inventory]
FILE:21:2: key: expected sections that begin with [[key]]
env OFFPEAK__BATCH__LEASE: batch.lease: expected a duration from 1s to 10m, such as "30s" or "4m30s" (an integer with ms, s, m, h or d); found "0"
env OFFPEAK__BATCH__LINGR: unknown setting; did you mean OFFPEAK__BATCH__LINGER?
env OFFPEAK__NOTHING__LIKE_IT: unknown setting; variables are named OFFPEAK__SECTION__KEY; `offpeak check --print` lists the settings"#;
    let variables =
        [("OFFPEAK__BATCH__LINGR", "5s"), ("OFFPEAK__NOTHING__LIKE_IT", ""), ("OFFPEAK__BATCH__LEASE", "0")];
    assert_eq!(faults_of(file, &variables).join("\n"), expected.trim_start());
}

#[test]
fn what_is_not_toml_is_told_without_being_shown() {
    let told = faults_of("[admin]\ntoken = \"s3cret\n[batch\nlinger = = \"s3cret\"\n", &[]);
    assert!(told.len() >= 3 && told[0].starts_with("FILE:2:"), "{told:#?}");
    assert!(told.iter().all(|fault| fault.contains("not TOML") && !fault.contains("s3cret")), "{told:#?}");
    assert_eq!(faults_of("[batch]\nlease = \"1s\"\nlease = \"2s\"\n", &[]), ["FILE:3:1: not TOML: duplicate key"]);
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let sources = Sources { file: Some("/nowhere/offpeak.toml".into()), environment: BTreeMap::new() };
    let told = Settings::load(&sources).unwrap_err().to_string();
    assert!(told.starts_with("/nowhere/offpeak.toml: cannot be read: "), "{told}");
}

#[test]
fn limits_hold_on_both_sides() {
    for (key, inside, outside) in [
        ("upstream.timeout", ["1s", "1h"], ["999ms", "1h1ms"]),
        ("defer.default_deadline", ["5m", "365d"], ["0", "366d"]),
        ("defer.min_deadline", ["0", "24h"], ["-1s", "25h"]),
        ("defer.rescue_lead", ["0", "1d"], ["", "25h"]),
        ("defer.max_body", ["1KB", "32MB"], ["0KB", "33MB"]),
        ("defer.max_queued", ["1", "100000000"], ["0", "100000001"]),
        ("defer.retention", ["1s", "3650d"], ["0", "3651d"]),
        ("batch.linger", ["0", "1d"], ["1", "25h"]),
        ("batch.max_requests", ["1", "100_000"], ["0", "100001"]),
        ("batch.max_bytes", ["1KB", "256MB"], ["0KB", "257MB"]),
        ("batch.max_attempts", ["1", "100"], ["0", "101"]),
        ("batch.poll_min", ["10ms", "2m"], ["9ms", "61m"]),
        ("batch.poll_max", ["10s", "1h"], ["0", "61m"]),
        ("batch.reconcile_wait", ["0", "1h"], ["soon", "61m"]),
        ("batch.lease", ["1s", "10m"], ["999ms", "11m"]),
        ("inventory.prompt_preview", ["0", "10000"], ["-1", "10001"]),
    ] {
        let variable = variable_of(key);
        for value in inside {
            assert!(load("", &[(&variable, value)]).is_ok(), "{key} = {value}");
        }
        for value in outside {
            let told = faults_of("", &[(&variable, value)]);
            assert!(
                told.len() == 1 && told[0].contains(key) && told[0].contains("expected"),
                "{key} = {value}: {told:?}"
            );
        }
    }
}

#[test]
fn forms_are_held_to() {
    for (key, right, wrong) in [
        ("gateway.listen", "0.0.0.0:0", "8100"),
        ("gateway.public_url", "", "claude.example"),
        ("upstream.url", "http://localhost:9000", "ftp://localhost"),
        ("upstream.url", "https://proxy.internal/anthropic/", "https://proxy.internal/#v1"),
        ("store.url", "sqlite:/var/lib/offpeak.db", "mysql://db/offpeak"),
        ("store.master_key", MASTER_KEY, "c2hvcnQ="),
        ("webhooks.allow_hosts", "[\"[::1]\", \"a.b\"]", "https://a.b"),
        ("webhooks.allow_hosts", "hooks.internal, *.example", "*"),
        ("webhooks.allow_hosts", "", "hooks.internal:8443"),
        ("webhooks.allow_private", "true", "1"),
        ("webhooks.secret", WEBHOOK_SECRET, "whsec_a"),
        ("telemetry.log", "offpeak::flush=trace,warn", "loud"),
        ("defer.keepalive", "interim", "ping"),
    ] {
        let variable = variable_of(key);
        assert!(load("", &[(&variable, right)]).is_ok(), "{key} = {right}");
        assert_eq!(faults_of("", &[(&variable, wrong)]).len(), 1, "{key} = {wrong}");
    }
}

#[test]
fn settings_that_do_not_go_together_are_told() {
    for (file, expected) in [
        ("batch.poll_min = \"10m\"", "batch.poll_min (10m) is above batch.poll_max (2m)"),
        ("batch.poll_max = \"1s\"", "batch.poll_min (10s) is above batch.poll_max (1s)"),
        ("defer.default_deadline = \"1m\"", "defer.min_deadline (5m) is above defer.default_deadline (1m)"),
        ("admin.listen = \"127.0.0.1:8100\"", "the same as gateway.listen"),
        ("store.url = \"postgres://db/x\"", "store.master_key: must be given with PostgreSQL"),
    ] {
        let told = faults_of(file, &[]);
        assert!(told.len() == 1 && told[0].starts_with("FILE:1:") && told[0].contains(expected), "{file}: {told:?}");
    }
}

#[test]
fn what_this_build_does_not_have_is_refused() {
    let told = faults_of("[telemetry]\notlp = \"http://otel:4317\"\n", &[]);
    assert_eq!(told, ["FILE:2:8: telemetry.otlp: this build does not have export of traces yet; leave it empty",]);
}

proptest! {
    #[test]
    fn no_text_at_all_makes_it_stumble(file in ".{0,80}", key in 0..OTHERS.len(), value in "[^\0]{0,40}") {
        let variable = variable_of(OTHERS[key].0);
        if let Err(told) = load(&file, &[(&variable, &value)]) {
            prop_assert!(!told.is_empty());
        }
    }
}

#[test]
fn a_price_file_is_read_and_its_faults_are_told_at_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prices.toml");
    let variable = [("OFFPEAK__PRICES__FILE", path.to_str().unwrap())];
    let told = |text: &str| {
        std::fs::write(&path, text).unwrap();
        faults_of("", &variable).iter().map(|fault| fault.replace(path.to_str().unwrap(), "PRICES")).collect::<Vec<_>>()
    };
    assert_eq!(
        told("\n[[discount]]\nmodel = [\"claude-*\"]\npercent_of = 10\n"),
        [
            "PRICES:2:1: percent_off: missing; a [[discount]] has model, percent_off, from and until",
            "PRICES:4:1: percent_of: unknown key; the keys here are model, percent_off, from and until",
        ]
    );
    std::fs::write(&path, "batch_percent = 40\n").unwrap();
    let prices = load("", &variable).unwrap().settings.prices;
    assert_eq!(
        (prices.file.as_ref(), &prices.table),
        (Some(&path), &PriceTable::with_own("batch_percent = 40").unwrap())
    );
    std::fs::remove_file(&path).unwrap();
    let gone = faults_of("", &variable);
    assert!(gone.len() == 1 && gone[0].contains("prices.file: ") && gone[0].contains("check the path"), "{gone:?}");
    assert_eq!(load("", &[]).unwrap().settings.prices.table, PriceTable::built_in().unwrap());
}

#[test]
fn a_budget_is_checked_key_by_key() {
    let file = "[[budget]]\nname = \"b\"\nper = \"week\"\nlimit = 5\naction = \"stop\"\ntenant = \"a b\"\n\
        [[budget]]\nname = \"b\"\nper = \"day\"\nlimit = \"0\"\naction = \"warn\"\n";
    assert_eq!(
        faults_of(file, &[]),
        [
            "FILE:3:7: budget[0].per: expected one of \"day\", \"month\"; found \"week\"",
            "FILE:4:9: budget[0].limit: expected dollars in a text, such as \"100.00\"; found 5",
            "FILE:5:10: budget[0].action: expected one of \"warn\", \"defer\", \"refuse\"; found \"stop\"",
            "FILE:6:10: budget[0].tenant: expected a name of 1 to 64 of A-Z a-z 0-9 . _ -; found \"a b\"",
            "FILE:8:8: budget[1].name: another [[budget]] is named \"b\"; names are unique",
            "FILE:10:9: budget[1].limit: expected dollars in a text, such as \"100.00\"; found \"0\"",
        ]
    );
}
