//! The policy is read again as a whole: what is right takes its place at once, and what has a fault changes nothing.

use std::time::Duration;

use offpeak::clock::Clock;
use offpeak::simulator::{Settings, Simulator};
use serde_json::json;

use super::*;
use crate::it::app::Storage;
use crate::it::child::{Gateway, serve};
use crate::it::program::{offpeak, output, text};
use crate::it::wire::soon;

const LIVE: &str = "when = \"true\"\naction = \"live\"";

#[tokio::test]
async fn a_new_policy_takes_the_place_of_the_old_one_and_goes_on_counting() {
    let app = with_rules(Engine::Sqlite, &(rule("first", LIVE) + &rule("second", LIVE))).await;
    let said = async || decision(&app.call(body("Hi")).send().await).to_owned();
    assert_eq!(said().await, "live; rule=\"first\"; reason=rule");
    app.reload(&[], &(rule("third", LIVE) + &rule("first", LIVE)));
    assert_eq!(said().await, "live; rule=\"third\"; reason=rule");
    assert_eq!(shown(&app, "first").await["matched"], 1);
    assert_eq!(shown(&app, "third").await["matched"], 1);
    let rules = app.operator(Method::GET, "/api/rules").send().await.json();
    assert_eq!((rules["data"].as_array().unwrap().len(), &rules["fault"]), (2, &json!(null)));
    let metrics = app.operator(Method::GET, "/metrics").send().await;
    assert!(!metrics.text().contains("rule=\"second\""), "a rule that is gone leaves no label");
    app.reload(&[], "");
    assert_eq!(said().await, "live; reason=no-rule");
}

#[tokio::test]
async fn a_file_with_a_fault_changes_nothing_and_is_shown() {
    let storage = Storage::new(Engine::Sqlite).await;
    let simulator = Simulator::start(Settings::default(), Clock::system()).await.unwrap();
    let file = storage.folder().join("policy.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write(&rule("first", LIVE));
    let mut command = serve(&storage, &simulator.url(), &[]);
    command.args(["--config", file.to_str().unwrap()]);
    let gateway = Gateway::start(command).await;
    gateway.until_ready().await;
    let rules = async || gateway.operator(Method::GET, "/api/rules").send().await.expect(200).json();
    let until = async |holds: &dyn Fn(&Value) -> bool| {
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        soon(async {
            while !holds(&rules().await) {
                looks.tick().await;
            }
        })
        .await;
    };
    let said = async || decision(&gateway.call(body("Hi")).send().await).to_owned();
    assert_eq!(said().await, "live; rule=\"first\"; reason=rule");

    write(&rule("second", "when = 'request.modle == \"m\"'\naction = \"live\""));
    gateway.signal("HUP");
    until(&|rules| !rules["fault"].is_null()).await;
    assert_eq!(said().await, "live; rule=\"first\"; reason=rule");
    let fault = rules().await["fault"].clone();
    let told = fault["faults"][0].as_str().unwrap();
    assert!(
        told.contains("policy.toml:3:16: rule[0].when: ") && told.contains("did you mean request.model?"),
        "{told}"
    );
    assert!(fault["at"].as_str().unwrap().ends_with('Z'));
    let metrics = gateway.operator(Method::GET, "/metrics").send().await;
    assert!(metrics.text().contains("offpeak_settings_faulty 1\n"));

    // A change of the file is noticed by itself, and heals it.
    write(&(rule("third", LIVE) + "# changed\n"));
    until(&|rules| rules["fault"].is_null() && rules["data"][0]["name"] == "third").await;
    assert_eq!(said().await, "live; rule=\"third\"; reason=rule");
    gateway.until_logged("did you mean request.model?").await;
}

#[tokio::test]
async fn nothing_starts_with_a_fault_in_the_policy() {
    let storage = Storage::new(Engine::Sqlite).await;
    let file = storage.folder().join("policy.toml");
    std::fs::write(&file, rule("first", "when = \"request.model &&\"\naction = \"live\"")).unwrap();
    let place = format!("{}:3:25: rule[0].when: not CEL: it ends where more is expected", file.display());
    for command in ["serve", "check"] {
        let said = output(&mut offpeak(&[command, "--config", file.to_str().unwrap()])).await;
        assert_eq!(said.status.code(), Some(1));
        assert!(text(&said.stderr).contains(&place), "{}", text(&said.stderr));
    }
    let said = output(&mut offpeak(&["check", "--json", "--config", file.to_str().unwrap()])).await;
    let told: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((&told["faults"][0]["line"], &told["faults"][0]["column"]), (&json!(3), &json!(25)));
}
