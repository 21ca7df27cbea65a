//! Rules that ask for the body: it is read as far as it must be, and goes on as if nobody had looked.

use async_compression::tokio::bufread::GzipEncoder;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::*;
use crate::it::wire::{Head, Wire, soon};

/// An upstream that a test answers by hand, and an app before it.
struct Stage {
    app: TestApp,
    upstream: TcpListener,
}

const DONE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

impl Stage {
    async fn with(rules: &str) -> Self {
        Self::set(rules, "32MB").await
    }

    async fn set(rules: &str, max_body: &str) -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", upstream.local_addr().unwrap());
        let setup = Setup::on(Engine::Sqlite).set("upstream.url", url).set("defer.max_body", max_body);
        Self { app: setup.file(rules).start().await, upstream }
    }

    async fn client(&self, head: &str) -> Wire {
        let mut client = Wire::connect(self.app.gateway()).await;
        client.send(format!("POST /v1/messages HTTP/1.1\r\nhost: gateway\r\nx-api-key: k\r\n{head}\r\n\r\n")).await;
        client
    }

    async fn upstream(&self) -> (Wire, Head) {
        let mut upstream = Wire::new(soon(self.upstream.accept()).await.unwrap().0);
        let head = upstream.head().await;
        (upstream, head)
    }

    /// Whether the upstream was called by now: what a client has sent before the answer to another one is read.
    async fn is_called(&self) -> bool {
        // The app answers this after it has dealt with whatever came before.
        self.app.get("/healthz").send().await.expect(200);
        tokio::time::timeout(std::time::Duration::from_millis(100), self.upstream.accept()).await.is_ok()
    }
}

/// Lets the upstream answer, and gives what was decided.
async fn decided(mut client: Wire, mut upstream: Wire) -> String {
    upstream.send(DONE).await;
    let head = client.head().await;
    assert_eq!(head.status(), 200);
    head.get("x-defer-decision").unwrap().to_owned()
}

const HAIKU: &str = "when = 'request.model.startsWith(\"claude-haiku\")'\naction = \"live\"";

#[tokio::test]
async fn no_more_is_read_than_a_rule_must_see() {
    let stage = Stage::with(&rule("haiku", HAIKU)).await;
    let mut client = stage.client("content-length: 5000").await;
    client.send("{\"max_tokens\":5,\"model\":\"claude-ha").await;
    assert!(!stage.is_called().await);
    client.send("iku-4-5\",\"messages\":[").await;
    let (mut upstream, head) = stage.upstream().await;
    assert_eq!(head.get("content-length"), Some("5000"));
    let begin = "{\"max_tokens\":5,\"model\":\"claude-haiku-4-5\",\"messages\":[";
    assert_eq!(upstream.take(begin.len()).await, begin.as_bytes(), "the beginning goes on before the end is there");
    client.send("x".repeat(5_000 - begin.len())).await;
    assert_eq!(upstream.take(5_000 - begin.len()).await, "x".repeat(5_000 - begin.len()).as_bytes());
    assert_eq!(decided(client, upstream).await, "live; rule=\"haiku\"; reason=rule");
}

#[tokio::test]
async fn without_a_rule_that_asks_nothing_is_waited_for() {
    let rules = rule("bytes", "when = 'request.bytes > 4000 && headers[\"x-a\"] == \"\"'\naction = \"live\"");
    let stage = Stage::with(&rules).await;
    let mut client = stage.client("content-length: 5000").await;
    let (mut upstream, _) = stage.upstream().await;
    client.send("x".repeat(5_000)).await;
    upstream.take(5_000).await;
    assert_eq!(decided(client, upstream).await, "live; rule=\"bytes\"; reason=rule");
}

#[tokio::test]
async fn a_header_may_settle_it_before_the_body_is_read() {
    let rules =
        rule("both", "when = 'request.messages > 3 && headers[\"user-agent\"] == \"cron\"'\naction = \"defer\"");
    let stage = Stage::with(&rules).await;
    let mut client = stage.client("user-agent: sdk\r\ncontent-length: 10").await;
    let (mut upstream, _) = stage.upstream().await;
    client.send("x".repeat(10)).await;
    upstream.take(10).await;
    assert_eq!(decided(client, upstream).await, "live; reason=no-rule");
}

#[tokio::test]
async fn what_was_looked_into_keeps_its_framing_and_every_byte() {
    let stage = Stage::with(&rule("few", "when = 'request.messages == 2 && request.stream'\naction = \"live\"")).await;
    let text = " {\"messages\" : [1 ,[2]], \"a\":1.0,\r\n\"stream\":true} ";
    // In chunks, with trailers.
    let mut client = stage.client("transfer-encoding: chunked\r\ntrailer: x-sum").await;
    for piece in text.as_bytes().chunks(7) {
        client.send_chunk(piece).await;
    }
    client.send("0\r\nx-sum: 7\r\n\r\n").await;
    let (mut upstream, head) = stage.upstream().await;
    assert_eq!((head.get("content-length"), head.get("transfer-encoding")), (None, Some("chunked")));
    let (whole, trailers) = upstream.chunks().await;
    assert_eq!((String::from_utf8(whole).unwrap().as_str(), trailers), (text, vec!["x-sum: 7".to_owned()]));
    assert_eq!(decided(client, upstream).await, "live; rule=\"few\"; reason=rule");

    // Counted.
    let mut client = stage.client(&format!("content-length: {}", text.len())).await;
    client.send(text).await;
    let (mut upstream, head) = stage.upstream().await;
    let length = text.len().to_string();
    assert_eq!((head.get("content-length"), head.get("transfer-encoding")), (Some(length.as_str()), None));
    assert_eq!(upstream.take(text.len()).await, text.as_bytes());
    assert_eq!(decided(client, upstream).await, "live; rule=\"few\"; reason=rule");

    // None at all, and an empty one in chunks.
    let client = stage.client("content-length: 0").await;
    let (upstream, head) = stage.upstream().await;
    assert_eq!(head.get("content-length"), Some("0"));
    assert_eq!(decided(client, upstream).await, "live; reason=no-rule");
    let mut client = stage.client("transfer-encoding: chunked").await;
    client.send("0\r\n\r\n").await;
    let (mut upstream, head) = stage.upstream().await;
    assert_eq!(head.get("transfer-encoding"), Some("chunked"));
    assert_eq!(upstream.chunks().await, (vec![], vec![]));
    assert_eq!(decided(client, upstream).await, "live; reason=no-rule");
}

#[tokio::test]
async fn a_body_that_breaks_off_while_it_is_looked_into_goes_nowhere() {
    let stage = Stage::with(&rule("haiku", HAIKU)).await;
    let mut client = stage.client("content-length: 5000").await;
    client.send("{\"mod").await;
    client.finish().await;
    client.rest().await;
    assert!(!stage.is_called().await);
}

#[tokio::test]
async fn what_stands_beyond_the_limit_is_absent_and_that_is_shown() {
    let rules = [
        rule("late", "when = 'request.model == \"m\"'\naction = \"live\""),
        rule("long", "when = 'request.bytes > 1000 && request.model == \"\"'\naction = \"live\""),
    ];
    let stage = Stage::set(&rules.concat(), "1KB").await;
    let text = format!("{{\"x\":\"{}\",\"model\":\"m\"}}", "x".repeat(5_000));
    for framing in ["content-length", "chunked"] {
        let mut client = match framing {
            "chunked" => stage.client("transfer-encoding: chunked").await,
            _ => stage.client(&format!("content-length: {}", text.len())).await,
        };
        // The first piece is as long as the limit; nothing more has to come before the call goes on.
        let (begin, rest) = text.split_at(1_100);
        if framing == "chunked" {
            client.send_chunk(begin).await
        } else {
            client.send(begin).await
        }
        let (mut upstream, _) = stage.upstream().await;
        if framing == "chunked" {
            client.send_chunk(rest).await;
            client.send("0\r\n\r\n").await;
            assert_eq!(upstream.chunks().await.0, text.as_bytes());
        } else {
            client.send(rest).await;
            assert_eq!(upstream.take(text.len()).await, text.as_bytes());
        }
        assert_eq!(decided(client, upstream).await, "live; rule=\"long\"; reason=rule", "{framing}");
    }
    let rules = stage.app.operator(Method::GET, "/api/rules").send().await.expect(200).json();
    assert_eq!(rules["cut_short"], 2);
    assert_eq!((&rules["data"][0]["matched"], &rules["data"][1]["needs_body"]), (&json!(0), &json!(true)));
    let metrics = stage.app.operator(Method::GET, "/metrics").send().await;
    assert!(metrics.text().contains("offpeak_rule_bodies_cut_short_total 2\n"));
}

#[tokio::test]
async fn an_encoded_body_is_looked_into_and_goes_on_encoded() {
    let stage = Stage::with(&rule("haiku", HAIKU)).await;
    let mut encoded = Vec::new();
    GzipEncoder::new(body("Hi").as_bytes()).read_to_end(&mut encoded).await.unwrap();
    let mut client = stage.client(&format!("content-encoding: gzip\r\ncontent-length: {}", encoded.len())).await;
    client.send(&encoded).await;
    let (mut upstream, head) = stage.upstream().await;
    assert_eq!(head.get("content-encoding"), Some("gzip"));
    assert_eq!(upstream.take(encoded.len()).await, encoded);
    assert_eq!(decided(client, upstream).await, "live; rule=\"haiku\"; reason=rule");

    // What cannot be decoded shows no facts, and is the provider's to refuse.
    let mut client = stage.client("content-encoding: gzip\r\ncontent-length: 5").await;
    client.send("plain").await;
    let (mut upstream, _) = stage.upstream().await;
    assert_eq!(upstream.take(5).await, b"plain");
    assert_eq!(decided(client, upstream).await, "live; reason=no-rule");
}

#[tokio::test]
async fn facts_decide_over_real_calls() {
    let rules = [
        rule("streams", "when = 'request.stream'\naction = \"live\""),
        rule("chats", "when = 'request.messages > 1 || request.tools > 0'\naction = \"live\""),
        rule(
            "briefed",
            "when = 'request.system_prefix.startsWith(\"You summarise\") && request.max_tokens <= 64'\naction = \"defer\"\nreply = \"ticket\"",
        ),
    ];
    for threads in [0, 2] {
        let app = Setup::on(Engine::Sqlite).threads(threads).file(&rules.concat()).start().await;
        let with = |member: &str| body("Hi").replacen('{', &format!("{{{member},"), 1);
        for (text, status, said) in [
            (with("\"stream\":true"), 200, "live; rule=\"streams\"; reason=rule"),
            (
                with("\"tools\":[{\"name\":\"t\",\"input_schema\":{\"type\":\"object\"}}]"),
                200,
                "live; rule=\"chats\"; reason=rule",
            ),
            (with("\"system\":\"You summarise.\""), 202, "deferred; rule=\"briefed\"; id=dfr_"),
            (
                with("\"system\":[{\"type\":\"text\",\"text\":\"You summarise.\"}]"),
                202,
                "deferred; rule=\"briefed\"; id=dfr_",
            ),
            (with("\"system\":\"You translate.\""), 200, "live; reason=no-rule"),
            (body("x").replacen("\"x\"", &format!("\"{}\"", "x".repeat(2_000_000)), 1), 200, "live; reason=no-rule"),
        ] {
            let answer = app.call(text.clone()).send().await.expect(status);
            assert!(decision(&answer).starts_with(said), "{said}: {}", decision(&answer));
            if status == 200 {
                assert_eq!(app.books().live_calls().last().unwrap().body, text);
            }
        }
        app.finish().await;
    }
}

#[tokio::test]
async fn who_asks_for_nothing_of_the_body_waits_for_all_of_it_only_to_be_deferred() {
    let stage = Stage::with(&nightly("rollout = 0")).await;
    let mut client = stage.client("x-from: airflow\r\ncontent-length: 10").await;
    let (mut upstream, _) = stage.upstream().await;
    client.send("x".repeat(10)).await;
    upstream.take(10).await;
    assert_eq!(decided(client, upstream).await, "live; rule=\"nightly\"; reason=rollout");
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let stage = Stage::with(&rule("haiku", HAIKU)).await;
    let text = body("Hi");
    let mut client = stage.client(&format!("expect: 100-continue\r\ncontent-length: {}", text.len())).await;
    assert_eq!(client.head().await.status(), 100);
    client.send(&text).await;
    let (mut upstream, _) = stage.upstream().await;
    assert_eq!(upstream.take(text.len()).await, text.as_bytes());
    assert_eq!(decided(client, upstream).await, "live; rule=\"haiku\"; reason=rule");
}

#[tokio::test]
async fn a_client_that_leaves_while_its_call_is_deferred_loses_nothing_of_what_others_send() {
    let stage = Stage::with(&rule("haiku", &HAIKU.replace("live", "defer"))).await;
    let mut leaving = stage.client("content-length: 5000").await;
    leaving.send("{\"model\":\"claude-haiku-4-5\",").await;
    drop(leaving);
    let text = body("Hi").replace("haiku", "opus");
    let mut client = stage.client(&format!("content-length: {}", text.len())).await;
    client.send(&text).await;
    let (mut upstream, _) = stage.upstream().await;
    assert_eq!(upstream.take(text.len()).await, text.as_bytes());
    assert_eq!(decided(client, upstream).await, "live; reason=no-rule");
    assert_eq!(stage.app.storage().count("select count(*) from deferral").await, 0);
}
