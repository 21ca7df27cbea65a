//! Tests of the settings: what is given arrives, and the nearer layer wins.

mod faults;
mod manual;
mod rules;
mod secrets;

use std::fs;

use tempfile::TempDir;

use super::known::{Known, MANUAL, variable_of};
use super::*;
use crate::deliver::SigningKey;
use crate::intake::Key;
use crate::secret::Secret;

/// 32 bytes in base64: no key of anybody's.
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// 24 bytes in base64: nobody's secret.
const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// For each setting a value that is not its default, as TOML has it.
const OTHERS: [(&str, &str); 33] = [
    ("gateway.listen", "\"[::]:80\""),
    ("gateway.public_url", "\"https://claude.example/gateway/\""),
    ("upstream.url", "\"http://127.0.0.1:9000/anthropic/\""),
    ("upstream.timeout", "\"1m1s\""),
    ("admin.listen", "\"10.0.0.1:81\""),
    ("admin.token", "\"token-of-the-operator\""),
    ("store.url", "\"postgres://offpeak:hunter2@db/offpeak\""),
    ("store.master_key", "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\""),
    ("store.encrypt_bodies", "true"),
    ("defer.default_deadline", "\"2h\""),
    ("defer.min_deadline", "\"3m\""),
    ("defer.on_deadline", "\"expire\""),
    ("defer.rescue_lead", "\"4m\""),
    ("defer.max_body", "\"5MB\""),
    ("defer.max_queued", "6_000"),
    ("defer.retention", "\"7d\""),
    ("defer.keepalive", "\"interim\""),
    ("batch.linger", "\"8s\""),
    ("batch.max_requests", "9"),
    ("batch.max_bytes", "\"10MB\""),
    ("batch.max_attempts", "11"),
    ("batch.poll_min", "\"12ms\""),
    ("batch.poll_max", "\"13s\""),
    ("batch.reconcile_wait", "\"14s\""),
    ("batch.lease", "\"15s\""),
    ("webhooks.secret", "\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\""),
    ("webhooks.allow_hosts", "[\"hooks.internal\", \"*.example\"]"),
    ("webhooks.allow_private", "true"),
    ("inventory.enabled", "false"),
    ("inventory.prompt_preview", "0"),
    ("prices.file", "\"\""),
    ("telemetry.otlp", "\"\""),
    ("telemetry.log", "\"info,offpeak=debug\""),
];

/// Loads `file`, which faults call FILE, under these variables.
fn load(file: &str, variables: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("offpeak.toml");
    fs::write(&path, file).unwrap();
    let environment = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Settings::load(&Sources { file: Some(path.clone()), environment }).map_err(|faults| {
        let shown = |fault: &Fault| fault.to_string().replace(&*path.to_string_lossy(), "FILE");
        faults.as_slice().iter().map(shown).collect()
    })
}

fn faults_of(file: &str, variables: &[(&str, &str)]) -> Vec<String> {
    load(file, variables).map(|loaded| loaded.settings).expect_err("something is wrong")
}

/// A file that sets one key.
fn file_with(key: &str, value: &str) -> String {
    format!("{key} = {value}\n")
}

/// A value as it is written in a variable: without the quotes.
fn bare(value: &str) -> &str {
    value.trim_matches('"')
}

#[test]
fn nothing_given_means_the_defaults() {
    let seconds = Duration::from_secs;
    let settings = Settings::load(&Sources::default()).unwrap().settings;
    let expected = Settings {
        gateway: GatewaySettings {
            listen: "127.0.0.1:8100".parse().unwrap(),
            public_url: None,
            threads: one_thread_per_core(),
        },
        admin: AdminSettings { listen: "127.0.0.1:8101".parse().unwrap(), token: None },
        upstream: provider::Settings { url: "https://api.anthropic.com".parse().unwrap(), timeout: seconds(600) },
        store: store::Settings {
            url: Location::Sqlite("./data/offpeak.db".into()),
            master_key: KeySource::File("./data/master.key".into()),
            encrypt_bodies: false,
        },
        intake: intake::Settings {
            default_deadline: seconds(86_400),
            min_deadline: seconds(300),
            max_body: 32_000_000,
            max_queued: 1_000_000,
            linger: seconds(60),
            keys: Vec::new(),
            receivers: Vec::new(),
            rules: Vec::new(),
        },
        hold: hold::Settings { keepalive: Keepalive::Space, periods: Periods::default() },
        flush: flush::Settings {
            linger: seconds(60),
            max_requests: 10_000,
            max_bytes: 200_000_000,
            reconcile_wait: seconds(120),
            lease: seconds(30),
        },
        poll: poll::Settings { min: seconds(10), max: seconds(120), lease: seconds(30) },
        ingest: ingest::Settings { max_attempts: 5, on_deadline: OnDeadline::Live, lease: seconds(30) },
        rescue: rescue::Settings { on_deadline: OnDeadline::Live, lead: seconds(900), lease: seconds(30) },
        deliver: deliver::Settings { keys: Vec::new(), receivers: Vec::new(), lease: seconds(30) },
        egress: egress::Settings { allow_hosts: Vec::new(), allow_private: false },
        inventory: inventory::Settings { enabled: true, time_permille: 15, prompt_preview: 80 },
        retain: retain::Settings { retention: seconds(30 * 86_400) },
        budgets: Vec::new(),
        prices: PriceSettings { file: None, table: PriceTable::built_in().unwrap() },
        telemetry: telemetry::Settings { log: "info".into() },
    };
    assert_eq!(settings, expected);
    assert_eq!(settings.upstream.path_prefix(), "");
}

#[test]
fn what_a_file_sets_arrives_where_it_steers() {
    let seconds = Duration::from_secs;
    let file: String = OTHERS.iter().map(|(key, value)| file_with(key, value)).collect();
    let Loaded { settings, effective } = load(&file, &[]).unwrap();
    let expected = Settings {
        gateway: GatewaySettings {
            listen: "[::]:80".parse().unwrap(),
            public_url: Some("https://claude.example/gateway".parse().unwrap()),
            threads: one_thread_per_core(),
        },
        admin: AdminSettings {
            listen: "10.0.0.1:81".parse().unwrap(),
            token: Some(Secret::new("token-of-the-operator")),
        },
        upstream: provider::Settings { url: "http://127.0.0.1:9000/anthropic".parse().unwrap(), timeout: seconds(61) },
        store: store::Settings {
            url: Location::Postgres("postgres://offpeak:hunter2@db/offpeak".into()),
            master_key: KeySource::Given(MasterKey::parse(MASTER_KEY).unwrap()),
            encrypt_bodies: true,
        },
        intake: intake::Settings {
            default_deadline: seconds(7_200),
            min_deadline: seconds(180),
            max_body: 5_000_000,
            max_queued: 6_000,
            linger: seconds(8),
            keys: Vec::new(),
            receivers: Vec::new(),
            rules: Vec::new(),
        },
        hold: hold::Settings { keepalive: Keepalive::Interim, periods: Periods::default() },
        flush: flush::Settings {
            linger: seconds(8),
            max_requests: 9,
            max_bytes: 10_000_000,
            reconcile_wait: seconds(14),
            lease: seconds(15),
        },
        poll: poll::Settings { min: Duration::from_millis(12), max: seconds(13), lease: seconds(15) },
        ingest: ingest::Settings { max_attempts: 11, on_deadline: OnDeadline::Expire, lease: seconds(15) },
        rescue: rescue::Settings { on_deadline: OnDeadline::Expire, lead: seconds(240), lease: seconds(15) },
        deliver: deliver::Settings {
            keys: vec![SigningKey::parse(WEBHOOK_SECRET).unwrap()],
            receivers: Vec::new(),
            lease: seconds(15),
        },
        egress: egress::Settings {
            allow_hosts: ["hooks.internal", "*.example"].map(|text| HostPattern::parse(text).unwrap()).into(),
            allow_private: true,
        },
        inventory: inventory::Settings { enabled: false, time_permille: 15, prompt_preview: 0 },
        retain: retain::Settings { retention: seconds(7 * 86_400) },
        budgets: Vec::new(),
        prices: PriceSettings { file: None, table: PriceTable::built_in().unwrap() },
        telemetry: telemetry::Settings { log: "info,offpeak=debug".into() },
    };
    assert_eq!(settings, expected);
    assert_eq!(settings.upstream.path_prefix(), "/anthropic");

    let shown: Vec<_> = effective.iter().map(|one| format!("{}={}", one.key, one.value)).collect();
    assert!(shown.contains(&"admin.token=***".to_owned()), "{shown:?}");
    assert!(shown.contains(&"webhooks.secret=***".to_owned()), "{shown:?}");
    assert!(shown.contains(&"store.url=\"postgres://***@db/offpeak\"".to_owned()), "{shown:?}");
    let all = format!("{shown:?} {settings:?}");
    for secret in ["token-of-the-operator", "hunter2", MASTER_KEY, WEBHOOK_SECRET] {
        assert!(!all.contains(secret), "{secret} is shown");
    }
}

#[test]
fn every_setting_is_read_and_can_be_set_in_the_environment() {
    let loaded = Settings::load(&Sources::default()).unwrap();
    let known: Vec<_> = Known::from_manual().defaults.into_iter().map(|(path, _)| path).collect();
    let read: Vec<_> = loaded.effective.iter().map(|one| one.key.clone()).collect();
    assert_eq!(read, known, "the manual and the code know the same settings, in the manual's order");
    assert_eq!(OTHERS.map(|(key, _)| key.to_owned()).to_vec(), known, "each of them is tried below");

    let variables: Vec<_> = OTHERS.iter().map(|(key, value)| (variable_of(key), bare(value))).collect();
    let environment = variables.iter().map(|(name, value)| (name.clone(), (*value).to_owned())).collect();
    let by_environment = Settings::load(&Sources { file: None, environment }).unwrap();
    let file: String = OTHERS.iter().map(|(key, value)| file_with(key, value)).collect();
    assert_eq!(by_environment.settings, load(&file, &[]).unwrap().settings);
    for (one, (name, _)) in by_environment.effective.iter().zip(variables) {
        assert_eq!(one.origin, Origin::Environment(name));
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_manual() {
    let file = "[batch]\nlinger = \"1s\"\nlease = \"2s\"\n";
    let loaded =
        load(file, &[("OFFPEAK__BATCH__LINGER", "3s"), ("OFFPEAK__WEBHOOKS__ALLOW_HOSTS", "a.b, c.d")]).unwrap();
    let origin = |key: &str| {
        let one = loaded.effective.iter().find(|one| one.key == key).unwrap();
        (one.value.as_str(), one.origin.to_string().rsplit('/').next().unwrap().to_owned())
    };
    assert_eq!(origin("batch.linger"), ("\"3s\"", "env OFFPEAK__BATCH__LINGER".into()));
    assert_eq!(origin("batch.lease"), ("\"2s\"", "offpeak.toml:3:9".into()));
    assert_eq!(origin("batch.poll_min"), ("\"10s\"", "default".into()));
    assert_eq!(origin("webhooks.allow_hosts").0, "[\"a.b\", \"c.d\"]");
}

#[test]
fn other_peoples_variables_set_store_and_log_unless_ours_do() {
    let store = |variables| load("", variables).unwrap().settings.store.url;
    let sqlite = |path: &str| Location::Sqlite(path.into());
    assert_eq!(store(&[("DATABASE_URL", "sqlite:a.db")]), sqlite("a.db"));
    assert_eq!(store(&[("DATABASE_URL", "sqlite:a.db"), ("OFFPEAK__STORE__URL", "sqlite:b.db")]), sqlite("b.db"));
    assert_eq!(store(&[("DATABASE_URL", "")]), sqlite("./data/offpeak.db"));

    let log = |variables| load("telemetry.log = \"warn\"", variables).unwrap().settings.telemetry.log;
    assert_eq!(log(&[]), "warn");
    assert_eq!(log(&[("RUST_LOG", "debug")]), "debug");
    assert_eq!(log(&[("RUST_LOG", "debug"), ("OFFPEAK__TELEMETRY__LOG", "error")]), "error");
}

#[test]
fn the_file_is_the_one_named_else_the_variables() {
    let by_variable = BTreeMap::from([("OFFPEAK_CONFIG".to_owned(), "b.toml".to_owned())]);
    let find = |named: Option<&str>| Sources::find(named.map(PathBuf::from), by_variable.clone()).file;
    assert_eq!(find(Some("a.toml")), Some("a.toml".into()));
    assert_eq!(find(None), Some("b.toml".into()));
}

#[test]
fn variables_with_one_underscore_are_nobodys_settings() {
    let variables = [("OFFPEAK_CONFIG", "x"), ("OFFPEAK_ADMIN_TOKEN", "t"), ("OFFPEAK_WEBHOOK_SECRET", WEBHOOK_SECRET)];
    let settings = load("", &variables).unwrap().settings;
    assert_eq!(settings.admin.token, Some(Secret::new("t")));
}
