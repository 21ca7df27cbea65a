//! Lanes: which calls share a batch, when it is sent, and with which headers.

use std::time::Duration;

use http::Method;
use offpeak::simulator::{BatchRecord, Endpoint};
use serde_json::json;

use super::app::{Call, Engine, KEY, OTHER_KEY, Setup, TestApp, body, on_both_engines};

on_both_engines! {
    calls_of_one_lane_share_a_batch,
    calls_that_differ_in_a_header_part,
    a_batch_is_sent_when_its_oldest_call_has_lingered,
    a_batch_is_sent_when_it_is_full_of_calls,
    a_batch_is_sent_when_it_is_full_of_bytes,
    a_flush_sends_what_is_queued_now,
    both_versions_of_the_api_work,
}

/// The headers that tell lanes apart.
const FIXED: [&str; 6] = [
    "x-api-key",
    "authorization",
    "anthropic-version",
    "anthropic-beta",
    "anthropic-workspace-id",
    "anthropic-user-profile-id",
];

/// What comes in one millisecond has no order.
const TICK: Duration = Duration::from_millis(1);

/// How many calls each batch carries.
fn sizes(batches: &[BatchRecord]) -> Vec<usize> {
    batches.iter().map(|batch| batch.items.len()).collect()
}

async fn calls_of_one_lane_share_a_batch(engine: Engine) {
    let app = TestApp::start(engine).await;
    let with_model = |model: &str| app.tagged(body("Hi").replacen("claude-haiku-4-5", model, 1));
    app.defer("Hi").await;
    with_model("claude-opus-5-5").send().await.id();
    with_model("claude-sonnet-4-6").header("x-defer-workload", "w").header("x-defer-group", "g").send().await.id();
    with_model("claude-sonnet-5").header("x-defer", "3d").header("user-agent", "other").send().await.id();
    // An empty list of betas is none.
    app.tagged(body("Ho")).header("anthropic-beta", " , ").send().await.id();
    app.finish().await;
    assert_eq!(sizes(&app.books().batches), [5]);
    assert_eq!(app.storage().count("select count(*) from deferral where state = 'succeeded'").await, 5);
}

async fn calls_that_differ_in_a_header_part(engine: Engine) {
    let app = TestApp::start(engine).await;
    let usual = || app.tagged(body("Hi"));
    let beta = "anthropic-beta";
    let lanes: [Call; 9] = [
        usual(),
        usual().bearer(KEY),
        usual().key(OTHER_KEY),
        usual().header("anthropic-version", "2026-10-21"),
        usual().header(beta, "a-1"),
        usual().header(beta, "a-1,b-2"),
        usual().header("anthropic-workspace-id", "wrkspc_1"),
        usual().header("anthropic-workspace-id", "wrkspc_2"),
        usual().header("anthropic-user-profile-id", "up_1"),
    ];
    for lane in &lanes {
        lane.clone().send().await.id();
    }
    // The same set of betas, in another order and with one twice.
    usual().header(beta, "b-2").also(beta, " a-1, b-2").send().await.id();
    app.finish().await;

    let books = app.books();
    let mut sent: Vec<String> = books
        .to(Endpoint::BatchCreate)
        .map(|create| {
            let fixed = FIXED.iter().filter_map(|name| Some(format!("{name}: {}", create.header(name)?)));
            let items = create.body.windows(b"custom_id".len()).filter(|window| *window == b"custom_id").count();
            format!("{items} {}", fixed.collect::<Vec<_>>().join(" | "))
        })
        .collect();
    sent.sort();
    insta::assert_snapshot!(sent.join("\n"), @r"
    1 authorization: Bearer sk-ant-red-1 | anthropic-version: 2023-06-01
    1 x-api-key: sk-ant-blue-1 | anthropic-version: 2023-06-01
    1 x-api-key: sk-ant-red-1 | anthropic-version: 2023-06-01
    1 x-api-key: sk-ant-red-1 | anthropic-version: 2023-06-01 | anthropic-beta: a-1
    1 x-api-key: sk-ant-red-1 | anthropic-version: 2023-06-01 | anthropic-user-profile-id: up_1
    1 x-api-key: sk-ant-red-1 | anthropic-version: 2023-06-01 | anthropic-workspace-id: wrkspc_1
    1 x-api-key: sk-ant-red-1 | anthropic-version: 2023-06-01 | anthropic-workspace-id: wrkspc_2
    1 x-api-key: sk-ant-red-1 | anthropic-version: 2026-10-21
    2 x-api-key: sk-ant-red-1 | anthropic-version: 2023-06-01 | anthropic-beta: a-1,b-2
    ");
}

async fn a_batch_is_sent_when_its_oldest_call_has_lingered(engine: Engine) {
    let app = Setup::on(engine).set("batch.linger", "60s").start().await;
    app.defer("1").await;
    app.clock.advance(Duration::from_secs(30));
    app.defer("2").await;
    app.clock.advance(Duration::from_millis(29_999));
    app.settle().await;
    assert_eq!(sizes(&app.books().batches), [0; 0]);
    app.clock.advance(Duration::from_millis(1));
    app.settle().await;
    assert_eq!(sizes(&app.books().batches), [2]);
    app.finish().await;
}

async fn a_batch_is_sent_when_it_is_full_of_calls(engine: Engine) {
    let app = Setup::on(engine).set("batch.linger", "1h").set("batch.max_requests", "2").start().await;
    for prompt in ["1", "2", "3", "4", "5"] {
        app.defer(prompt).await;
    }
    app.settle().await;
    assert_eq!(sizes(&app.books().batches), [2, 2]);
    app.finish().await;
    assert_eq!(sizes(&app.books().batches), [2, 2, 1]);
}

async fn a_batch_is_sent_when_it_is_full_of_bytes(engine: Engine) {
    let app = Setup::on(engine).set("batch.linger", "1h").set("batch.max_bytes", "1KB").start().await;
    // Four of these are more than a batch may hold, and one of those alone is.
    for prompt in ["1", "2", "3", "4"].map(|digit| digit.repeat(150)) {
        app.defer(&prompt).await;
        app.clock.advance(TICK);
    }
    let large = app.defer(&"5".repeat(2_000)).await;
    app.settle().await;
    let books = app.books();
    let created: Vec<_> = books.to(Endpoint::BatchCreate).map(|create| create.body.len()).collect();
    assert_eq!(sizes(&books.batches), [3, 1, 1]);
    assert!(created[0] <= 1_000 && created[1] <= 1_000 && created[2] > 2_000, "{created:?}");
    assert_eq!(*books.batches[2].items[0].custom_id, *large);
    app.finish().await;
}

async fn a_flush_sends_what_is_queued_now(engine: Engine) {
    let app = Setup::on(engine).set("batch.linger", "1h").start().await;
    app.defer("1").await;
    app.tagged(body("2")).key(OTHER_KEY).send().await.id();
    let flushed = app.operator(Method::POST, "/api/flush").send().await.expect(202);
    assert_eq!(flushed.json(), json!({"type": "flush", "queued": 2}));
    app.settle().await;
    assert_eq!(sizes(&app.books().batches), [1, 1]);
    // What comes later lingers again.
    app.clock.advance(TICK);
    app.defer("3").await;
    app.settle().await;
    assert_eq!(sizes(&app.books().batches), [1, 1]);
    app.finish().await;
}

async fn both_versions_of_the_api_work(engine: Engine) {
    let app = TestApp::start(engine).await;
    for version in ["2023-06-01", "2026-10-21"] {
        let call = |body: String| app.tagged(body).header("anthropic-version", version);
        let id = call(body("Hi")).send().await.id();
        // The newer version takes no sampling parameters: it is the provider who says so.
        let sampled = call(body("Hi").replacen('{', r#"{"temperature":0.5,"#, 1)).send().await.id();
        app.finish().await;
        assert_eq!(app.message(&id).await.status, 200);
        let expected = if version == "2023-06-01" { 200 } else { 400 };
        assert_eq!(app.message(&sampled).await.status, expected, "{version}");
        assert_eq!(app.books().to(Endpoint::BatchCreate).last().unwrap().header("anthropic-version"), Some(version));
    }
}
