//! Connections to the upstream: kept, lost, refused and silent.

use std::time::Duration;

use super::{Relay, Setup};

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
    let mut client = super::Wire::connect(address).await;
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
