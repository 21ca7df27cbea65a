//! What of a message goes through, and what stays at the gateway.

use http::{HeaderName, HeaderValue};

use super::{DONE, Relay, Setup};

/// Headers as [`super::Head`] holds them.
fn sorted(expected: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
    let mut expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
    expected.sort_by(|(a, _), (b, _)| a.cmp(b));
    expected
}

#[tokio::test]
async fn paths_and_queries_go_through_verbatim() {
    for prefix in ["", "/some/prefix"] {
        let relay = Relay::with(Setup { prefix, ..Setup::default() }).await;
        for target in [
            "/",
            "/v1/messages?beta=true",
            "/v1/messages?",
            "//v1//messages/",
            "/a%2Fb%20c/%e4?q=%3D&&q=a+b",
            "/v1/../x/./y;z=1?a?b/c",
            "/deferredness",
        ] {
            let seen = relay.seen_upstream(format!("PATCH {target} HTTP/1.1\r\nhost: gateway\r\n\r\n")).await;
            assert_eq!(seen.start, format!("PATCH {prefix}{target} HTTP/1.1"));
        }
    }
}

#[tokio::test]
async fn request_headers_are_the_clients_and_no_others() {
    let relay = Relay::start().await;
    let request = b"GET /v1/models HTTP/1.1\r\nHost: gateway.example\r\nX-Api-Key: key\r\nX-Repeat: 1\r\nx-repeat: 2, 3\r\n\
        x-empty:\r\nx-latin: caf\xe9 \"quoted\"\tand tabbed\r\nx-defer: live\r\nX-Defer-Workload: w\r\nexpect-ct: 1\r\n\
        Connection: keep-alive, X-Hop\r\nConnection: x-other-hop\r\nx-hop: 1\r\nX-Other-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
        proxy-connection: keep-alive\r\nproxy-authorization: Basic eDp5\r\nproxy-authenticate: Basic\r\nte: trailers\r\n\
        trailer: x-sum\r\nupgrade: websocket\r\ncookie: a=1\r\ncookie: b=2\r\n\r\n";
    let seen = relay.seen_upstream(request).await;
    let host = relay.upstream.local_addr().unwrap().to_string();
    let expected = sorted(&[
        ("host", host.as_bytes()),
        ("x-api-key", b"key"),
        ("x-repeat", b"1"),
        ("x-repeat", b"2, 3"),
        ("x-empty", b""),
        ("x-latin", b"caf\xe9 \"quoted\"\tand tabbed"),
        ("expect-ct", b"1"),
        ("cookie", b"a=1"),
        ("cookie", b"b=2"),
    ]);
    assert_eq!(seen.headers, expected);
}

#[tokio::test]
async fn an_answer_goes_through_even_if_it_is_an_error() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) = relay.begin("GET / HTTP/1.1\r\nhost: gateway\r\n\r\n").await;
    upstream
        .send(
            b"HTTP/1.1 529 Far Too Busy\r\nContent-Length: 12\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-odd: \xff\t;\r\n\
            x-empty:\r\nx-defer-decision: theirs\r\nconnection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=9\r\n\
            proxy-authenticate: Basic\r\nupgrade: h2c\r\ntrailer: x-sum\r\nretry-after: 7\r\n\r\n{\"a\": 1.0}\r\n",
        )
        .await;
    let answer = client.head().await;
    assert_eq!(answer.start, "HTTP/1.1 529 Far Too Busy");
    let expected = sorted(&[
        ("content-length", b"12"),
        ("set-cookie", b"a=1"),
        ("set-cookie", b"b=2"),
        ("x-odd", b"\xff\t;"),
        ("x-empty", b""),
        ("x-defer-decision", b"theirs"),
        ("retry-after", b"7"),
    ]);
    assert_eq!(answer.headers, expected);
    assert_eq!(client.take(12).await, b"{\"a\": 1.0}\r\n");
}

#[tokio::test]
async fn answers_without_a_body_keep_their_headers_and_the_connection() {
    let relay = Relay::start().await;
    let mut client = relay.client().await;
    for (method, answer, names) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\netag: \"x\"\r\n", vec!["content-length", "etag"]),
        ("GET", "HTTP/1.1 204 No Content\r\nx-ratelimit: 1\r\n", vec!["x-ratelimit"]),
        ("GET", "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n", vec!["etag"]),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n", vec!["content-length"]),
    ] {
        client.send(format!("{method} / HTTP/1.1\r\nhost: gateway\r\n\r\n")).await;
        let mut upstream = relay.upstream().await;
        assert_eq!(upstream.head().await.start, format!("{method} / HTTP/1.1"));
        upstream.send(format!("{answer}connection: close\r\n\r\n")).await;
        let seen = client.head().await;
        assert!(answer.starts_with(&seen.start), "{seen:?}");
        assert_eq!(seen.names(), names, "{answer}");
    }
}

#[tokio::test]
async fn informational_answers_do_not_stand_for_the_real_one() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) = relay.begin("GET / HTTP/1.1\r\nhost: gateway\r\n\r\n").await;
    upstream.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n").await;
    upstream.send(DONE).await;
    let answer = client.head().await;
    assert_eq!((answer.status(), answer.get("link")), (200, None));
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_it_and_is_heard() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, seen) =
        relay.begin("POST / HTTP/1.1\r\nhost: gateway\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n").await;
    assert_eq!(seen.get("expect"), Some("100-continue"));
    assert_eq!(client.head().await.status(), 100);
    client.send("hello").await;
    assert_eq!(upstream.take(5).await, b"hello");
    upstream.send(DONE).await;
    assert_eq!(client.head().await.status(), 200);
}

#[tokio::test]
async fn a_body_keeps_its_framing() {
    let relay = Relay::start().await;
    for (sent, framing) in [
        ("POST / HTTP/1.1\r\nhost: g\r\n\r\n", vec![]),
        ("POST / HTTP/1.1\r\nhost: g\r\ncontent-length: 0\r\n\r\n", vec![("content-length", "0")]),
        ("DELETE / HTTP/1.1\r\nhost: g\r\ncontent-length: 4\r\n\r\nbody", vec![("content-length", "4")]),
        ("GET / HTTP/1.1\r\nhost: g\r\ncontent-length: 4\r\n\r\nbody", vec![("content-length", "4")]),
    ] {
        let (mut client, mut upstream, seen) = relay.begin(sent).await;
        let of_framing: Vec<_> = ["content-length", "transfer-encoding"]
            .into_iter()
            .filter_map(|name| Some((name, seen.get(name)?)))
            .collect();
        assert_eq!(of_framing, framing, "{sent}");
        if sent.ends_with("body") {
            assert_eq!(upstream.take(4).await, b"body");
        }
        upstream.send(DONE).await;
        assert_eq!(client.head().await.status(), 200);
    }
}

#[tokio::test]
async fn chunks_and_trailers_go_through_both_ways() {
    let relay = Relay::start().await;
    for method in ["POST", "GET"] {
        let (mut client, mut upstream, seen) = relay
            .begin(format!(
                "{method} / HTTP/1.1\r\nhost: g\r\nte: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n"
            ))
            .await;
        assert_eq!(seen.names(), ["host", "trailer", "transfer-encoding"]);
        client.send("5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n").await;
        assert_eq!(upstream.chunks().await, (b"hello".to_vec(), vec!["x-sum: 5".to_owned()]));

        upstream
            .send("HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n")
            .await;
        upstream.send("3\r\nbye\r\n0\r\nx-end: 3\r\n\r\n").await;
        assert_eq!(client.head().await.names(), ["trailer", "transfer-encoding"]);
        assert_eq!(client.chunks().await, (b"bye".to_vec(), vec!["x-end: 3".to_owned()]));
    }
}

#[tokio::test]
async fn an_answer_keeps_its_framing_even_if_all_of_it_arrives_at_once() {
    let relay = Relay::start().await;
    for (framing, body, data, trailers) in [
        ("transfer-encoding: chunked", "0\r\n\r\n", "", vec![]),
        ("transfer-encoding: chunked", "3\r\nbye\r\n0\r\n\r\n", "bye", vec![]),
        ("trailer: x-end\r\ntransfer-encoding: chunked", "0\r\nx-end: 3\r\n\r\n", "", vec!["x-end: 3"]),
        ("trailer: x-end\r\ntransfer-encoding: chunked", "1\r\na\r\n0\r\nx-end: 3\r\n\r\n", "a", vec!["x-end: 3"]),
    ] {
        let (mut client, mut upstream, _) = relay.begin("GET / HTTP/1.1\r\nhost: g\r\nte: trailers\r\n\r\n").await;
        upstream.send(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{framing}\r\n\r\n{body}")).await;
        assert_eq!(client.head().await.get("transfer-encoding"), Some("chunked"), "{body:?}");
        let trailers: Vec<_> = trailers.into_iter().map(str::to_owned).collect();
        assert_eq!(client.chunks().await, (data.as_bytes().to_vec(), trailers), "{body:?}");
    }
}

#[tokio::test]
async fn nobody_is_connected_through_us_to_anywhere_else() {
    let relay = Relay::start().await;
    let mut client = relay.client().await;
    client.send("CONNECT elsewhere.example:443 HTTP/1.1\r\nhost: elsewhere.example:443\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 502);
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_arrives_whole() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) = relay.begin("GET / HTTP/1.1\r\nhost: g\r\n\r\n").await;
    upstream.send("HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nto the end").await;
    drop(upstream);
    assert_eq!(client.head().await.start, "HTTP/1.1 200 OK");
    assert_eq!(client.chunks().await.0, b"to the end");
}

#[tokio::test]
async fn an_upstream_may_answer_before_it_has_read_the_body() {
    let relay = Relay::start().await;
    let (mut client, mut upstream, _) =
        relay.begin("POST / HTTP/1.1\r\nhost: g\r\ncontent-length: 1000000000\r\n\r\nbegins").await;
    upstream.send("HTTP/1.1 413 Payload Too Large\r\ncontent-length: 3\r\n\r\nno!").await;
    assert_eq!(client.head().await.status(), 413);
    assert_eq!(client.take(3).await, b"no!");
}

#[tokio::test]
async fn a_key_of_the_gateways_own_is_exchanged() {
    let credential = (HeaderName::from_static("authorization"), HeaderValue::from_static("Bearer upstream"));
    let relay = Relay::with(Setup { credential: Some(credential), ..Setup::default() }).await;
    let seen =
        relay.seen_upstream("GET / HTTP/1.1\r\nhost: g\r\nauthorization: Bearer ours\r\nx-api-key: ours\r\n\r\n").await;
    assert_eq!(seen.names(), ["authorization", "host"]);
    assert_eq!(seen.get("authorization"), Some("Bearer upstream"));
}
