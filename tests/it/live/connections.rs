//! Connections to the upstream: kept, lost, refused and silent.

use std::time::Duration;

use super::{DONE, Relay, Setup, Wire};

const GET: &str = "GET / HTTP/1.1\r\nhost: gateway\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn connections_are_used_again() {
    const CALLS: usize = 50;
    let relay = Relay::start().await;
    let client = async {
        let mut client = relay.client().await;
        for _ in 0..CALLS {
            client.send(GET).await;
            assert_eq!(client.head().await.status(), 200);
            assert_eq!(client.take(2).await, b"ok");
        }
    };
    let upstream = async {
        let (mut connections, mut serving) = (0, tokio::task::JoinSet::new());
        loop {
            let mut connection = relay.upstream().await;
            connections += 1;
            assert!(connections < CALLS, "each call had a connection of its own");
            serving.spawn(async move {
                loop {
                    connection.head().await;
                    connection.send(OK).await;
                }
            });
        }
    };
    tokio::select! {
        () = client => {}
        () = upstream => {}
    }
}

#[tokio::test]
async fn a_connection_that_went_stale_costs_no_call() {
    let relay = Relay::start().await;
    let mut client = relay.client().await;
    for _ in 0..3 {
        client.send(GET).await;
        let mut upstream = relay.upstream().await;
        upstream.head().await;
        upstream.send(OK).await;
        assert_eq!(client.head().await.status(), 200);
        assert_eq!(client.take(2).await, b"ok");
        // Once the gateway has closed its end as well it knows.
        upstream.finish().await;
        assert_eq!(upstream.rest().await, b"");
    }
}

#[tokio::test]
async fn an_upstream_that_refuses_connections_is_unreachable() {
    let Relay { address, upstream, drain: _drain, serving: _serving } = Relay::start().await;
    drop(upstream);
    let mut client = Wire::connect(address).await;
    client.send(GET).await;
    assert_eq!(client.head().await.status(), 502);
}

#[tokio::test]
async fn an_upstream_lost_before_its_answer_is_unreachable_and_asked_once() {
    let relay = Relay::start().await;
    let (mut client, upstream, _) = relay.begin("POST / HTTP/1.1\r\nhost: gateway\r\ncontent-length: 0\r\n\r\n").await;
    drop(upstream);
    assert_eq!(client.head().await.status(), 502);

    let (mut client, mut upstream, seen) = relay.begin(GET).await;
    assert_eq!(seen.start, "GET / HTTP/1.1", "the lost call was sent again");
    upstream.send("HTTP/1.1 200 OK\r\ncontent-le").await;
    drop(upstream);
    assert_eq!(client.head().await.status(), 502);
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_no_answer() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) = relay.begin(GET).await;
    upstream.send("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 502);
}

#[tokio::test]
async fn an_upstream_that_stays_silent_times_out_and_is_let_go() {
    let relay = Relay::with(Setup { timeout: Duration::from_millis(50), ..Setup::default() }).await;
    let (mut client, mut upstream, _) = relay.begin(GET).await;
    assert_eq!(client.head().await.status(), 504);
    assert_eq!(upstream.rest().await, b"");
}

/// A client whose first call has been answered, over a connection that rests since.
async fn rested(relay: &Relay) -> (Wire, Wire) {
    let (mut client, mut upstream, _) = relay.begin(GET).await;
    upstream.send(OK).await;
    assert_eq!(client.head().await.status(), 200);
    assert_eq!(client.take(2).await, b"ok");
    (client, upstream)
}

/// Asserts that whatever came before has led to no more calls upstream.
async fn assert_nothing_else_was_sent(relay: &Relay) {
    let (_client, _upstream, next) = relay.begin("HEAD /next HTTP/1.1\r\nhost: g\r\n\r\n").await;
    assert_eq!(next.start, "HEAD /next HTTP/1.1");
}

#[tokio::test]
async fn what_may_have_been_heard_is_not_sent_again() {
    for request in [
        "POST / HTTP/1.1\r\nhost: g\r\ncontent-length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nhost: g\r\ncontent-length: 0\r\n\r\n",
        "DELETE / HTTP/1.1\r\nhost: g\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: g\r\ncontent-length: 2\r\n\r\nhi",
    ] {
        let relay = Relay::start().await;
        let (mut client, mut upstream) = rested(&relay).await;
        client.send(request).await;
        assert_eq!(upstream.head().await.start, request.lines().next().unwrap(), "it rests no more");
        drop(upstream);
        assert_eq!(client.head().await.status(), 502, "{request}");
        assert_nothing_else_was_sent(&relay).await;
    }
}

#[tokio::test]
async fn what_asks_for_nothing_to_be_done_is_sent_again_once() {
    let relay = Relay::start().await;
    for is_answered in [true, false] {
        let (mut client, mut stale) = rested(&relay).await;
        client.send(GET).await;
        stale.head().await;
        drop(stale);
        let mut upstream = relay.upstream().await;
        assert_eq!(upstream.head().await.start, "GET / HTTP/1.1");
        if is_answered {
            upstream.send(DONE).await;
        }
        drop(upstream);
        assert_eq!(client.head().await.status(), if is_answered { 200 } else { 502 });
    }
    let (mut client, upstream, _) = relay.begin(GET).await;
    drop(upstream);
    assert_eq!(client.head().await.status(), 502, "a new connection is not to blame");
    assert_nothing_else_was_sent(&relay).await;

    let (mut client, mut upstream) = rested(&relay).await;
    client.send(GET).await;
    upstream.head().await;
    upstream.send("H").await;
    drop(upstream);
    assert_eq!(client.head().await.status(), 502, "it was answered, if only with a letter");
    assert_nothing_else_was_sent(&relay).await;
}

#[tokio::test]
async fn a_connection_with_more_on_it_than_its_answer_is_not_used_again() {
    for more in ["HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen", "\r\n", "x"] {
        let relay = Relay::start().await;
        let (mut client, mut upstream, _) = relay.begin(GET).await;
        upstream.send(format!("{OK}{more}")).await;
        assert_eq!(client.head().await.status(), 200);
        assert_eq!(client.take(2).await, b"ok");
        assert_eq!(upstream.rest().await, b"", "it is closed");

        // As it is if more comes later.
        let (mut client, mut upstream) = rested(&relay).await;
        upstream.send(more).await;
        assert_eq!(upstream.rest().await, b"");
        client.send(GET).await;
        let mut upstream = relay.upstream().await;
        upstream.head().await;
        upstream.send(DONE).await;
        assert_eq!(client.head().await.get("content-length"), Some("0"));
    }
}

#[tokio::test]
async fn an_answer_that_can_be_read_in_two_ways_is_no_answer() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: a\r\n b\r\n\r\nok",
        "HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nx: \0\r\ncontent-length: 2\r\n\r\nok",
        "\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let relay = Relay::start().await;
        let (mut client, mut upstream, _) = relay.begin(GET).await;
        upstream.send(answer).await;
        assert_eq!(client.head().await.status(), 502, "{answer:?}");
        assert_eq!(upstream.rest().await, b"");
    }
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) = relay.begin(GET).await;
    upstream.send("HTTP/1.1 100 Continue\r\n\r\n".repeat(1000)).await;
    assert_eq!(client.head().await.status(), 502, "a storm of interim answers");
}
