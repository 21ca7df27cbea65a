//! The commands that ask a running gateway, against one that runs.

use std::process::Output;

use http::Method;
use offpeak::clock::Clock;
use offpeak::simulator::{Settings, Simulator};
use serde_json::Value;

use super::app::{Engine, Storage, body};
use super::child::{Gateway, serve};
use super::program::{offpeak, output, text};
use super::webhooks::{Receiver, Reply};
use super::wire::soon;

/// Calls stay queued until somebody asks for a flush; then all is quick.
const PATIENT: [(&str, &str); 2] = [("batch.linger", "1h"), ("batch.poll_min", "20ms")];

/// A port that is nobody's: those that are given out freely are far above it.
const NOBODY: &str = "http://127.0.0.1:1";

const UNKNOWN: &str = "dfr_00000000000000000000000000000000";

/// A gateway as a process, and what it needs.
struct Ground {
    gateway: Gateway,
    _simulator: Simulator,
    _storage: Storage,
}

impl Ground {
    async fn new(settings: &[(&str, &str)], environment: &[(&str, &str)]) -> Self {
        let simulator = Simulator::start(Settings::default(), Clock::system()).await.unwrap();
        let storage = Storage::new(Engine::Sqlite).await;
        let mut command = serve(&storage, &simulator.url(), settings);
        command.envs(environment.iter().copied());
        let gateway = Gateway::start(command).await;
        gateway.until_ready().await;
        Self { gateway, _simulator: simulator, _storage: storage }
    }

    fn admin(&self) -> String {
        format!("http://{}", self.gateway.admin)
    }

    /// Runs a command that asks it.
    async fn ask(&self, arguments: &[&str]) -> Output {
        output(&mut offpeak(&[arguments, &["--admin", &self.admin()]].concat())).await
    }
}

/// Defers a call, and gives its id.
async fn defer(ground: &Ground, workload: &str) -> String {
    let call = ground.gateway.tagged(body("Hello")).header("x-defer-workload", workload);
    call.send().await.expect(202).json()["id"].as_str().unwrap().to_owned()
}

/// What a command prints with `--json`.
async fn json(ground: &Ground, arguments: &[&str]) -> Value {
    let output = ground.ask(&[arguments, &["--json"]].concat()).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a command prints for people.
async fn shown(ground: &Ground, arguments: &[&str]) -> String {
    let output = ground.ask(arguments).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

fn ids(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn deferrals_are_listed_shown_and_canceled() {
    let ground = Ground::new(&PATIENT, &[]).await;
    assert_eq!(shown(&ground, &["deferrals", "list"]).await, "There are no such deferrals.\n");
    let (first, second) = (defer(&ground, "digests").await, defer(&ground, "tagging").await);

    let page = json(&ground, &["deferrals", "list", "--limit", "1"]).await;
    assert_eq!((ids(&page), &page["has_more"]), (vec![second.as_str()], &true.into()));
    let page = json(&ground, &["deferrals", "list", "--after-id", &second]).await;
    assert_eq!(ids(&page), [&first]);
    let page = json(&ground, &["deferrals", "list", "--workload", "digests", "--status", "queued"]).await;
    assert_eq!(ids(&page), [&first]);
    assert_eq!(ids(&json(&ground, &["deferrals", "list", "--group", "none"]).await), [""; 0]);
    let table = shown(&ground, &["deferrals", "list", "--limit", "1"]).await;
    assert!(table.starts_with("id ") && table.contains(&second) && !table.contains(&first), "{table}");
    assert!(table.ends_with(&format!("There are more: --after-id {second}\n")), "{table}");

    assert_eq!(shown(&ground, &["deferrals", "cancel", &first]).await, format!("{first} is canceled.\n"));
    assert_eq!(json(&ground, &["deferrals", "show", &first]).await["status"], "canceled");
    let one = shown(&ground, &["deferrals", "show", &second]).await;
    assert!(one.contains("status     queued\n") && one.contains("workload   tagging\n"), "{one}");
}

#[tokio::test]
async fn a_flush_sends_what_is_queued() {
    let ground = Ground::new(&PATIENT, &[]).await;
    assert_eq!(shown(&ground, &["flush"]).await, "Nothing is queued.\n");
    let id = defer(&ground, "digests").await;
    assert_eq!(json(&ground, &["flush"]).await["queued"], 1);
    ground.gateway.message(&id).await.expect(200);
    let one = shown(&ground, &["deferrals", "show", &id]).await;
    assert!(one.contains("status     succeeded\n") && one.contains("served by  batch\n"), "{one}");
    assert!(one.contains("(live price $0.0"), "{one}");
}

#[tokio::test]
async fn deliveries_are_listed_and_replayed() {
    let receiver = Receiver::scripted(|_, before| Reply::status(if before == 0 { 410 } else { 200 })).await;
    let ground = Ground::new(&[("batch.linger", "1h"), ("webhooks.allow_hosts", "127.0.0.1")], &[]).await;
    assert_eq!(shown(&ground, &["deliveries", "list"]).await, "There are no such deliveries.\n");
    let call = ground.gateway.tagged(body("Hello")).header("x-defer-callback", receiver.url("/hook?token=s3cret"));
    let deferral = call.send().await.id();
    ground.gateway.request(Method::POST, &format!("/deferred/{deferral}/cancel")).send().await.expect(200);
    let id = deferral.replacen("dfr_", "dlv_", 1);
    let listed = async |status: &str| {
        ids(&json(&ground, &["deliveries", "list", "--status", status]).await).iter().any(|one| *one == id)
    };
    let until = async |status: &str| {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(50));
        soon(async {
            while !listed(status).await {
                looks.tick().await;
            }
        })
        .await;
    };
    until("dead").await;
    let table = shown(&ground, &["deliveries", "list", "--receiver", &receiver.origin()]).await;
    assert!(table.contains(&id) && table.contains("  410  ") && !table.contains("s3cret"), "{table}");
    assert_eq!(ids(&json(&ground, &["deliveries", "list", "--receiver", "nobody"]).await), [""; 0]);

    let said = shown(&ground, &["deliveries", "replay", &id]).await;
    assert_eq!(said, format!("{id} (deferral.canceled) is sent to {} once more.\n", receiver.origin()));
    until("delivered").await;
    assert_eq!(receiver.got().len(), 2);
    assert_eq!(json(&ground, &["deliveries", "replay", &id]).await["id"], *id);
}

#[tokio::test]
async fn rules_are_tried_on_recorded_calls() {
    let ground = Ground::new(&PATIENT, &[]).await;
    ground.gateway.call(body("Hello")).send().await.expect(200);
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("suggested.toml");
    let file = file.to_str().unwrap();
    std::fs::write(file, "[[rule]]\nname = \"all\"\nwhen = \"true\"\naction = \"defer\"\nrollout = 10\n").unwrap();
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(50));
    soon(async {
        while json(&ground, &["try-rule", file]).await["calls"] == 0 {
            looks.tick().await;
        }
    })
    .await;
    let told = shown(&ground, &["try-rule", file, "--since", "1d"]).await;
    assert!(told.starts_with("rule") && told.contains("could be deferred  1 call\n"), "{told}");
    assert!(told.contains("at a rollout of 10 %") && told.contains("Out of 1 call from "), "{told}");

    std::fs::write(file, "[[rule]]\nname = \"all\"\nwhen = \"foo\"\naction = \"defer\"\n").unwrap();
    let faulty = ground.ask(&["try-rule", file]).await;
    assert!(faulty.status.code() == Some(1) && text(&faulty.stderr).contains(":3:9: rule[0].when: "));
    std::fs::write(file, "").unwrap();
    let none = ground.ask(&["try-rule", file]).await;
    assert!(none.status.code() == Some(1) && text(&none.stderr).contains("has no [[rule]] in it"));
}

#[tokio::test]
async fn the_token_is_asked_for_and_never_shown() {
    let ground = Ground::new(&[], &[("OFFPEAK_ADMIN_TOKEN", "right-token")]).await;
    for wrong in [&["flush"][..], &["flush", "--token", "wrong-token"]] {
        let output = ground.ask(wrong).await;
        let complaint = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
        assert!(complaint.contains("--token") && !complaint.contains("wrong-token"), "{complaint}");
    }
    assert!(ground.ask(&["flush", "--token", "right-token"]).await.status.success());
    let mut by_environment = offpeak(&["flush"]);
    by_environment.env("OFFPEAK_ADMIN_TOKEN", "right-token").env("OFFPEAK_ADMIN_URL", ground.admin());
    assert!(output(&mut by_environment).await.status.success());
    let help = output(offpeak(&["flush", "--help"]).env("OFFPEAK_ADMIN_TOKEN", "right-token")).await;
    assert!(!text(&help.stdout).contains("right-token"));
}

#[tokio::test]
async fn what_goes_wrong_is_said_with_what_to_do() {
    let ground = Ground::new(&[], &[]).await;
    let (gateway, admin) = (format!("http://{}", ground.gateway.address), ground.admin());
    for (arguments, admin, words) in [
        (&["flush"][..], NOBODY, ["cannot be reached", "offpeak serve"]),
        (&["deferrals", "show", UNKNOWN], admin.as_str(), ["no such deferral", ""]),
        (&["deferrals", "cancel", UNKNOWN], admin.as_str(), ["no such deferral", ""]),
        (&["deliveries", "replay", "dlv_00000000000000000000000000000000"], admin.as_str(), ["no such delivery", ""]),
        (&["deferrals", "list", "--after-id", UNKNOWN], gateway.as_str(), ["check --admin", "404"]),
    ] {
        let output = output(&mut offpeak(&[arguments, &["--admin", admin]].concat())).await;
        let complaint = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""), "{complaint}");
        assert!(words.iter().all(|word| complaint.contains(word)), "{complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
    }
}

#[tokio::test]
async fn wrong_use_is_found_before_anybody_is_asked() {
    for arguments in [
        &["deferrals"][..],
        &["deferrals", "show"],
        &["deferrals", "show", "nonsense"],
        &["deferrals", "list", "--status", "done"],
        &["deferrals", "list", "--limit", "0"],
        &["deliveries"],
        &["deliveries", "replay"],
        &["deliveries", "replay", UNKNOWN],
        &["deliveries", "list", "--status", "queued"],
        &["flush", "--admin", "nonsense"],
        &["try-rule"],
        &["try-rule", "x.toml", "--since", "soon"],
    ] {
        assert_eq!(output(&mut offpeak(arguments)).await.status.code(), Some(2), "{arguments:?}");
    }
}
