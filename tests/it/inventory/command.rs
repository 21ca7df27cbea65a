//! `offpeak inventory --import` as a program: what goes where, and how it ends.

use offpeak::clock::Timestamp;
use offpeak::domain::record::CallRecord;
use offpeak::domain::usage::Tokens;
use offpeak::inventory::import::line;
use serde_json::Value;
use tempfile::TempDir;

use crate::it::program::{offpeak, output, text};

const CALL: &str = r#"{"request_id":"a","call_type":"acompletion","api_key":"88dc28d0f030c55e","spend":0.1,"prompt_tokens":1000,"completion_tokens":100,"startTime":"2026-11-20T02:00:00Z","endTime":"2026-11-20T02:00:02Z","model":"claude-haiku-4-5","custom_llm_provider":"anthropic","metadata":{"user_api_key_alias":"night"}}"#;

/// A folder with a file of this name.
fn folder(name: &str, content: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join(name), content).unwrap();
    folder
}

async fn run(folder: &TempDir, arguments: &[&str]) -> (Option<i32>, String, String) {
    let arguments = [&["inventory"], arguments].concat();
    let output = output(offpeak(&arguments).current_dir(folder.path())).await;
    (output.status.code(), text(&output.stdout).to_owned(), text(&output.stderr).to_owned())
}

/// Calls of LiteLLM, one a night.
fn nights() -> String {
    (1..29).map(|day| CALL.replace("11-20", &format!("11-{day:02}")) + "\n").collect()
}

#[tokio::test]
async fn what_was_read_is_told_on_standard_error() {
    let folder = folder("spend.jsonl", &format!("{}broken\n", nights()));
    let (code, said, told) = run(&folder, &["--import", "spend.jsonl"]).await;
    assert_eq!(code, Some(0));
    assert!(said.contains("night/claude-haiku-4-5") && said.contains("1 of 1 workloads"), "{said}");
    assert_eq!(
        told,
        "spend.jsonl: 28 calls from LiteLLM spend logs\n\
         spend.jsonl:29: it is no JSON object\n\
         spend.jsonl: 1 line does not read\n"
    );
}

#[tokio::test]
async fn json_has_it_all() {
    let folder = folder("spend.jsonl", &nights());
    let (code, said, _) = run(&folder, &["--import", "spend.jsonl", "--json", "--suggest"]).await;
    assert_eq!(code, Some(0));
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&answer["import"]["format"], &answer["import"]["calls"]), (&"lite_llm".into(), &28.into()));
    let one = &answer["data"][0];
    assert_eq!((&one["type"], &one["workload"]), (&"workload".into(), &"night/claude-haiku-4-5".into()));
    assert_eq!(
        (&one["assessment"]["verdict"], &one["assessment"]["signals"][0]["kind"]),
        (&"candidate".into(), &"schedule".into())
    );
    assert_eq!(one["assessment"]["signals"][0]["every_seconds"], 86_400);
    assert!(answer["rules"].as_str().unwrap().contains("[[rule]]"));
}

#[tokio::test]
async fn suggested_rules_are_printed_alone() {
    let folder = folder("spend.jsonl", &nights());
    let (code, said, _) = run(&folder, &["--import", "spend.jsonl", "--suggest"]).await;
    assert_eq!(code, Some(0));
    assert!(
        said.starts_with("# Suggested") && said.contains("when = 'workload == \"night-claude-haiku-4-5\"'"),
        "{said}"
    );
    assert!(said.contains("# x-defer-workload: night-claude-haiku-4-5\n"), "{said}");
    toml::from_str::<toml::Table>(&said).unwrap();
}

#[tokio::test]
async fn own_prices_count() {
    let folder = folder("spend.jsonl", &nights());
    let prices = "[[discount]]\nmodel = [\"claude-*\"]\npercent_off = 50\n";
    std::fs::write(folder.path().join("prices.toml"), prices).unwrap();
    let live = async |arguments: &[&str]| {
        let (_, said, told) = run(&folder, &[&["--import", "spend.jsonl", "--json"], arguments].concat()).await;
        let answer: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{told}"));
        answer["data"][0]["assessment"]["savings"]["monthly_live"].as_f64().unwrap()
    };
    let (full, half) = (live(&[]).await, live(&["--prices", "prices.toml"]).await);
    assert!(full > 0.0 && (full / half - 2.0).abs() < 1e-6, "{full} {half}");
}

#[tokio::test]
async fn what_cannot_be_imported_fails_and_says_what_could() {
    let folder = folder("other.csv", "date,amount\n1,2\n");
    let (code, said, told) = run(&folder, &["--import", "other.csv"]).await;
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(told.contains("importing other.csv") && told.contains("LiteLLM_SpendLogs"), "{told}");
    let (code, _, told) = run(&folder, &["--import", "missing.csv"]).await;
    assert!(code == Some(1) && told.contains("missing.csv"), "{told}");
    for wrong in [&["--import", "other.csv", "--since", "7d"][..], &["--prices", "x"], &["--since", "0"]] {
        assert_eq!(run(&folder, wrong).await.0, Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn suggested_rules_are_accepted_as_they_are() {
    let mut lines = nights();
    // A workload that is known by its looks, with a prompt that has all that could go wrong in a rule.
    for day in 1..29 {
        let call = CallRecord {
            at: Timestamp::parse_rfc3339(&format!("2026-11-{day:02}T03:00:00Z")).unwrap(),
            tenant: "team".into(),
            workload: "wkl_0123456789abcdef".into(),
            model: "claude-haiku-4-5".into(),
            tokens: Tokens { input: 900, output: 100, ..Tokens::default() },
            status: 200,
            request_bytes: 4_000,
            prefix_bytes: 2_000,
            system_hash: 7,
            messages: 1,
            client: "Anthropic/Python 2.12.0".into(),
            ..CallRecord::default()
        };
        lines =
            format!("{}\n{lines}", line(&call, Some("You \"sort\" mail\r\nfor the 'night' \\o/ desk\u{7f}…")).unwrap());
    }
    let (ours, theirs) = lines.split_at(lines.find("{\"request_id\"").unwrap());
    for (file, calls) in [("ours.jsonl", ours), ("theirs.jsonl", theirs)] {
        let folder = folder(file, calls);
        let (_, rules, told) = run(&folder, &["--import", file, "--suggest"]).await;
        assert!(rules.contains("[[rule]]"), "{told}");
        std::fs::write(folder.path().join("rules.toml"), &rules).unwrap();
        let output = output(offpeak(&["check", "--config", "rules.toml"]).current_dir(folder.path())).await;
        assert_eq!(output.status.code(), Some(0), "{}\n{rules}", text(&output.stderr));
    }
}
