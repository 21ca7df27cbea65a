//! Refusing: what is not queued, why, and that then nothing is sent either.

use std::time::Duration;

use async_compression::tokio::bufread::GzipEncoder;
use futures_util::future::join_all;
use tokio::io::AsyncReadExt as _;

use super::app::{Engine, KEY, OTHER_KEY, Setup, TestApp, body, on_both_engines};

on_both_engines! {
    a_queue_that_is_full_takes_no_more,
    a_tenant_holds_half_the_queue_while_another_waits,
    a_store_that_is_gone_is_said_to_be,
}

/// Nothing was queued, and the provider has heard nothing.
async fn assert_untouched(app: &TestApp) {
    assert_eq!(app.storage().count("select count(*) from deferral").await, 0);
    let heard: Vec<_> = app.books().requests.iter().map(|request| request.path.clone()).collect();
    assert!(heard.is_empty(), "{heard:?}");
}

#[tokio::test]
async fn a_header_that_does_not_parse_is_named() {
    let app = TestApp::start(Engine::Sqlite).await;
    let (long_name, long_reference, long_key) = ("a".repeat(65), "a".repeat(257), "a".repeat(256));
    let cases: [(&str, &[&str]); 8] = [
        (
            "x-defer",
            &["", "yes", "Batch", "batch,batch", "-1h", "1.5h", "6", "4000d", "2026-11-22", "2026-11-22T12:00", "ü"],
        ),
        ("x-defer-wait", &["", "soon", "5", "-1s"]),
        ("x-defer-callback", &["", "nobody", "example.com/hook", "https:example.com", "https://", "https://a b/"]),
        ("x-defer-workload", &["", "a b", "a/b", &long_name, "ä"]),
        ("x-defer-ref", &["", "a\tb", &long_reference, "ä"]),
        ("x-defer-group", &["", "a b", "a,b", &long_name]),
        ("idempotency-key", &["", "a\tb", &long_key, "ä"]),
        ("x-defer-colour", &["red"]),
    ];
    for (name, values) in cases {
        for value in values {
            let refused = app.tagged(body("Hi")).header(name, value).send().await;
            assert_eq!(refused.header("x-defer-decision"), Some("refused; reason=invalid-header"), "{name}: {value}");
            let message = refused.refused(400, "invalid_request_error", "invalid-header");
            assert!(message.contains(&format!("the header {name} does not parse; allowed: ")), "{message}");
        }
        let twice = app.tagged(body("Hi")).header(name, "batch").also(name, "batch").send().await;
        assert!(twice.refused(400, "invalid_request_error", "invalid-header").contains(name));
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn a_callback_that_may_not_be_reached_is_refused() {
    let app = TestApp::start(Engine::Sqlite).await;
    for callback in [
        "http://8.8.8.8/",
        "ftp://8.8.8.8/",
        "file:///etc/passwd",
        "https://me:secret-1@8.8.8.8/",
        "https://127.0.0.1/",
        "https://127.1:8443/secret-1",
        "https://0x7f000001/",
        "https://017700000001/",
        "https://2130706433/",
        "https://localhost/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[fd00::1]/",
    ] {
        let refused = app.tagged(body("Hi")).header("x-defer-callback", callback).send().await;
        assert_eq!(refused.header("x-defer-decision"), Some("refused; reason=callback-forbidden"), "{callback}");
        let message = refused.refused(400, "invalid_request_error", "callback-forbidden");
        assert!(!message.contains("secret-1"), "{message}");
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn a_wrong_tag_on_a_live_call_is_refused_too() {
    let app = TestApp::start(Engine::Sqlite).await;
    for (name, value) in
        [("x-defer-workload", "a b"), ("x-defer-ref", "ä"), ("x-defer-group", ""), ("x-defer-wait", "x")]
    {
        let refused = app.call(body("Hi")).header(name, value).send().await;
        refused.refused(400, "invalid_request_error", "invalid-header");
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn what_a_batch_cannot_take_is_refused_with_the_reason() {
    let app = TestApp::start(Engine::Sqlite).await;
    for (member, blocked_by) in [
        (r#""speed":"fast""#, "speed"),
        (r#""speed":"standard""#, "speed"),
        (r#""thread":{"type":"create"}"#, "thread"),
        (r#""store":true"#, "thread"),
        (r#""fallbacks":[{"model":"claude-opus-5"}]"#, "fallbacks"),
        (r#""billing_policy":{"bill_to":"user_profile"}"#, "billing_policy"),
        (r#""user_profile_id":"up_1""#, "user_profile_id"),
        (r#""max_tokens":0"#, "max_tokens"),
        (r#""max_tokens":null"#, "max_tokens"),
        (r#""max_tokens":"64""#, "max_tokens"),
        (r#""messages":[]"#, "body"),
        (r#""messages":null"#, "body"),
        (r#""model":null"#, "body"),
        (r#""stream":"yes""#, "stream"),
    ] {
        let refused = app.tagged(body("Hi").replacen("}]}", &format!("}}],{member}}}"), 1)).send().await;
        assert_eq!(refused.header("x-defer-decision"), Some("refused; reason=not-deferrable"), "{member}");
        let code = &refused.json()["error"]["details"]["error_code"];
        let expected = (blocked_by == "thread").then_some("thread_unsupported_request");
        assert_eq!(code.as_str(), expected, "{member}");
        let message = refused.refused(400, "invalid_request_error", "not-deferrable");
        assert!(message.contains(&format!("({blocked_by})")), "{member}: {message}");
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn a_body_that_is_plainly_invalid_is_refused() {
    let app = TestApp::start(Engine::Sqlite).await;
    for text in ["", "Hi", "[]", "{}", "null", r#"{"model":"#, r#"{"model":"claude-haiku-4-5","max_tokens":64}"#] {
        app.tagged(text.to_owned()).send().await.refused(400, "invalid_request_error", "not-deferrable");
    }
    let no_max_tokens = body("Hi").replacen(r#""max_tokens":64,"#, "", 1);
    app.tagged(no_max_tokens).send().await.refused(400, "invalid_request_error", "not-deferrable");
    for (encoding, bytes) in [("gzip", body("Hi")), ("snappy", body("Hi")), ("gzip, br", body("Hi"))] {
        let refused = app.tagged(bytes).header("content-encoding", encoding).send().await;
        refused.refused(400, "invalid_request_error", "not-deferrable");
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn who_cannot_make_batches_is_refused() {
    let app = TestApp::start(Engine::Sqlite).await;
    let nobody = app.tagged(body("Hi")).without("x-api-key").send().await;
    assert_eq!(nobody.header("x-defer-decision"), Some("refused; reason=missing-credential"));
    nobody.refused(401, "authentication_error", "missing-credential");
    let basic = app.tagged(body("Hi")).without("x-api-key").header("authorization", "Basic YTpi").send().await;
    basic.refused(401, "authentication_error", "missing-credential");
    for login in [app.tagged(body("Hi")).bearer("sk-ant-oat01-me"), app.tagged(body("Hi")).key("sk-ant-oat01-me")] {
        let message = login.send().await.refused(400, "invalid_request_error", "not-deferrable");
        assert!(message.contains("(credential)"), "{message}");
    }
    assert_untouched(&app).await;
}

#[tokio::test]
async fn a_model_that_cannot_batch_is_refused_and_remembered() {
    let app = TestApp::start(Engine::Sqlite).await;
    let live_only = |prompt: &str| app.tagged(body(prompt).replacen("claude-haiku-4-5", "claude-livonly-1", 1)).send();
    for prompt in ["Hi", "Ho"] {
        let message = live_only(prompt).await.refused(400, "invalid_request_error", "not-deferrable");
        assert!(message.contains("(model)"), "{message}");
    }
    let asked = || app.books().requests.iter().map(|request| request.path.clone()).collect::<Vec<_>>();
    assert_eq!(asked(), ["/v1/models/claude-livonly-1"]);
    app.clock.advance(Duration::from_hours(1));
    for refused in join_all((0..50).map(|_| live_only("Hi"))).await {
        refused.refused(400, "invalid_request_error", "not-deferrable");
    }
    assert_eq!(asked().len(), 2, "one asks for all who want to know at a time");
    assert_eq!(app.storage().count("select count(*) from deferral").await, 0);
}

#[tokio::test]
async fn what_is_too_large_is_refused_however_it_comes() {
    let app = Setup::on(Engine::Sqlite).set("defer.max_body", "100KB").start().await;
    let fitting = body(&"x".repeat(100_000 - body("").len()));
    let large = fitting.replacen('{', "{ ", 1);
    assert_eq!((fitting.len(), large.len()), (100_000, 100_001));
    let refused = app.tagged(large.clone()).send().await;
    assert_eq!(refused.header("x-defer-decision"), Some("refused; reason=too-large"));
    assert!(refused.refused(413, "request_too_large", "too-large").contains("100000 bytes"));

    // 40 MB of blanks in 40 KB: only what it decodes to tells.
    let mut bomb = Vec::new();
    let blanks = vec![b' '; 40_000_000];
    GzipEncoder::new(blanks.as_slice()).read_to_end(&mut bomb).await.unwrap();
    assert!(bomb.len() < 100_000);
    let refused = app.tagged(bomb).header("content-encoding", "gzip").send().await;
    refused.refused(413, "request_too_large", "too-large");
    assert_untouched(&app).await;

    app.tagged(fitting).send().await.id();
    app.finish().await;
}

async fn a_queue_that_is_full_takes_no_more(engine: Engine) {
    let app = Setup::on(engine).set("defer.max_queued", "3").set("batch.linger", "1h").start().await;
    for prompt in ["1", "2", "3"] {
        app.defer(prompt).await;
    }
    for key in [KEY, OTHER_KEY] {
        let refused = app.tagged(body("4")).key(key).send().await;
        assert_eq!(refused.header("x-defer-decision"), Some("refused; reason=queue-full"));
        assert_eq!(refused.header("retry-after"), Some("3610"));
        refused.refused(429, "rate_limit_error", "queue-full");
    }
    assert_eq!(app.storage().count("select count(*) from deferral").await, 3);
    // What is in a batch is queued no more.
    app.clock.advance(Duration::from_hours(1));
    app.settle().await;
    app.defer("4").await;
    app.finish().await;
}

async fn a_tenant_holds_half_the_queue_while_another_waits(engine: Engine) {
    let app = Setup::on(engine).set("defer.max_queued", "4").set("batch.linger", "1h").start().await;
    app.defer("1").await;
    app.defer("2").await;
    app.tagged(body("3")).key(OTHER_KEY).send().await.id();
    app.tagged(body("4")).send().await.refused(429, "rate_limit_error", "queue-full");
    app.tagged(body("4")).key(OTHER_KEY).send().await.id();
    app.finish().await;
}

async fn a_store_that_is_gone_is_said_to_be(engine: Engine) {
    let app = TestApp::start(engine).await;
    app.expect_errors();
    for statement in ["alter table payload rename to gone", "alter table counter rename to lost"] {
        app.storage().change(statement).await;
    }
    let refused = app.tagged(body("Hi")).send().await;
    assert_eq!(refused.header("x-defer-decision"), Some("refused; reason=store-unavailable"));
    assert!(refused.header("retry-after").is_some());
    refused.refused(503, "api_error", "store-unavailable");
    assert!(app.books().items().next().is_none() && app.books().live_calls().next().is_none());
    assert_eq!(app.call(body("Hi")).send().await.status, 200);
    assert_eq!(app.get("/healthz").send().await.status, 200);
    let ready = app.get("/readyz").send().await.expect(503).json();
    assert_eq!(ready["status"], "not ready");
    assert!(ready["wrong"][0].as_str().unwrap().contains("store"), "{ready}");

    for statement in ["alter table gone rename to payload", "alter table lost rename to counter"] {
        app.storage().change(statement).await;
    }
    app.get("/readyz").send().await.expect(200);
    app.defer("Hi").await;
    app.finish().await;
}
