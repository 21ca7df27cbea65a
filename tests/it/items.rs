//! Items: what goes into a batch is the caller's own text.

use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
use bytes::Bytes;
use offpeak::simulator::Endpoint;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::app::{Engine, Setup, TestApp, body, on_both_engines};

on_both_engines! {
    an_encoded_body_is_queued_as_it_was_before,
    the_text_survives_sealing,
}

/// Bodies that one case sends, and cases of one test.
const BODIES_MAX: usize = 8;
const CASES: u32 = 32;

#[test]
fn sqlite_keeps_every_byte_of_an_item() {
    every_byte_of_an_item_is_kept(Engine::Sqlite);
}

#[test]
fn postgres_keeps_every_byte_of_an_item() {
    every_byte_of_an_item_is_kept(Engine::Postgres);
}

fn every_byte_of_an_item_is_kept(engine: Engine) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let app = runtime.block_on(TestApp::start(engine));
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let bodies = prop::collection::vec(any_body(), 1..=BODIES_MAX);
    let outcome = TestRunner::new(config).run(&bodies, |bodies| runtime.block_on(check(&app, &bodies)));
    outcome.unwrap();
    runtime.block_on(app.finish());
}

async fn check(app: &TestApp, bodies: &[Body]) -> TestCaseResult {
    let mut ids = Vec::new();
    for body in bodies {
        ids.push(app.tagged(body.text.clone()).header("x-defer-wait", "0").send().await.id());
    }
    app.settle().await;
    let books = app.books();
    let batch = books.batches.last().unwrap();
    let sent = std::str::from_utf8(&books.to(Endpoint::BatchCreate).last().unwrap().body).unwrap();
    prop_assert_eq!(batch.items.len(), bodies.len());
    for (id, body) in ids.iter().zip(bodies) {
        if !body.streams {
            let whole = format!(r#"{{"custom_id":"{id}","params":{}}}"#, body.text);
            prop_assert!(sent.contains(&whole), "{whole}");
            continue;
        }
        let item = batch.items.iter().find(|item| *item.custom_id == **id).unwrap();
        let (item, text) = (std::str::from_utf8(&item.params).unwrap(), body.text.trim());
        // What was taken out is one piece, and it was the member alone.
        let before = item.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
        let behind = item.bytes().rev().zip(text.bytes().rev()).take_while(|(a, b)| a == b).count();
        prop_assert!(before + behind >= item.len(), "{text}\n{item}");
        let mut expected: Value = serde_json::from_str(text).unwrap();
        expected.as_object_mut().unwrap().remove("stream");
        prop_assert_eq!(serde_json::from_str::<Value>(item).unwrap(), expected);
    }
    Ok(())
}

/// A body that a batch can take, as text.
#[derive(Clone, Debug)]
struct Body {
    text: String,
    streams: bool,
}

/// The members that there must be, in any order, among any others, with blanks anywhere.
fn any_body() -> impl Strategy<Value = Body> {
    let needed = [
        r#""model" : "claude-haiku-4-5""#,
        r#""max_tokens":64"#,
        r#""messages":[ {"role":"user","content":"caf\u00e9 \ud83d\ude00 \/ 日本語"} ]"#,
    ];
    let others = prop::collection::vec((any_string(), blank(), any_value()), 0..5);
    let stream = prop::option::of(prop_oneof![
        Just(r#""stream":true"#),
        Just(r#""stream" : false"#),
        Just("\"stream\"\n:\tnull"),
        Just(r#""\u0073tream":true"#),
    ]);
    (others, stream, prop::collection::vec(blank(), 10)).prop_flat_map(move |(others, stream, blanks)| {
        // A name of no meaning, and never one that a batch refuses.
        let other = |(name, blank, value): &(String, String, String)| {
            format!("\"x{}:{blank}{value}", name.strip_prefix('"').unwrap_or_default())
        };
        let members: Vec<String> =
            needed.iter().copied().chain(stream).map(str::to_owned).chain(others.iter().map(other)).collect();
        Just(members).prop_shuffle().prop_map(move |members| {
            let spaced = members
                .iter()
                .enumerate()
                .map(|(at, member)| format!("{}{member}{}", blanks[at % 10], blanks[(at + 3) % 10]));
            let text = format!("{0}{{{1}}}{0}", blanks[9], spaced.collect::<Vec<_>>().join(","));
            Body { text, streams: stream.is_some() }
        })
    })
}

fn blank() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,3}"
}

/// A string as JSON writes it, plainly or with escapes.
fn any_string() -> impl Strategy<Value = String> {
    let plain = any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap());
    let escaped =
        prop::sample::subsequence(vec![r"\u0041", r"\/", r"\n", r"\ud83d\ude00", r"\\", r#"\""#, r"\u0000"], 0..6)
            .prop_map(|escapes| format!("\"{}\"", escapes.concat()));
    prop_oneof![plain, escaped]
}

fn any_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any_string(),
        prop::sample::select(vec!["true", "null", "0", "-0", "1.0", "1e5", "1E-07", "123456789012345678901234567890"])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" , "))),
            prop::collection::vec((any_string(), inner), 0..4).prop_map(|members| {
                let members = members.iter().map(|(name, value)| format!("{name} :{value}"));
                format!("{{ {} }}", members.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

async fn an_encoded_body_is_queued_as_it_was_before(engine: Engine) {
    let app = TestApp::start(engine).await;
    let plain = body("Hi").replacen('{', "{ \"stream\": true,\n", 1);
    for (encoding, encoded) in [
        ("gzip", all(GzipEncoder::new(plain.as_bytes())).await),
        ("deflate", all(ZlibEncoder::new(plain.as_bytes())).await),
        ("br", all(BrotliEncoder::new(plain.as_bytes())).await),
        ("zstd", all(ZstdEncoder::new(plain.as_bytes())).await),
        ("identity", Bytes::from(plain.clone())),
    ] {
        app.tagged(encoded).header("content-encoding", encoding).header("x-defer-wait", "0").send().await.id();
    }
    app.finish().await;
    let books = app.books();
    assert_eq!(books.items().count(), 5);
    assert!(books.items().all(|item| item.params == plain.replacen("\"stream\": true,\n", "", 1)));
}

async fn the_text_survives_sealing(engine: Engine) {
    let app = Setup::on(engine).set("store.encrypt_bodies", "true").start().await;
    let id = app.defer("Hi").await;
    app.finish().await;
    assert_eq!(app.books().items().next().unwrap().params, body("Hi"));
    assert_eq!(app.message(&id).await.expect(200).json()["type"], "message");
}

async fn all(mut encoder: impl AsyncRead + Unpin) -> Bytes {
    let mut encoded = Vec::new();
    encoder.read_to_end(&mut encoded).await.unwrap();
    encoded.into()
}
