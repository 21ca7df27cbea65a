//! Issued keys: what their holders are upstream, live and in batches, and who they are to us.

use http::Method;
use offpeak::simulator::Endpoint;
use serde_json::json;

use super::app::{Engine, Setup, TestApp, body, on_both_engines};

on_both_engines! {
    an_issued_key_defers_with_the_key_behind_it,
    holders_of_issued_keys_are_tenants_of_their_own,
}

const KEYS: &str = r#"
[[key]]
name = "reports"
secret = "gw-reports-1"
upstream = "sk-ant-green-1"

[[key]]
name = "laptop"
secret = "sk-ant-oat01-laptop"
upstream = "sk-ant-green-1"
"#;

async fn with_keys(engine: Engine) -> TestApp {
    Setup::on(engine).file(KEYS).start().await
}

#[tokio::test]
async fn an_issued_key_calls_live_as_the_key_behind_it() {
    let app = with_keys(Engine::Sqlite).await;
    app.call(body("Hi")).key("gw-reports-1").send().await.expect(200);
    app.call(body("Hi")).bearer("gw-reports-1").send().await.expect(200);
    app.call(body("Hi")).key("sk-ant-own-1").send().await.expect(200);
    app.get("/v1/models").key("gw-reports-1").send().await.expect(200);
    let books = app.books();
    let seen: Vec<_> =
        books.requests.iter().map(|seen| (seen.header("x-api-key"), seen.header("authorization"))).collect();
    let mapped = (Some("sk-ant-green-1"), None);
    assert_eq!(seen, [mapped, (None, Some("Bearer sk-ant-green-1")), (Some("sk-ant-own-1"), None), mapped]);
}

async fn an_issued_key_defers_with_the_key_behind_it(engine: Engine) {
    let app = with_keys(engine).await;
    let by_key = app.tagged(body("Hi")).key("gw-reports-1").send().await.id();
    let by_bearer = app.tagged(body("Ho")).bearer("gw-reports-1").send().await.id();
    // What may not make batches itself may stand for what may.
    let laptop = app.tagged(body("Ha")).key("sk-ant-oat01-laptop").send().await.id();
    app.finish().await;
    let books = app.books();
    let mut sent: Vec<_> =
        books.to(Endpoint::BatchCreate).map(|seen| seen.header("x-api-key").or(seen.header("authorization"))).collect();
    sent.sort_unstable();
    assert_eq!(sent, [Some("Bearer sk-ant-green-1"), Some("sk-ant-green-1"), Some("sk-ant-green-1")]);
    assert!(books.requests.iter().all(|seen| !format!("{:?}", seen.headers).contains("gw-reports")));
    for (id, key) in [(by_key, "gw-reports-1"), (by_bearer, "gw-reports-1"), (laptop, "sk-ant-oat01-laptop")] {
        app.get(&format!("/deferred/{id}/message")).key(key).send().await.expect(200);
    }
    let batches = app.operator(Method::GET, "/api/batches").send().await.expect(200).json();
    let mut tenants: Vec<_> = batches["data"].as_array().unwrap().iter().map(|batch| batch["tenant"].clone()).collect();
    tenants.sort_by_key(|tenant| tenant.to_string());
    assert_eq!(tenants, [json!("laptop"), json!("reports"), json!("reports")]);
}

async fn holders_of_issued_keys_are_tenants_of_their_own(engine: Engine) {
    let app = with_keys(engine).await;
    let id = app.tagged(body("Hi")).key("gw-reports-1").send().await.id();
    // Not even the key behind it sees what it deferred.
    for key in ["sk-ant-green-1", "sk-ant-oat01-laptop", "gw-reports-2"] {
        app.get(&format!("/deferred/{id}")).key(key).send().await.refused(404, "not_found_error", "not-found");
    }
    app.get(&format!("/deferred/{id}")).bearer("gw-reports-1").send().await.expect(200);
    app.finish().await;
}
