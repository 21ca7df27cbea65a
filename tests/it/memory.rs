//! Memory: however large a batch is, the gateway holds a small part of it at a time.

use std::time::Duration;

use futures_util::future::try_join_all;
use http::Method;
use offpeak::clock::{Clock, Timestamp};
use offpeak::domain::body::Item;
use offpeak::domain::id::DeferralId;
use offpeak::domain::lane::{Credential, CredentialHeader, Lane};
use offpeak::secret::{Secret, Vault};
use offpeak::settings::{Settings, Sources};
use offpeak::simulator::{self, Simulator};
use offpeak::store::{NewDeferral, Store};
use serde_json::json;

use super::app::{Engine, KEY, Storage, body, on_both_engines, variable};
use super::child::{Gateway, serve};

on_both_engines! {
    a_batch_passes_through_in_little_memory,
}

/// Calls that are queued in one transaction.
const AT_ONCE: usize = 1_000;

/// How long a batch may take from the flush to its last result, and how often it is looked at.
const LIMIT: Duration = Duration::from_mins(8);
const LOOK_EVERY: Duration = Duration::from_millis(200);

const MB: u64 = 1_000_000;

/// So much more may the gateway take for the feed, however long that is.
const FEED_MEMORY: u64 = 20 * MB;

/// A batch, and how much more memory than when idle the gateway may take for it: less than its items, or its answers.
struct Load {
    calls: usize,
    bytes_per_call: usize,
    /// Of each answer, about six bytes each.
    words: usize,
    memory: u64,
}

async fn a_batch_passes_through_in_little_memory(engine: Engine) {
    pass(engine, Load { calls: 6_000, bytes_per_call: 14_000, words: 2_000, memory: 65 * MB }).await;
}

#[tokio::test]
#[ignore = "takes minutes: make soak"]
async fn the_largest_batch_passes_through_in_150_mb_on_sqlite() {
    pass(Engine::Sqlite, Load { calls: 100_000, bytes_per_call: 2_000, words: 300, memory: 150 * MB }).await;
}

#[tokio::test]
#[ignore = "takes minutes: make soak"]
async fn the_largest_batch_passes_through_in_150_mb_on_postgres() {
    pass(Engine::Postgres, Load { calls: 100_000, bytes_per_call: 2_000, words: 300, memory: 150 * MB }).await;
}

async fn pass(engine: Engine, load: Load) {
    let storage = Storage::new(engine).await;
    queue(&storage, &load).await;
    let simulator = Simulator::start(simulator::Settings::default(), Clock::system()).await.unwrap();
    let settings = [
        ("batch.linger", "1d"),
        ("batch.max_requests", "100000"),
        ("batch.max_bytes", "256MB"),
        ("batch.poll_min", "100ms"),
    ];
    let gateway = Gateway::start(serve(&storage, &simulator.url(), &settings)).await;
    gateway.until_ready().await;
    let idle = memory(&gateway, "VmRSS");

    gateway.operator(Method::POST, "/api/flush").send().await.expect(202);
    let done = async {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            let batches = gateway.operator(Method::GET, "/api/batches").send().await.expect(200).json();
            if batches["data"][0]["status"] == "ingested" {
                break batches;
            }
        }
    };
    let batches = tokio::time::timeout(LIMIT, done).await.expect("the batch comes home");
    let peak = memory(&gateway, "VmHWM");
    let fed = feed(&gateway, load.calls).await;

    assert_eq!(batches["data"].as_array().unwrap().len(), 1);
    assert_eq!(batches["data"][0]["items"], json!(load.calls));
    assert!(batches["data"][0]["bytes"].as_u64().unwrap() >= (load.calls * load.bytes_per_call) as u64);
    let count = async |statement| storage.count(statement).await;
    assert_eq!(count("select count(*) from deferral where state = 'succeeded'").await, load.calls as i64);
    assert_eq!(count("select count(*) from entry").await, load.calls as i64);
    let taken = peak.saturating_sub(idle);
    assert!(taken < load.memory, "{} MB, and {} MB when idle", peak / MB, idle / MB);
    assert!(fed < FEED_MEMORY, "{} MB for the feed", fed / MB);
}

/// Reads so many lines of the feed, in answers that are far larger than what the gateway may hold; how much more memory
/// it took for that.
async fn feed(gateway: &Gateway, calls: usize) -> u64 {
    // From here on the peak is a new one.
    std::fs::write(format!("/proc/{}/clear_refs", gateway.pid()), "5").unwrap();
    let before = memory(gateway, "VmRSS");
    let (mut lines, mut cursor) = (0, String::new());
    loop {
        let answer = gateway.get(&format!("/deferred/results?limit=50000&after={cursor}")).send().await.expect(200);
        if answer.body.is_empty() {
            assert_eq!(lines, calls);
            return memory(gateway, "VmHWM").saturating_sub(before);
        }
        lines += answer.body.iter().filter(|byte| **byte == b'\n').count();
        cursor = answer.header("x-defer-cursor").unwrap().to_owned();
    }
}

/// Queues the calls behind the gateway's back, as it would do itself, which is quicker than asking it.
async fn queue(storage: &Storage, load: &Load) {
    let environment = storage.settings().map(|(key, value)| (variable(key), value)).collect();
    let settings = Settings::load(&Sources { file: None, environment }).unwrap().settings.store;
    let vault = Vault::new(&settings.master_key.open().unwrap());
    let pseudonym = uuid::Uuid::from_bytes(vault.pseudonym("tenant", KEY.as_bytes()));
    let store = Store::open(&settings, vault).await.unwrap();
    store.migrate().await.unwrap();
    let lane = Lane {
        tenant: format!("tnt_{}", pseudonym.simple()),
        credential: Credential { header: CredentialHeader::ApiKey, secret: Secret::new(KEY) },
        version: Some("2023-06-01".into()),
        betas: String::new(),
        workspace_id: None,
        user_profile_id: None,
    };
    let now = Clock::system().now();
    let noise = noise(load.bytes_per_call * 2);
    let call = |n: usize| {
        // Every prompt is a stretch of its own, and hardly becomes shorter when it is packed.
        let start = n * 7 % load.bytes_per_call;
        let prompt = format!("[long:{}] {}", load.words, &noise[start..start + load.bytes_per_call]);
        deferral(&lane, &body(&prompt).replacen("64", "2000", 1), now)
    };
    for start in (0..load.calls).step_by(AT_ONCE) {
        let calls = (start..load.calls.min(start + AT_ONCE)).map(|n| store.accept(call(n)));
        try_join_all(calls).await.unwrap();
    }
    store.close().await;
}

fn deferral(lane: &Lane, text: &str, now: Timestamp) -> NewDeferral {
    NewDeferral {
        id: DeferralId::new(now),
        lane: lane.clone(),
        item: Item::read(text.as_bytes(), None).unwrap(),
        workload: None,
        reference: None,
        group: None,
        callback: None,
        client: None,
        rule: None,
        idempotency_key: None,
        retries: 0,
        accepted_at: now,
        deadline: now.plus(Duration::from_hours(24)),
        caching: None,
    }
}

fn noise(length: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..length).map(|_| char::from(LETTERS[rand::random_range(0..64)])).collect()
}

/// A line of `/proc/PID/status` in bytes.
pub(crate) fn memory(gateway: &Gateway, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1_024
}
