//! Answers and clients as they may be: compressed, long, slow, and gone before the end.

use std::time::Duration;

use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpListener;

use super::{record, records};
use crate::it::app::{Engine, Setup, TestApp, body, on_both_engines};
use crate::it::wire::{Wire, soon};

on_both_engines! {
    compressed_answers_are_read,
    a_compressed_stream_is_read,
    a_long_answer_is_read_by_its_ends,
    a_client_that_leaves_within_a_stream_is_recorded,
    a_client_that_leaves_before_an_answer_is_recorded,
    an_answer_that_breaks_off_is_nobodys_leaving,
    a_reader_who_does_not_read_is_recorded,
    a_compressed_call_is_read,
}

const MESSAGE: &str = r#"{"id":"msg_1","type":"message","model":"claude-haiku-4-5","content":[],
    "stop_reason":"end_turn","usage":{"input_tokens":11,"output_tokens":22}}"#;

const BEGINNING: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-haiku-4-5\",\
    \"usage\":{\"input_tokens\":11,\"output_tokens\":1}}}\n\n";
const ENDING: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\
    \"usage\":{\"output_tokens\":22}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n";

/// An app whose upstream the test speaks for.
struct Stage {
    app: TestApp,
    upstream: TcpListener,
}

impl Stage {
    async fn start(engine: Engine) -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", upstream.local_addr().unwrap());
        Self { app: Setup::on(engine).set("upstream.url", url).start().await, upstream }
    }

    /// A call that has arrived upstream.
    async fn begin(&self) -> (Wire, Wire) {
        let text = body("Hi");
        let mut client = Wire::connect(self.app.gateway()).await;
        let head = "POST /v1/messages HTTP/1.1\r\nhost: gateway\r\nx-api-key: k\r\n";
        client.send(format!("{head}content-length: {}\r\n\r\n{text}", text.len())).await;
        let mut upstream = Wire::new(soon(self.upstream.accept()).await.unwrap().0);
        upstream.head().await;
        upstream.take(text.len()).await;
        (client, upstream)
    }

    /// A call with this answer, to its end.
    async fn answer(&self, head: &str, body: &[u8]) {
        let (mut client, mut upstream) = self.begin().await;
        upstream.send(format!("{head}connection: close\r\ncontent-length: {}\r\n\r\n", body.len())).await;
        let sending = async { upstream.send(body).await };
        let taking = async {
            client.head().await;
            assert_eq!(client.take(body.len()).await, body);
        };
        tokio::join!(sending, taking);
    }
}

async fn all(mut encoder: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut encoded = Vec::new();
    encoder.read_to_end(&mut encoded).await.unwrap();
    encoded
}

async fn compressed_answers_are_read(engine: Engine) {
    let stage = Stage::start(engine).await;
    let plain = MESSAGE.as_bytes();
    for (encoding, body) in [
        ("gzip", all(GzipEncoder::new(plain)).await),
        ("br", all(BrotliEncoder::new(plain)).await),
        ("zstd", all(ZstdEncoder::new(plain)).await),
        ("deflate", all(ZlibEncoder::new(plain)).await),
        ("identity", plain.to_vec()),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: {encoding}\r\n");
        stage.answer(&head, &body).await;
    }
    for record in records(&stage.app, 5).await {
        assert_eq!((record.tokens.input, record.tokens.output, record.hung_up), (11, 22, false));
    }
}

async fn a_compressed_stream_is_read(engine: Engine) {
    let stage = Stage::start(engine).await;
    let events = format!("{BEGINNING}{}{ENDING}", "event: ping\ndata: {\"type\":\"ping\"}\n\n".repeat(1_000));
    let body = all(GzipEncoder::new(events.as_bytes())).await;
    stage.answer("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n", &body).await;
    let record = record(&stage.app).await;
    assert_eq!((record.tokens.input, record.tokens.output), (11, 22));
    assert_eq!(record.answer_bytes, body.len() as u64);
}

async fn a_long_answer_is_read_by_its_ends(engine: Engine) {
    let stage = Stage::start(engine).await;
    let long = MESSAGE.replacen("[]", &format!(r#"[{{"type":"text","text":"{}"}}]"#, "word ".repeat(200_000)), 1);
    stage.answer("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n", long.as_bytes()).await;
    let record = record(&stage.app).await;
    assert_eq!((record.tokens.input, record.tokens.output, record.answer_bytes), (11, 22, long.len() as u64));
    assert!(record.cost.is_some());
}

async fn a_client_that_leaves_within_a_stream_is_recorded(engine: Engine) {
    let stage = Stage::start(engine).await;
    let (mut client, mut upstream) = stage.begin().await;
    upstream.send(format!("{STREAM}\r\n")).await;
    upstream.send_chunk(BEGINNING).await;
    client.head().await;
    client.chunk().await;
    drop(client);
    upstream.rest().await;
    let record = record(&stage.app).await;
    assert_eq!((record.status, record.hung_up, record.tokens.input), (200, true, 11));
}

async fn a_client_that_leaves_before_an_answer_is_recorded(engine: Engine) {
    let stage = Stage::start(engine).await;
    let (client, mut upstream) = stage.begin().await;
    drop(client);
    upstream.rest().await;
    let record = record(&stage.app).await;
    assert_eq!((record.status, record.hung_up, record.answer_bytes), (0, true, 0));
    assert_eq!(record.model, "claude-haiku-4-5");
}

async fn an_answer_that_breaks_off_is_nobodys_leaving(engine: Engine) {
    let stage = Stage::start(engine).await;
    let (mut client, mut upstream) = stage.begin().await;
    upstream.send(format!("{STREAM}\r\n")).await;
    upstream.send_chunk(BEGINNING).await;
    client.head().await;
    client.chunk().await;
    drop(upstream);
    client.rest().await;
    let record = record(&stage.app).await;
    assert_eq!((record.status, record.hung_up, record.tokens.input), (200, false, 11));
}

async fn a_reader_who_does_not_read_is_recorded(engine: Engine) {
    let stage = Stage::start(engine).await;
    let (mut client, mut upstream) = stage.begin().await;
    upstream.send("HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\nconnection: close\r\n\r\n").await;
    let sent = upstream.send_until_stalled(128 << 20).await;
    drop(upstream);
    client.head().await;
    assert_eq!(client.chunks().await.0.len(), sent);
    let record = record(&stage.app).await;
    assert_eq!(record.answer_bytes, sent as u64);
    // The sender had to wait for that long to be stalled.
    assert!(record.reader_wait_ms >= 300, "{} ms", record.reader_wait_ms);
    assert!(record.duration_ms >= record.reader_wait_ms);
}

async fn a_compressed_call_is_read(engine: Engine) {
    let app = TestApp::start(engine).await;
    let text = body("Hi");
    let packed = all(GzipEncoder::new(text.as_bytes())).await;
    app.call(packed.clone()).header("content-encoding", "gzip").send().await.expect(200);
    app.clock.advance(Duration::from_secs(1));
    app.call(text).send().await.expect(200);
    let records = records(&app, 2).await;
    assert_eq!(records[0].model, records[1].model);
    assert_eq!((records[0].opening_hash, &records[0].workload), (records[1].opening_hash, &records[1].workload));
    assert_eq!(records[0].request_bytes, packed.len() as u64);
}
