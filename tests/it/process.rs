//! The gateway as a process: what it keeps when it is killed, when its database goes, and when it is asked to end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use offpeak::clock::Clock;
use offpeak::simulator::{Effect, Endpoint, Fault, Settings, Simulator};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::app::{Call, Engine, Storage, body, on_both_engines, variable};
use super::child::{Gateway, serve};
use super::postgres::{PrivateCluster, database_at};
use super::webhooks::{Receiver, Reply, SECRET};
use super::wire::soon;

on_both_engines! {
    no_ticket_is_lost_or_submitted_twice_when_the_process_is_killed,
}

/// Everything as fast as it goes.
const QUICK: [(&str, &str); 6] = [
    ("batch.linger", "20ms"),
    ("batch.poll_min", "10ms"),
    ("batch.poll_max", "100ms"),
    ("batch.max_requests", "20"),
    ("batch.lease", "1s"),
    ("batch.reconcile_wait", "1s"),
];

/// How often the process is killed, how many tickets it gives before that at most, and who calls at a time.
const KILLS: u32 = 4;
const TICKETS_MAX: u32 = 120;
const CALLERS: usize = 8;

async fn provider(batch_time: Duration) -> Simulator {
    Simulator::start(Settings { batch_time, ..Settings::default() }, Clock::system()).await.unwrap()
}

async fn no_ticket_is_lost_or_submitted_twice_when_the_process_is_killed(engine: Engine) {
    let simulator = provider(Duration::from_millis(50)).await;
    let storage = Storage::new(engine).await;
    let mut tickets = Vec::new();
    for _ in 0..KILLS {
        let mut gateway = Gateway::start(serve(&storage, &simulator.url(), &QUICK)).await;
        gateway.until_ready().await;
        let load = Load::start(&gateway, tickets.len());
        let enough = 1 + rand::random_range(0..TICKETS_MAX);
        soon(load.given.subscribe().wait_for(|given| *given >= enough)).await.unwrap();
        gateway.kill();
        tickets.extend(load.end().await);
    }

    let gateway = Gateway::start(serve(&storage, &simulator.url(), &QUICK)).await;
    for id in &tickets {
        assert_eq!(gateway.message(id).await.expect(200).json()["type"], "message");
    }
    let mut submitted: HashMap<String, usize> = HashMap::new();
    for item in simulator.books().items() {
        *submitted.entry(item.custom_id.to_string()).or_default() += 1;
    }
    let repeated: Vec<_> = submitted.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty(), "of {} tickets these were paid more than once: {repeated:?}", tickets.len());
    assert!(tickets.iter().all(|id| submitted.contains_key(id)));
}

/// Callers who defer one call after the other, until the gateway goes.
struct Load {
    given: watch::Sender<u32>,
    stop: Arc<AtomicBool>,
    callers: JoinSet<Vec<String>>,
}

impl Load {
    fn start(gateway: &Gateway, salt: usize) -> Self {
        let (given, stop) = (watch::Sender::new(0), Arc::new(AtomicBool::new(false)));
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (given, stop) = (given.clone(), stop.clone());
            let calls: Vec<_> =
                (0..TICKETS_MAX).map(|n| gateway.tagged(body(&format!("{salt} {caller} {n} [long:50]")))).collect();
            callers.spawn(async move {
                let mut tickets = Vec::new();
                for call in calls {
                    // A caller whose connection breaks knows nothing of what it has sent last.
                    let Ok(ticket) = call.try_send().await else { break };
                    tickets.push(ticket.id());
                    given.send_modify(|given| *given += 1);
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
                tickets
            });
        }
        Self { given, stop, callers }
    }

    /// The tickets that were given.
    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        soon(self.callers.join_all()).await.concat()
    }
}

#[tokio::test]
async fn live_calls_go_on_while_postgres_is_down_and_tickets_outlive_it() {
    let cluster = PrivateCluster::start();
    let storage = Storage::at(database_at(cluster.url()).await);
    let simulator = provider(Duration::ZERO).await;
    cluster.crash();
    let gateway = Gateway::start(serve(&storage, &simulator.url(), &QUICK)).await;
    assert_down(&gateway, &simulator).await;
    cluster.resume();
    gateway.until_ready().await;
    let id = gateway.tagged(body("Hi")).send().await.id();

    cluster.crash();
    assert_down(&gateway, &simulator).await;
    cluster.resume();
    gateway.until_ready().await;
    gateway.message(&id).await.expect(200);
    assert_eq!(simulator.books().items().count(), 1);
}

async fn assert_down(gateway: &Gateway, simulator: &Simulator) {
    let live_calls = || simulator.books().live_calls().count();
    let live = live_calls();
    // Each of these waits a while for the database, so they wait together.
    let (tagged, asked, ready) = tokio::join!(
        gateway.tagged(body("not to be queued")).send(),
        gateway.get("/deferred").send(),
        gateway.get("/readyz").send(),
    );
    assert!(tagged.header("retry-after").is_some());
    tagged.refused(503, "api_error", "store-unavailable");
    asked.refused(503, "api_error", "store-unavailable");
    let ready = ready.expect(503).json();
    assert!(ready["wrong"][0].as_str().unwrap().contains("store"), "{ready}");
    gateway.call(body("Hi")).send().await.expect(200);
    gateway.get("/healthz").send().await.expect(200);
    assert_eq!(live_calls(), live + 1);
    // A batch may have been on its way when the database went; what was refused since is in none.
    assert!(simulator.books().items().all(|item| !String::from_utf8_lossy(&item.params).contains("not to be queued")));
}

#[tokio::test]
async fn a_second_process_on_the_same_file_is_refused() {
    let storage = Storage::new(Engine::Sqlite).await;
    let mut first = Gateway::start(serve(&storage, "http://127.0.0.1:1", &QUICK)).await;
    let second = serve(&storage, "http://127.0.0.1:1", &QUICK).output().unwrap();
    let complaint = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("offpeak.db is in use by another offpeak process"), "{complaint}");
    first.until_ready().await;
    first.kill();
    // The lock goes with the process that held it.
    Gateway::start(serve(&storage, "http://127.0.0.1:1", &QUICK)).await.until_ready().await;
}

#[tokio::test]
async fn a_process_that_is_asked_to_end_ends_well() {
    let storage = Storage::new(Engine::Sqlite).await;
    let simulator = provider(Duration::ZERO).await;
    let mut gateway = Gateway::start(serve(&storage, &simulator.url(), &[("batch.linger", "1h")])).await;
    gateway.until_ready().await;
    gateway.tagged(body("Hi")).send().await.id();
    gateway.terminate();
    assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log());
    assert!(gateway.log().contains("drained"));
}

#[tokio::test]
async fn settings_are_read_again_on_a_signal_or_when_their_file_has_changed() {
    let receiver = Receiver::start().await;
    let storage = Storage::new(Engine::Sqlite).await;
    let simulator = provider(Duration::ZERO).await;
    let file = storage.folder().join("offpeak.toml");
    let of = |name: &str| {
        let (url, secret) = (receiver.url(&format!("/{name}")), format!("whsec_{}", "A".repeat(32)));
        format!("[[receiver]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret = \"{secret}\"\n")
    };
    std::fs::write(&file, of("first")).unwrap();
    let mut command = serve(&storage, &simulator.url(), &QUICK);
    command.args(["--config", file.to_str().unwrap()]);
    let mut gateway = Gateway::start(command).await;
    gateway.until_ready().await;
    let tell = async |name: &str| gateway.tagged(body("Hi")).header("x-defer-callback", name).send().await;
    let accepted = async |name: &str| {
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        soon(async {
            while tell(name).await.status != 202 {
                looks.tick().await;
            }
        })
        .await;
    };
    tell("first").await.expect(202);
    tell("second").await.refused(400, "invalid_request_error", "invalid-header");
    // A change is noticed by itself, and holds for what is sent as well as for what is accepted.
    std::fs::write(&file, of("second") + "# longer").unwrap();
    accepted("second").await;
    receiver.until(|got| got.iter().any(|one| one.path == "/second")).await;
    tell("first").await.refused(400, "invalid_request_error", "invalid-header");
    // One with a fault changes nothing, and says why.
    std::fs::write(&file, of("third") + "[batch]\nlingr = \"5s\"\n").unwrap();
    gateway.until_logged("settings with a fault").await;
    tell("second").await.expect(202);
    tell("third").await.refused(400, "invalid_request_error", "invalid-header");
    // The operator need not wait for the next look.
    std::fs::write(&file, of("third")).unwrap();
    gateway.signal("HUP");
    accepted("third").await;
    gateway.terminate();
    assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log());
    let log = gateway.log();
    assert!(log.contains("did you mean \\\"linger\\\"?"), "{log}");
}

#[tokio::test]
async fn a_webhook_that_is_under_way_is_waited_for() {
    let (release, released) = watch::channel(false);
    let receiver = Receiver::scripted(move |_, _| Reply::Once(released.clone())).await;
    let storage = Storage::new(Engine::Sqlite).await;
    let simulator = provider(Duration::ZERO).await;
    let settings = [("webhooks.allow_hosts", "127.0.0.1"), ("batch.linger", "20ms"), ("batch.poll_min", "10ms")];
    let mut gateway = Gateway::start(serve(&storage, &simulator.url(), &settings)).await;
    gateway.until_ready().await;
    gateway.tagged(body("Hi")).header("x-defer-callback", receiver.url("/")).send().await.expect(202);
    receiver.until(|got| got.len() == 1).await;
    gateway.terminate();
    gateway.until_logged("draining").await;
    release.send_replace(true);
    assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log());
    let taken = "select count(*) from delivery where state = 'delivered'";
    assert_eq!(storage.count(taken).await, 1);
}

#[tokio::test]
async fn a_stream_may_end_before_the_process_does_unless_it_is_asked_twice() {
    let storage = Storage::new(Engine::Sqlite).await;
    let simulator = provider(Duration::ZERO).await;
    simulator.inject(Fault::at(Endpoint::Messages, Effect::Hang { worked: false }));
    let mut gateway = Gateway::start(serve(&storage, &simulator.url(), &[])).await;
    let mut calls = JoinSet::new();
    calls.spawn(gateway.call(body("Hi")).try_send());
    soon(simulator.until(|books| books.live_calls().count() == 1)).await;
    gateway.terminate();
    // It takes nobody in any more, and waits for who is in.
    let refused = async { while gateway.get("/healthz").try_send().await.is_ok() {} };
    soon(refused).await;
    assert!(calls.try_join_next().is_none());
    gateway.terminate();
    assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log());
    assert!(soon(calls.join_next()).await.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn a_replica_takes_over_what_a_dead_one_held() {
    let simulator = provider(Duration::from_millis(50)).await;
    let storage = Storage::new(Engine::Postgres).await;
    let mut first = Gateway::start(serve(&storage, &simulator.url(), &QUICK)).await;
    first.until_ready().await;
    simulator.inject(Fault::at(Endpoint::BatchCreate, Effect::Hang { worked: true }).times(1));
    let id = first.tagged(body("Hi")).send().await.id();
    soon(simulator.until(|books| books.batches.len() == 1)).await;
    let second = Gateway::start(serve(&storage, &simulator.url(), &QUICK)).await;
    second.until_ready().await;
    first.kill();
    second.message(&id).await.expect(200);
    assert_eq!(simulator.books().items().count(), 1);
}

#[tokio::test]
async fn the_log_holds_no_secret_however_much_it_tells() {
    let hook_secret = &SECRET["whsec_".len()..];
    let marks = ["marked-key", "marked-prompt", "marked-token", "marked-upstream", "marked-reference", "marked-hook"];
    let receiver = Receiver::scripted(|_, before| Reply::status(if before == 0 { 500 } else { 200 })).await;
    let storage = Storage::new(Engine::Sqlite).await;
    let keys = "[[key]]\nname = \"team\"\nsecret = \"gw-marked-key-2\"\nupstream = \"sk-marked-upstream-1\"\n";
    let simulator = provider(Duration::ZERO).await;
    std::fs::write(storage.folder().join("keys.toml"), keys).unwrap();
    let mut command = serve(&storage, &simulator.url(), &QUICK);
    command.env("OFFPEAK_WEBHOOK_SECRET", SECRET).env(variable("webhooks.allow_hosts"), "127.0.0.1");
    command.args(["--config", "keys.toml"]).env("RUST_LOG", "trace").env("OFFPEAK_ADMIN_TOKEN", "marked-token-1");
    let mut gateway = Gateway::start(command).await;
    gateway.until_ready().await;

    // What succeeds, what fails for good, what either side refuses, and what goes wrong on the way.
    let mut answers = Vec::new();
    for (key, prompt, endpoint, effect) in [
        ("sk-marked-key-1", "marked-prompt", Endpoint::BatchCreate, Effect::CutAfter),
        (
            "gw-marked-key-2",
            "marked-prompt [error:permission_error]",
            Endpoint::BatchResults,
            Effect::TruncateResults { lines: 0, clean: true },
        ),
        ("gw-marked-key-2", "marked-prompt", Endpoint::BatchCreate, Effect::status(400)),
    ] {
        simulator.inject(Fault::at(endpoint, effect).times(1));
        let marked = |call: Call| call.key(key).header("x-defer-ref", "marked-reference");
        marked(gateway.call(body(prompt))).send().await;
        marked(gateway.tagged(body(prompt).replacen('{', "{\"speed\":\"fast\",", 1))).send().await.expect(400);
        marked(gateway.tagged(body(prompt))).header("x-defer", "marked-prompt").send().await.expect(400);
        let id = marked(gateway.tagged(body(prompt))).send().await.id();
        answers.push(gateway.get(&format!("/deferred/{id}/message?wait=25")).key(key).send().await);
    }
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 403, 400]);
    let told = |callback: &str| gateway.tagged(body("marked-prompt")).header("x-defer-callback", callback).send();
    told("https://marked-hook@8.8.8.8/").await.expect(400);
    // One is taken at the second attempt, and nobody is at the other place.
    for callback in [receiver.url("/marked-hook?token=marked-hook").as_str(), "http://127.0.0.1:1/marked-hook"] {
        told(callback).await.expect(202);
    }
    receiver.until(|got| got.len() == 2).await;
    for token in ["marked-token-1", "marked-token-2"] {
        gateway.operator(Method::GET, "/api/status").bearer(token).send().await;
    }
    gateway.terminate();
    gateway.ended().await;

    let log = gateway.log();
    assert!(log.contains("\"level\":\"TRACE\""), "it tells everything");
    assert!(log.lines().count() > 100);
    assert!(log.contains("a webhook was not taken"));
    for mark in marks.into_iter().chain([hook_secret]) {
        assert!(!log.contains(mark), "{mark}: {:?}", log.lines().find(|line| line.contains(mark)));
    }
    let said = answers[0].json()["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    assert!(!said.is_empty() && !log.contains(&said));
}
