//! The one thing that is changed in an answer: where the results of a batch are.

use async_compression::tokio::bufread::GzipEncoder;
use tokio::io::AsyncReadExt as _;

use super::{Head, Relay, Setup};

const PATH: &str = "/v1/messages/batches/msgbatch_1";

/// Asks for `path` as `gateway.example`, and has the upstream answer with `body`.
async fn asked(relay: &Relay, path: &str, headers: &str, body: &[u8]) -> (Head, Vec<u8>) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: gateway.example:81\r\naccept-encoding: gzip\r\n\r\n");
    let (mut client, mut upstream, seen) = relay.begin(request).await;
    assert_eq!(seen.get("accept-encoding"), Some("gzip"));
    let length = body.len();
    upstream.send(format!("HTTP/1.1 {headers}connection: close\r\ncontent-length: {length}\r\n\r\n")).await;
    let ((), answer) = tokio::join!(upstream.send(body), async {
        let head = client.head().await;
        let length = head.get("content-length").unwrap().parse().unwrap();
        (head, client.take(length).await)
    });
    answer
}

const JSON: &str = "200 OK\r\ncontent-type: application/json; charset=utf-8\r\n";

fn batch(origin: &str) -> String {
    format!(r#"{{"id": "msgbatch_1", "results_url" : "{origin}{PATH}/results?x=1", "weight": 1.0}}"#)
}

async fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    GzipEncoder::new(plain).read_to_end(&mut encoded).await.unwrap();
    encoded
}

fn upstream_origin(relay: &Relay) -> String {
    format!("http://{}", relay.upstream.local_addr().unwrap())
}

#[tokio::test]
async fn it_leads_back_to_where_the_caller_found_the_gateway() {
    let relay = Relay::start().await;
    let given = batch(&upstream_origin(&relay));
    let expected = batch("http://gateway.example:81");
    for path in ["/v1/messages/batches?limit=20", "/v1/messages/batches/msgbatch_1?beta=true"] {
        let (_, body) = asked(&relay, path, JSON, given.as_bytes()).await;
        assert_eq!(String::from_utf8(body).unwrap(), expected, "{path}");
    }
}

#[tokio::test]
async fn it_leads_to_the_public_url_and_back_without_the_upstreams_prefix() {
    let public_url = Some("https://claude.example/offpeak/".parse().unwrap());
    let relay = Relay::with(Setup { prefix: "/proxied", public_url, ..Setup::default() }).await;
    let given = batch(&format!("{}/proxied", upstream_origin(&relay)));
    let (_, body) = asked(&relay, PATH, JSON, given.as_bytes()).await;
    assert_eq!(String::from_utf8(body).unwrap(), batch("https://claude.example/offpeak"));
}

#[tokio::test]
async fn it_is_found_in_a_compressed_answer() {
    let relay = Relay::start().await;
    let given = gzip(batch(&upstream_origin(&relay)).as_bytes()).await;
    let headers = format!("{JSON}content-encoding: gzip\r\nvary: accept-encoding\r\n");
    let (head, body) = asked(&relay, PATH, &headers, &given).await;
    assert_eq!(String::from_utf8(body).unwrap(), batch("http://gateway.example:81"));
    assert_eq!(head.names(), ["content-length", "content-type", "vary"]);
}

#[tokio::test]
async fn everything_else_passes_untouched() {
    let relay = Relay::start().await;
    let given = batch(&upstream_origin(&relay));
    let compressed = gzip(batch("https://elsewhere.example").as_bytes()).await;
    let in_gzip = format!("{JSON}content-encoding: gzip\r\n");
    let unknown = format!("{JSON}content-encoding: lzma\r\n");
    let huge = format!("{given}{}", " ".repeat(16_000_000));
    for (path, headers, body) in [
        ("/v1/messages/batches/msgbatch_1/results", JSON, given.as_bytes()),
        ("/v1/messages", JSON, given.as_bytes()),
        (PATH, "404 Not Found\r\ncontent-type: application/json\r\n", given.as_bytes()),
        (PATH, "200 OK\r\ncontent-type: application/x-jsonl\r\n", given.as_bytes()),
        (PATH, "200 OK\r\n", given.as_bytes()),
        (PATH, JSON, b"{\"results_url\":"),
        (PATH, &in_gzip, &compressed),
        (PATH, &unknown, given.as_bytes()),
        (PATH, JSON, huge.as_bytes()),
    ] {
        let (head, seen) = asked(&relay, path, headers, body).await;
        assert!(seen == body, "{path} {headers}");
        assert_eq!(head.get("content-encoding").is_some(), headers.contains("content-encoding"));
    }
}

#[tokio::test]
async fn a_long_answer_of_unknown_length_passes_untouched() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) = relay.begin(format!("GET {PATH} HTTP/1.1\r\nhost: g\r\n\r\n")).await;
    let huge = format!("{}{}", batch(&upstream_origin(&relay)), " ".repeat(20_000_000));
    upstream.send(format!("HTTP/1.1 {JSON}transfer-encoding: chunked\r\n\r\n")).await;
    let send = async {
        upstream.send_chunk(&huge).await;
        upstream.send("0\r\n\r\n").await;
    };
    let ((), (body, _)) = tokio::join!(send, async {
        client.head().await;
        client.chunks().await
    });
    assert!(body == huge.as_bytes());
}

#[tokio::test]
async fn an_answer_that_breaks_off_while_it_is_read_is_no_answer() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) = relay.begin(format!("GET {PATH} HTTP/1.1\r\nhost: g\r\n\r\n")).await;
    upstream.send(format!("HTTP/1.1 {JSON}content-length: 100\r\n\r\n{{\"id\":")).await;
    drop(upstream);
    assert_eq!(client.head().await.status(), 502);
}
