//! The commands that ask a running gateway, against one that runs.

use serde_json::Value;

use super::program::{Gateway, http_client, offpeak, output, text};
use super::wire::soon;

/// Calls stay queued until somebody asks for a flush.
const PATIENT: (&str, &str) = ("OFFPEAK__BATCH__LINGER", "1h");

/// A port that is nobody's: those that are given out freely are far above it.
const NOBODY: &str = "http://127.0.0.1:1";

const UNKNOWN: &str = "dfr_00000000000000000000000000000000";

/// Defers a call, and gives its id.
async fn defer(gateway: &Gateway, workload: &str) -> String {
    let body = r#"{"model":"claude-haiku-5-5","max_tokens":50,"messages":[{"role":"user","content":"Hello"}]}"#;
    let call = http_client()
        .post(format!("{}/v1/messages", gateway.url))
        .header("x-api-key", "key-1")
        .header("anthropic-version", "2023-06-01")
        .header("x-defer", "batch")
        .header("x-defer-workload", workload)
        .body(body);
    let answer = soon(call.send()).await.unwrap();
    assert_eq!(answer.status(), 202);
    let ticket: Value = serde_json::from_str(&soon(answer.text()).await.unwrap()).unwrap();
    ticket["id"].as_str().unwrap().to_owned()
}

/// What a command prints with `--json`.
async fn json(gateway: &Gateway, arguments: &[&str]) -> Value {
    let output = gateway.ask(&[arguments, &["--json"]].concat()).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a command prints for people.
async fn shown(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.ask(arguments).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

fn ids(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn deferrals_are_listed_shown_and_canceled() {
    let gateway = Gateway::start(&[PATIENT]).await;
    assert_eq!(shown(&gateway, &["deferrals", "list"]).await, "There are no such deferrals.\n");
    let (first, second) = (defer(&gateway, "digests").await, defer(&gateway, "tagging").await);

    let page = json(&gateway, &["deferrals", "list", "--limit", "1"]).await;
    assert_eq!((ids(&page), &page["has_more"]), (vec![second.as_str()], &true.into()));
    let page = json(&gateway, &["deferrals", "list", "--after-id", &second]).await;
    assert_eq!(ids(&page), [&first]);
    let page = json(&gateway, &["deferrals", "list", "--workload", "digests", "--status", "queued"]).await;
    assert_eq!(ids(&page), [&first]);
    assert_eq!(ids(&json(&gateway, &["deferrals", "list", "--group", "none"]).await), [""; 0]);
    let table = shown(&gateway, &["deferrals", "list", "--limit", "1"]).await;
    assert!(table.starts_with("id ") && table.contains(&second) && !table.contains(&first), "{table}");
    assert!(table.ends_with(&format!("There are more: --after-id {second}\n")), "{table}");

    assert_eq!(shown(&gateway, &["deferrals", "cancel", &first]).await, format!("{first} is canceled.\n"));
    assert_eq!(json(&gateway, &["deferrals", "show", &first]).await["status"], "canceled");
    let one = shown(&gateway, &["deferrals", "show", &second]).await;
    assert!(one.contains("status     queued\n") && one.contains("workload   tagging\n"), "{one}");
}

#[tokio::test]
async fn a_flush_sends_what_is_queued() {
    let gateway = Gateway::start(&[PATIENT]).await;
    assert_eq!(shown(&gateway, &["flush"]).await, "Nothing is queued.\n");
    let id = defer(&gateway, "digests").await;
    assert_eq!(json(&gateway, &["flush"]).await["queued"], 1);
    let result =
        http_client().get(format!("{}/deferred/{id}/message?wait=60", gateway.url)).header("x-api-key", "key-1");
    assert_eq!(soon(result.send()).await.unwrap().status(), 200);
    let one = shown(&gateway, &["deferrals", "show", &id]).await;
    assert!(one.contains("status     succeeded\n") && one.contains("served by  batch\n"), "{one}");
    assert!(one.contains("live price $0.0000"), "{one}");
}

#[tokio::test]
async fn the_token_is_asked_for_and_never_shown() {
    let gateway = Gateway::start(&[("OFFPEAK_ADMIN_TOKEN", "right-token")]).await;
    for wrong in [&["flush"][..], &["flush", "--token", "wrong-token"]] {
        let output = gateway.ask(wrong).await;
        let complaint = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
        assert!(complaint.contains("--token") && !complaint.contains("wrong-token"), "{complaint}");
    }
    assert!(gateway.ask(&["flush", "--token", "right-token"]).await.status.success());
    let mut by_environment = offpeak(&["flush"]);
    by_environment.env("OFFPEAK_ADMIN_TOKEN", "right-token").env("OFFPEAK_ADMIN_URL", &gateway.admin);
    assert!(output(&mut by_environment).await.status.success());
    let help = output(offpeak(&["flush", "--help"]).env("OFFPEAK_ADMIN_TOKEN", "right-token")).await;
    assert!(!text(&help.stdout).contains("right-token"));
}

#[tokio::test]
async fn what_goes_wrong_is_said_with_what_to_do() {
    let gateway = Gateway::start(&[]).await;
    for (arguments, admin, words) in [
        (&["flush"][..], NOBODY, ["cannot be reached", "offpeak serve"]),
        (&["deferrals", "show", UNKNOWN], gateway.admin.as_str(), ["no such deferral", ""]),
        (&["deferrals", "cancel", UNKNOWN], gateway.admin.as_str(), ["no such deferral", ""]),
        (&["deferrals", "list", "--after-id", UNKNOWN], gateway.url.as_str(), ["check --admin", "404"]),
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
        &["flush", "--admin", "nonsense"],
    ] {
        assert_eq!(output(&mut offpeak(arguments)).await.status.code(), Some(2), "{arguments:?}");
    }
}
