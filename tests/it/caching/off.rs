//! The switch: caching goes off by itself for a workload in which it loses, which is said, and comes on again.

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
    assert_eq!(off(&app).await, json!([]), "too soon to tell");

    // The next first call is the last one: those behind it go as they are, and so does the next night.
    app.clock.advance(20 * HOUR);
    let since = app.clock.now();
    night(&app, "losing", "A").await;
    assert_eq!(batches(&app)[4..], [(1, true), (CALLS - 1, false)]);
    let told = off(&app).await;
    assert_eq!(told.as_array().unwrap().len(), 1, "{told}");
    let told = &told[0];
    assert_eq!((&told["workload"], &told["calls"]), (&json!("losing"), &json!(CALLS + 1)));
    assert!(told["gained"].as_f64() < Some(0.0), "{told}");
    assert_eq!(told["reason"], format!("over {} calls, caching cost more than it spared", CALLS + 1));
    let warnings = app.warnings();
    assert_eq!(warnings.iter().filter(|line| line.contains("caching is switched off")).count(), 1, "{warnings:?}");
    assert!(warnings.iter().any(|line| line.contains("losing")), "{warnings:?}");
    app.clock.advance(20 * HOUR);
    night(&app, "losing", "A").await;
    assert_eq!(batches(&app)[6..], [(CALLS, false)]);
    // Of others nothing is taken.
    night(&app, "gaining", "B").await;
    assert_eq!(batches(&app)[7..], [(1, true), (CALLS - 1, true)]);

    // After a week it is tried again, and what was lost before is forgotten.
    app.clock.advance(since.plus(7 * DAY).plus(HOUR).since(app.clock.now()));
    assert_eq!(off(&app).await, json!([]));
    night(&app, "losing", "A").await;
    assert_eq!(batches(&app)[9..], [(1, true), (CALLS - 1, true)]);
    app.clock.advance(20 * HOUR);
    night(&app, "losing", "A").await;
    assert_eq!(batches(&app)[11..], [(1, true), (CALLS - 1, true)]);
    assert_eq!(off(&app).await, json!([]));
}
