//! The switch: caching goes off by itself for a workload in which it loses, which is said, and comes on again.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use offpeak::simulator::{Effect, Endpoint, Fault};
use serde_json::{Value, json};

use super::{HOUR, MINUTE, batches, of_workload, with_batches_of};
use crate::it::app::{Engine, TestApp, on_both_engines};

on_both_engines! {
    caching_that_loses_goes_off_and_comes_on_again,
}

const DAY: Duration = Duration::from_secs(24 * 3_600);
const CALLS: usize = 21;

async fn night(app: &TestApp, workload: &str, letter: &str) {
    of_workload(app, workload, letter, CALLS).await;
}

async fn off(app: &TestApp) -> Value {
    let shown = app.operator(Method::GET, "/api/batches").send().await.expect(200).json();
    shown["caching_off"].clone()
}

async fn gauge(app: &TestApp) -> String {
    let text = app.operator(Method::GET, "/metrics").send().await.expect(200).text().to_owned();
    text.lines().find(|line| line.starts_with("offpeak_caching_off_workloads ")).unwrap().to_owned()
}

/// What each workload shows of it.
async fn shown(app: &TestApp) -> BTreeMap<String, Value> {
    let listed = app.operator(Method::GET, "/api/workloads?since=30d").send().await.expect(200).json();
    let ones = listed["data"].as_array().unwrap().iter();
    ones.map(|one| (one["workload"].as_str().unwrap().to_owned(), one["caching_off"].clone())).collect()
}

async fn report(app: &TestApp, form: &str) -> String {
    let path = format!("/api/savings?since=30d&format={form}");
    app.operator(Method::GET, &path).send().await.expect(200).text().to_owned()
}

/// Everywhere where an operator looks.
async fn is_told(app: &TestApp, told: &Value) {
    assert_eq!(gauge(app).await, "offpeak_caching_off_workloads 1");
    let shown = shown(app).await;
    assert_eq!((&shown["losing"], &shown["gaining"]), (told, &Value::Null), "{shown:?}");
    let json: Value = serde_json::from_str(&report(app, "json").await).unwrap();
    assert_eq!(json["caching_off"].as_array().unwrap().len(), 1);
    for field in ["tenant", "workload", "since", "until", "calls", "lost"] {
        assert_eq!(json["caching_off"][0][field], told[field], "{field}");
    }
    for form in ["table", "md", "html"] {
        let text = report(app, form).await;
        let section = text.split("Caching is off").nth(1).unwrap_or_else(|| panic!("{form}: {text}"));
        let day = |name: &str| told[name].as_str().unwrap().split('T').next().unwrap();
        for told in ["losing", day("since"), day("until")] {
            assert!(section.contains(told), "{form}: {section}");
        }
    }
    // That has the lines of the ledger alone.
    assert!(!report(app, "csv").await.contains("Caching is off"));
}

async fn nothing_is_told(app: &TestApp) {
    assert_eq!(off(app).await, json!([]));
    assert_eq!(gauge(app).await, "offpeak_caching_off_workloads 0");
    assert!(shown(app).await.values().all(Value::is_null));
    assert!(report(app, "json").await.contains("\"caching_off\":[]"));
    assert!(!report(app, "md").await.contains("Caching is off"));
}

async fn caching_that_loses_goes_off_and_comes_on_again(engine: Engine) {
    let app = with_batches_of(engine, 6 * MINUTE, "12h").await;
    // The first call is soon done, and those behind it take so long that what it wrote has lapsed: all of them write.
    let slow = Effect::BatchTime { time: 2 * HOUR };
    app.inject(Fault::at(Endpoint::BatchCreate, slow).with_bytes(100_000).with_text("A is for all").times(1));
    night(&app, "losing", "A").await;
    night(&app, "gaining", "B").await;
    assert_eq!(batches(&app), [(1, true), (CALLS - 1, true), (1, true), (CALLS - 1, true)]);
    let written = app.storage().count("select count(*) from entry where cache_write_1h_tokens > 0").await;
    assert_eq!(written, CALLS as i64 + 1);
    // It is too soon to tell.
    nothing_is_told(&app).await;

    // The next first call is the last one: those behind it go as they are, and so does the next night.
    app.clock.advance(20 * HOUR);
    let since = app.clock.now();
    night(&app, "losing", "A").await;
    assert_eq!(batches(&app)[4..], [(1, true), (CALLS - 1, false)]);
    let told = off(&app).await;
    assert_eq!(told.as_array().unwrap().len(), 1, "{told}");
    let told = &told[0];
    assert_eq!((&told["workload"], &told["calls"]), (&json!("losing"), &json!(CALLS + 1)));
    assert!(told["lost"].as_f64() > Some(0.0), "{told}");
    assert_eq!(told["reason"], format!("over {} calls, caching cost more than it spared", CALLS + 1));
    is_told(&app, told).await;
    let lines = |all: Vec<String>, what: &str| all.into_iter().filter(|line| line.contains(what)).collect::<Vec<_>>();
    let (workload, lost) = ("workload=\"losing\"", format!("lost_usd={} ", told["lost"]));
    let warned = lines(app.warnings(), "caching is switched off");
    assert!(warned.len() == 1 && warned[0].contains(workload) && warned[0].contains(&lost), "{warned:?}");
    app.clock.advance(20 * HOUR);
    night(&app, "losing", "A").await;
    assert_eq!(batches(&app)[6..], [(CALLS, false)]);
    // Of others nothing is taken.
    night(&app, "gaining", "B").await;
    assert_eq!(batches(&app)[7..], [(1, true), (CALLS - 1, true)]);

    // After a week it is tried again, and what was lost before is forgotten.
    app.clock.advance(since.plus(7 * DAY).plus(HOUR).since(app.clock.now()));
    nothing_is_told(&app).await;
    assert_eq!(lines(app.news(), "caching is on again"), Vec::<String>::new());
    app.settle().await;
    app.settle().await;
    let news = lines(app.news(), "caching is on again");
    assert!(news.len() == 1 && news[0].contains(workload) && news[0].contains(&lost), "{news:?}");
    night(&app, "losing", "A").await;
    assert_eq!(batches(&app)[9..], [(1, true), (CALLS - 1, true)]);
    app.clock.advance(20 * HOUR);
    night(&app, "losing", "A").await;
    assert_eq!(batches(&app)[11..], [(1, true), (CALLS - 1, true)]);
    assert_eq!(off(&app).await, json!([]));
}
