//! Bodies on their way: unbuffered, unchanged, and no longer than both ends want them.

use std::time::Duration;

use tokio::time::Instant;

use super::{DONE, Relay};

const GET: &str = "GET /v1/stream HTTP/1.1\r\nhost: gateway\r\n\r\n";
const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// More than the sockets, and whatever the gateway may hold on the way, can swallow.
const MORE_THAN_FITS: usize = 128 << 20;

#[tokio::test]
async fn each_chunk_of_an_answer_arrives_before_the_next_is_sent() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) = relay.begin(GET).await;
    upstream.send(STREAM).await;
    assert_eq!(client.head().await.get("content-type"), Some("text/event-stream"));
    for number in 0..20 {
        let event = format!("event: content_block_delta\ndata: {{\"n\":{number}}}\n\n");
        upstream.send_chunk(&event).await;
        assert_eq!(client.chunk().await, event.as_bytes());
    }
    upstream.send("0\r\n\r\n").await;
    assert_eq!(client.chunks().await, (vec![], vec![]));
}

#[tokio::test]
async fn chunks_that_arrive_together_leave_together() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) = relay.begin(GET).await;
    upstream.send(STREAM).await;
    client.head().await;
    upstream.send("6\r\nevent \r\n".repeat(10)).await;
    assert_eq!(client.chunk().await, "event ".repeat(10).as_bytes());
    upstream.send("3\r\nend\r\n0\r\n\r\n").await;
    assert_eq!(client.chunks().await.0, b"end");
}

#[tokio::test]
async fn each_piece_of_a_counted_answer_arrives_before_the_next_is_sent() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) = relay.begin(GET).await;
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n").await;
    assert_eq!(client.head().await.get("content-length"), Some("12"));
    for piece in [b"one,", b"two,", b"end."] {
        upstream.send(piece).await;
        assert_eq!(client.take(4).await, piece);
    }
}

#[tokio::test]
async fn each_piece_of_a_request_arrives_before_the_next_is_sent() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) = relay.begin("POST / HTTP/1.1\r\nhost: g\r\ncontent-length: 12\r\n\r\n").await;
    for piece in [b"one,", b"two,", b"end."] {
        client.send(piece).await;
        assert_eq!(upstream.take(4).await, piece);
    }
}

#[tokio::test]
async fn a_compressed_stream_passes_byte_for_byte() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) =
        relay.begin("GET / HTTP/1.1\r\nhost: g\r\naccept-encoding: gzip, deflate\r\n\r\n").await;
    upstream
        .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    assert_eq!(client.head().await.get("content-encoding"), Some("gzip"));
    // Pieces of a gzip stream end anywhere; nobody on the way may wait for more of it.
    for piece in [&[0x1f][..], &[0x8b, 8, 0, 0], &[0, 0xff, 0xfe, 13, 10, 13, 10], &[0x80]] {
        upstream.send_chunk(piece).await;
        assert_eq!(client.chunk().await, piece);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_does_not_look_complete() {
    let relay = Relay::start().await;

    let (mut client, mut upstream, _) = relay.begin(GET).await;
    upstream.send(STREAM).await;
    upstream.send_chunk("half").await;
    client.head().await;
    assert_eq!(client.chunk().await, b"half");
    drop(upstream);
    assert_eq!(client.rest().await, b"");

    let (mut client, mut upstream, _) = relay.begin(GET).await;
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    client.head().await;
    drop(upstream);
    assert_eq!(client.rest().await, b"half");
}

#[tokio::test]
async fn what_arrives_right_before_an_answer_breaks_off_is_passed_on() {
    for answer in [STREAM, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"] {
        let relay = Relay::start().await;
        let (mut client, mut upstream, _) = relay.begin(GET).await;
        upstream.send(format!("{answer}4\r\nhalf\r\n")).await;
        drop(upstream);
        client.head().await;
        assert_eq!(client.rest().await, b"4\r\nhalf\r\n");
    }
}

#[tokio::test]
async fn a_body_that_stops_making_sense_does_not_look_complete() {
    for nonsense in ["0\r\nx\r\n\r\n", "zz\r\n", "1\r\nab\r\n0\r\n\r\n", "1;\n", "00000000000000001\r\n"] {
        let relay = Relay::start().await;
        let (mut client, mut upstream, _) = relay.begin(GET).await;
        upstream.send(STREAM).await;
        upstream.send_chunk("half").await;
        client.head().await;
        assert_eq!(client.chunk().await, b"half");
        upstream.send(nonsense).await;
        assert_eq!(upstream.rest().await, b"", "{nonsense:?}");
        let rest = client.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{nonsense:?}: {:?}", rest.escape_ascii().to_string());
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_upstream_back() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) = relay.begin(GET).await;
    upstream.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {MORE_THAN_FITS}\r\n\r\n")).await;
    let sent = upstream.send_until_stalled(MORE_THAN_FITS).await;
    assert!(sent < MORE_THAN_FITS, "everything was swallowed");
    client.head().await;
    assert!(client.take(sent).await.iter().all(|byte| *byte == b'x'));
}

#[tokio::test]
async fn an_upstream_that_does_not_read_holds_the_client_back() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) =
        relay.begin(format!("POST / HTTP/1.1\r\nhost: g\r\ncontent-length: {MORE_THAN_FITS}\r\n\r\n")).await;
    let sent = client.send_until_stalled(MORE_THAN_FITS).await;
    assert!(sent < MORE_THAN_FITS, "everything was swallowed");
    assert!(upstream.take(sent).await.iter().all(|byte| *byte == b'x'));
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_byte_cancels_its_request() {
    let relay = Relay::start().await;
    let (client, mut upstream, _) = relay.begin(GET).await;
    drop(client);
    assert_eq!(upstream.rest().await, b"");
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_cancels_its_request() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) = relay.begin(GET).await;
    upstream.send(STREAM).await;
    upstream.send_chunk("an event").await;
    client.head().await;
    assert_eq!(client.chunk().await, b"an event");
    drop(client);
    assert_eq!(upstream.rest().await, b"");
}

#[tokio::test]
async fn a_client_that_leaves_within_an_answer_cancels_its_request() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) = relay.begin(GET).await;
    upstream.send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{").await;
    client.head().await;
    assert_eq!(client.take(1).await, b"{");
    drop(client);
    assert_eq!(upstream.rest().await, b"");
}

#[tokio::test]
async fn a_client_that_leaves_within_its_upload_cancels_its_request() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) = relay.begin("POST / HTTP/1.1\r\nhost: g\r\ncontent-length: 100\r\n\r\n").await;
    client.send("begun").await;
    assert_eq!(upstream.take(5).await, b"begun");
    drop(client);
    assert_eq!(upstream.rest().await, b"");
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_the_clients_fault() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) =
        relay.begin("POST / HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.send_chunk("begun").await;
    assert_eq!(upstream.chunk().await, b"begun");
    client.send("this is no chunk\r\n").await;
    assert_eq!(client.head().await.status(), 400);
    assert_eq!(upstream.rest().await, b"");
}

/// How long an upstream may take to see that the client of one of a few calls has gone: there is nothing to wait for, but
/// the machine may be busy with something else each time.
const SEEN_WITHIN: Duration = Duration::from_millis(30);
const CALLS: usize = 10;

#[tokio::test]
async fn an_upstream_learns_at_once_that_a_client_has_gone() {
    let relay = Relay::start().await;
    for (begun, is_heard) in [
        ("", false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n", true),
        ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{", true),
    ] {
        let mut quickest = Duration::MAX;
        for _ in 0..CALLS {
            let (mut client, mut upstream, _) = relay.begin(GET).await;
            upstream.send(begun).await;
            if is_heard {
                client.head().await;
                client.take(1).await;
            }
            drop(client);
            let left = Instant::now();
            assert_eq!(upstream.rest().await, b"");
            quickest = quickest.min(left.elapsed());
        }
        assert!(quickest < SEEN_WITHIN, "{quickest:?} after {begun:?}");
    }
}

#[tokio::test]
async fn a_refused_upload_is_read_on_until_its_client_has_heard_why() {
    const LENGTH: usize = 8 << 20;
    let relay = Relay::start().await;
    for is_cut in [false, true] {
        let (mut client, mut upstream, _) =
            relay.begin(format!("POST / HTTP/1.1\r\nhost: g\r\ncontent-length: {LENGTH}\r\n\r\n")).await;
        upstream.send("HTTP/1.1 413 Payload Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nno!").await;
        client.send(vec![b'x'; 100_000]).await;
        if is_cut {
            // What it has not read makes it a reset.
            drop(upstream);
        }
        // Only now does the client look.
        client.send(vec![b'x'; LENGTH - 100_000]).await;
        assert_eq!(client.head().await.status(), 413);
        assert_eq!(client.take(3).await, b"no!");
        client.send(GET).await;
        let mut upstream = relay.upstream().await;
        upstream.head().await;
        upstream.send(DONE).await;
        assert_eq!(client.head().await.status(), 200, "its connection serves on");
    }
}

#[tokio::test]
async fn a_refused_connection_lets_the_upload_end_too() {
    const LENGTH: usize = 8 << 20;
    let Relay { address, upstream, drain: _drain, serving: _serving } = Relay::start().await;
    drop(upstream);
    let mut client = super::Wire::connect(address).await;
    client.send(format!("POST / HTTP/1.1\r\nhost: g\r\ncontent-length: {LENGTH}\r\n\r\n")).await;
    client.send(vec![b'x'; LENGTH]).await;
    assert_eq!(client.head().await.status(), 502);
}
