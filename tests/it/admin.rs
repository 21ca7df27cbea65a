//! The operator's listener: who may ask, and what is told.

use http::Method;
use serde_json::{Value, json};

use super::app::{Call, Engine, OTHER_KEY, Setup, TestApp, body, on_both_engines};

on_both_engines! {
    the_operator_sees_every_tenants_deferrals,
    the_operator_sees_batches,
    the_status_tells_what_waits,
}

const PATHS: [&str; 6] =
    ["/api/status", "/api/batches", "/api/deferrals", "/api/deferrals/dfr_1", "/api/nothing", "/api/"];

#[tokio::test]
async fn without_the_token_every_path_is_a_401() {
    let app = Setup::on(Engine::Sqlite).set("admin.token", "let-me-in").start().await;
    let ask = |path| app.operator(Method::GET, path);
    for path in PATHS {
        let wrong: [Call; 4] =
            [ask(path), ask(path).bearer("let-me-out"), ask(path).bearer(""), ask(path).key("let-me-in")];
        for call in wrong {
            call.send().await.refused(401, "authentication_error", "unauthorized");
        }
    }
    app.operator(Method::POST, "/api/flush").send().await.refused(401, "authentication_error", "unauthorized");
    for path in ["/healthz", "/readyz"] {
        ask(path).send().await.expect(200);
    }
    for path in ["/api/status", "/api/batches", "/api/deferrals"] {
        // With the token it matters no more where the request comes from.
        ask(path).bearer("let-me-in").header("host", "offpeak.internal").send().await.expect(200);
    }
    ask("/api/nothing").bearer("let-me-in").send().await.refused(404, "not_found_error", "not-found");
}

#[tokio::test]
async fn without_a_token_no_other_site_may_ask() {
    let app = TestApp::start(Engine::Sqlite).await;
    let ask = || app.operator(Method::GET, "/api/status");
    let here = app.admin().to_string();
    for call in [
        ask(),
        ask().header("host", "localhost:8101"),
        ask().header("host", "[::1]:8101"),
        ask().header("origin", format!("http://{here}")),
    ] {
        call.send().await.expect(200);
    }
    for call in [
        ask().header("host", "evil.example"),
        ask().header("host", "127.0.0.1.evil.example"),
        ask().header("origin", "http://evil.example"),
        ask().header("origin", "http://localhost:1"),
        ask().header("origin", "null"),
        app.operator(Method::POST, "/api/flush").header("origin", "http://evil.example"),
        app.operator(Method::GET, "/api/nothing").header("host", "evil.example"),
    ] {
        call.send().await.refused(403, "permission_error", "forbidden");
    }
}

async fn the_operator_sees_every_tenants_deferrals(engine: Engine) {
    let app = TestApp::start(engine).await;
    let first = app.defer("Hi").await;
    app.clock.advance(std::time::Duration::from_millis(1));
    let second = app.tagged(body("Ho")).key(OTHER_KEY).header("x-defer-workload", "w").send().await.id();
    let get = async |path: &str| app.operator(Method::GET, path).send().await.expect(200).json();
    let ids = |page: &Value| page["data"].as_array().unwrap().iter().map(|each| each["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&get("/api/deferrals").await), [json!(second), json!(first)]);
    assert_eq!(ids(&get("/api/deferrals?workload=w").await), [json!(second)]);
    assert_eq!(get(&format!("/api/deferrals/{first}")).await, app.deferral(&first).await);
    let cancel = app.operator(Method::POST, &format!("/api/deferrals/{second}/cancel")).send().await.expect(200);
    assert_eq!(cancel.json()["status"], "canceled");
    let wrong = app.operator(Method::GET, "/api/deferrals?limit=0").send().await;
    wrong.refused(400, "invalid_request_error", "invalid-query");
    app.finish().await;
}

async fn the_operator_sees_batches(engine: Engine) {
    let app = TestApp::start(engine).await;
    let batches = async || app.operator(Method::GET, "/api/batches").send().await.expect(200).json();
    assert_eq!(batches().await, json!({"data": [], "caching_off": []}));
    app.defer("Hi").await;
    app.defer("Ho").await;
    app.finish().await;
    let shown = batches().await;
    let batch = &shown["data"][0];
    let bytes = body("Hi").len() + body("Ho").len();
    assert_eq!((&batch["type"], &batch["status"]), (&json!("batch"), &json!("ingested")));
    assert_eq!((&batch["items"], &batch["bytes"]), (&json!(2), &json!(bytes)));
    assert_eq!(batch["provider_id"], json!(app.books().batches[0].id));
    for time in ["built_at", "submitted_at", "ended_at", "ingested_at"] {
        assert!(batch[time].as_str().unwrap().starts_with("2026-11-22T12:20:0"), "{time}: {batch}");
    }
}

async fn the_status_tells_what_waits(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.defer("Hi").await;
    app.defer("Ho").await;
    app.tagged(body("Hi")).key(OTHER_KEY).send().await.id();
    let status = app.operator(Method::GET, "/api/status").send().await.expect(200).json();
    assert_eq!((&status["version"], &status["queued"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(3)));
    let mut by_tenant: Vec<_> = status["queued_by_tenant"].as_object().unwrap().values().cloned().collect();
    by_tenant.sort_by_key(Value::as_u64);
    assert_eq!(by_tenant, [json!(1), json!(2)]);
    // A tenant is told from others, never by its key.
    assert!(!status.to_string().contains("sk-ant"));
    let unknown = app.operator(Method::GET, "/api/status?verbose=1").send().await;
    unknown.refused(400, "invalid_request_error", "invalid-query");
    app.finish().await;
}
