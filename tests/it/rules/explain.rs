//! `offpeak explain`, run as a program.

use std::process::Output;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::it::program::{offpeak, output, text};

const KEY_HEADER: &str = "x-api-key: sk-ant-red-1";

/// Three rules, of which the second decides over calls of a haiku.
fn rules() -> String {
    [
        rule("fails", "when = 'int(headers[\"x-n\"]) > 3'\naction = \"live\""),
        rule("haiku", "when = 'request.model.startsWith(\"claude-haiku\") && request.messages == 1'\naction = \"defer\"\ndeadline = \"6h\"\nworkload = \"digests\""),
        rule("rest", "when = \"true\"\naction = \"live\""),
    ]
    .concat()
}

/// Explains a call with this body and these headers.
async fn explain(rules: &str, body: &str, arguments: &[&str]) -> Output {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("policy.toml"), rules).unwrap();
    std::fs::write(path("request.json"), body).unwrap();
    let (config, request) = (path("policy.toml"), path("request.json"));
    let given = [&["explain", "--config", &config, &request], arguments].concat();
    let said = output(offpeak(&given).current_dir(folder.path())).await;
    assert!(!folder.path().join("data").exists(), "explaining makes no key");
    said
}

async fn json_of(rules: &str, body: &str, arguments: &[&str]) -> Value {
    let said = explain(rules, body, &[arguments, &["--json"]].concat()).await;
    assert!(said.status.success(), "{}", text(&said.stderr));
    serde_json::from_slice(&said.stdout).unwrap()
}

#[tokio::test]
async fn people_see_every_rule_up_to_the_one_that_decides() {
    let said = explain(&rules(), &body("Hi"), &["-H", KEY_HEADER, "-H", "x-defer-wait: 0"]).await;
    assert!(said.status.success(), "{}", text(&said.stderr));
    let shown = text(&said.stdout);
    let deadline = shown.lines().find(|line| line.starts_with("deadline")).unwrap();
    insta::assert_snapshot!(shown.replace(deadline, "deadline  …"), @r##"
    rule   says     because of
    fails  fails    int() fails on what it is given: headers["x-n"] = ""
    haiku  matches  request.model = "claude-haiku-4-5", request.messages = 1

    decision  deferred; rule="haiku"; id=dfr_…
    deadline  …
    reply     ticket
    workload  digests
    batch     a batch can take it
    "##);
    assert!(!shown.contains("sk-ant-red-1"));
}

#[tokio::test]
async fn scripts_see_the_same() {
    let told = json_of(&rules(), &body("Hi"), &["-H", KEY_HEADER]).await;
    assert_eq!(
        (&told["decision"], &told["rule"], &told["reason"]),
        (&json!("deferred"), &json!("haiku"), &json!("rule"))
    );
    assert_eq!(told["header"], "deferred; rule=\"haiku\"; id=dfr_…");
    assert_eq!(told["rules"][0]["error"], "int() fails on what it is given");
    let haiku = json!({
        "name": "haiku", "says": "matches", "error": null,
        "reads": {"request.model": "\"claude-haiku-4-5\"", "request.messages": "1"},
    });
    assert_eq!((&told["rules"][1], told["rules"].as_array().unwrap().len()), (&haiku, 2));
    assert_eq!((&told["terms"]["reply"], &told["terms"]["workload"]), (&json!("hold"), &json!("digests")));
    assert_eq!((&told["batchable"], &told["batch"]), (&json!(true), &json!(null)));
}

#[tokio::test]
async fn what_stands_in_the_way_is_told() {
    let thread = body("Hi").replacen('{', "{\"thread\":{},", 1);
    for (text, arguments, header, batch) in [
        (
            thread.as_str(),
            vec!["-H", KEY_HEADER],
            "live; rule=\"haiku\"; reason=not-deferrable; blocked-by=thread",
            "thread",
        ),
        (&body("Hi"), vec![], "live; rule=\"haiku\"; reason=not-deferrable; blocked-by=credential", "credential"),
        ("{\"model\":\"claude-opus-4-5\"}", vec!["-H", KEY_HEADER], "live; rule=\"rest\"; reason=rule", "messages"),
        (&body("Hi"), vec!["-H", KEY_HEADER, "-H", "x-defer: live"], "live; reason=header", ""),
        (&body("Hi"), vec!["-H", KEY_HEADER, "-H", "x-defer: 1m"], "live; reason=deadline-too-close", ""),
        (&body("Hi"), vec!["-H", KEY_HEADER, "-H", "x-defer: batch"], "deferred; reason=header; id=dfr_…", ""),
    ] {
        let told = json_of(&rules(), text, &arguments).await;
        assert_eq!(told["header"], header);
        assert!(told["batch"].as_str().unwrap_or_default().contains(batch), "{told}");
    }
    let none = json_of("", &body("Hi"), &["-H", KEY_HEADER]).await;
    assert_eq!((&none["header"], &none["rules"]), (&json!("live; reason=no-rule"), &json!([])));
}

#[tokio::test]
async fn wrong_use_and_faults_are_told_apart() {
    assert_eq!(output(&mut offpeak(&["explain"])).await.status.code(), Some(2));
    assert_eq!(output(&mut offpeak(&["explain", "-H", "nothing", "x.json"])).await.status.code(), Some(2));
    let missing = output(&mut offpeak(&["explain", "nothing.json"])).await;
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("cannot read nothing.json"), "{}", text(&missing.stderr));
    let faulty = explain(&rule("a", "when = \"foo\"\naction = \"live\""), &body("Hi"), &[]).await;
    assert!(faulty.status.code() == Some(1) && text(&faulty.stderr).contains("policy.toml:3:9: rule[0].when"));
    let refused = explain("", &body("Hi"), &["-H", "x-defer: soon"]).await;
    assert!(refused.status.code() == Some(1) && text(&refused.stderr).contains("the header x-defer does not parse"));
}
