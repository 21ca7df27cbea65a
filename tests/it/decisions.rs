//! Decisions: which way a call goes, what it is told, and that the live way changes nothing.

use std::net::Ipv4Addr;

use http::Method;
use offpeak::simulator::{Effect, Endpoint, Fault};
use tokio::net::TcpListener;

use super::app::{Call, Engine, KEY, Setup, TestApp, body};

#[tokio::test]
async fn every_live_answer_says_why() {
    let app = TestApp::start(Engine::Sqlite).await;
    for (asked, decision) in [
        (None, "live; reason=no-rule"),
        (Some("live"), "live; reason=header"),
        (Some("false"), "live; reason=header"),
        (Some("0"), "live; reason=deadline-too-close"),
        (Some("4m59s"), "live; reason=deadline-too-close"),
        (Some("2020-01-01T00:00:00Z"), "live; reason=deadline-too-close"),
    ] {
        let call = asked.into_iter().fold(app.call(body("Hi")), |call, asked| call.header("x-defer", asked));
        let answer = call.send().await.expect(200);
        assert_eq!(answer.header("x-defer-decision"), Some(decision), "{asked:?}");
        assert_eq!(answer.json()["type"], "message");
    }
    assert_eq!(app.books().live_calls().count(), 6);
}

#[tokio::test]
async fn an_error_of_the_provider_passes_with_the_decision() {
    let app = TestApp::start(Engine::Sqlite).await;
    app.inject(Fault::at(Endpoint::Messages, Effect::rate_limit(Some(7))).times(1));
    let answer = app.call(body("Hi")).send().await.expect(429);
    assert_eq!(answer.header("x-defer-decision"), Some("live; reason=no-rule"));
    assert_eq!((answer.header("retry-after"), answer.header("x-defer-error")), (Some("7"), None));
    assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
}

#[tokio::test]
async fn our_headers_stop_at_the_gateway_and_others_do_not() {
    let app = TestApp::start(Engine::Sqlite).await;
    let call = app.post("/v1/messages?beta=true").body(body("Hi"));
    let tagged = call
        .header("x-defer", "live")
        .header("x-defer-workload", "chat")
        .header("x-defer-ref", "r")
        .header("x-defer-anything", "else")
        .header("idempotency-key", "a key of any form")
        .header("x-mine", "1");
    tagged.send().await.expect(200);
    let books = app.books();
    let seen = books.live_calls().next().unwrap();
    let mut names: Vec<_> = seen.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["accept", "anthropic-version", "content-length", "host", "idempotency-key", "x-api-key", "x-mine"]
    );
    assert_eq!((seen.header("x-api-key"), seen.query.as_deref()), (Some(KEY), Some("beta=true")));
    assert_eq!(seen.body, body("Hi"));
}

#[tokio::test]
async fn every_other_path_is_the_providers() {
    let app = TestApp::start(Engine::Sqlite).await;
    for (method, path, status) in [
        (Method::POST, "/v1/messages/count_tokens", 200),
        (Method::GET, "/v1/models?limit=2", 200),
        (Method::GET, "/v1/messages/batches", 200),
        (Method::GET, "/deferredness", 404),
        (Method::GET, "/v1/messages", 404),
        (Method::DELETE, "/v1/nothing/at%20all", 404),
        (Method::GET, "/api/status", 404),
        (Method::GET, "/metrics", 404),
    ] {
        let answer = app.request(method, path).body(body("Hi")).send().await;
        assert_eq!((answer.status, answer.header("x-defer-error")), (status, None), "{path}: {}", answer.text());
        assert!(answer.header("anthropic-organization-id").is_some(), "{path}");
        let seen = app.books().requests.last().cloned().unwrap();
        assert_eq!(seen.path, path.split('?').next().unwrap());
    }
}

#[tokio::test]
async fn paths_of_our_own_lead_nowhere_else() {
    let app = TestApp::start(Engine::Sqlite).await;
    app.get("/deferred/x/y/z").send().await.refused(404, "not_found_error", "not-found");
    app.get("/deferred/").send().await.refused(404, "not_found_error", "not-found");
    app.request(Method::DELETE, "/deferred").send().await.refused(405, "invalid_request_error", "method-not-allowed");
    for call in [
        app.get("/healthz"),
        app.get("/readyz"),
        app.operator(Method::GET, "/healthz"),
        app.operator(Method::GET, "/readyz"),
    ] {
        call.send().await.expect(200);
    }
    assert!(app.books().requests.is_empty());
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_502() {
    // A port that was free a moment ago, and that nobody listens on.
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let app = Setup::on(Engine::Sqlite).set("upstream.url", format!("http://{free}")).start().await;
    let answer = app.call(body("Hi")).send().await;
    assert_eq!(answer.header("x-defer-decision"), Some("live; reason=no-rule"));
    answer.refused(502, "api_error", "upstream-unreachable");
}

#[tokio::test]
async fn an_upstream_that_says_nothing_is_a_504() {
    let app = Setup::on(Engine::Sqlite).set("upstream.timeout", "1s").start().await;
    app.inject(Fault::at(Endpoint::Messages, Effect::Hang { worked: false }));
    let answer = app.call(body("Hi")).send().await;
    assert_eq!(answer.header("x-defer-decision"), Some("live; reason=no-rule"));
    answer.refused(504, "timeout_error", "upstream-timeout");
}

#[tokio::test]
async fn a_call_without_a_credential_is_the_providers_to_refuse() {
    let app = TestApp::start(Engine::Sqlite).await;
    let nobody: Call = app.call(body("Hi")).without("x-api-key");
    let answer = nobody.send().await.expect(401);
    assert_eq!(
        (answer.header("x-defer-error"), &answer.json()["error"]["type"]),
        (None, &"authentication_error".into())
    );
}
