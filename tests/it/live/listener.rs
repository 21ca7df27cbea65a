//! The listener: protocols, queued requests, and its end.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Relay, Setup, soon};

const GET: &str = "GET / HTTP/1.1\r\nhost: gateway\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

async fn http2_client<B>(relay: &Relay, tasks: &mut JoinSet<()>) -> http2::SendRequest<B>
where
    B: http_body::Body<Data = Bytes, Error = std::convert::Infallible> + Send + Unpin + 'static,
{
    let stream = TcpStream::connect(relay.address).await.unwrap();
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tasks.spawn(async { drop(connection.await) });
    client
}

#[tokio::test]
async fn cleartext_http2_is_spoken_too() {
    let relay = Relay::start().await;
    let mut tasks = JoinSet::new();
    let mut client = http2_client(&relay, &mut tasks).await;
    let request = Request::post("http://gateway.example:81/v1/messages/batches?beta=true")
        .header("x-defer", "live")
        .body(Full::new(Bytes::from_static(b"{}")))
        .unwrap();
    let (answer, ()) = tokio::join!(soon(client.send_request(request)), async {
        let mut upstream = relay.upstream().await;
        let seen = upstream.head().await;
        assert_eq!(seen.start, "POST /v1/messages/batches?beta=true HTTP/1.1");
        assert_eq!(seen.names(), ["content-length", "host"]);
        assert_eq!(seen.get("host"), Some(relay.upstream.local_addr().unwrap().to_string().as_str()));
        assert_eq!(upstream.take(2).await, b"{}");
        let body = format!("{{\"results_url\":\"http://{}/v1/x\"}}", relay.upstream.local_addr().unwrap());
        let length = body.len();
        upstream
            .send(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            ))
            .await;
    });
    let answer = answer.unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);
    let body = soon(answer.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(body, r#"{"results_url":"http://gateway.example:81/v1/x"}"#);
}

#[tokio::test]
async fn an_http2_stream_is_not_buffered_and_its_reset_cancels_one_request() {
    let relay = Relay::start().await;
    let mut tasks = JoinSet::new();
    let mut client = http2_client::<Empty<Bytes>>(&relay, &mut tasks).await;
    let get = || Request::get("http://gateway/").body(Empty::new()).unwrap();

    let (leaving, mut left) = {
        let (answer, upstream) = tokio::join!(soon(client.send_request(get())), async {
            let mut upstream = relay.upstream().await;
            upstream.head().await;
            upstream.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            upstream
        });
        (answer.unwrap().into_body(), upstream)
    };
    let (answer, mut upstream) = tokio::join!(soon(client.send_request(get())), async {
        let mut upstream = relay.upstream().await;
        upstream.head().await;
        upstream.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        upstream
    });
    drop(leaving);
    assert_eq!(left.rest().await, b"");

    let mut staying = answer.unwrap().into_body();
    for event in ["one", "two", "three"] {
        upstream.send_chunk(event).await;
        let frame = soon(staying.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), event);
    }
    drop(upstream);
    assert!(soon(staying.frame()).await.unwrap().is_err(), "a body that broke off looks complete");
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order() {
    let relay = Relay::start().await;
    let mut client = relay.client().await;
    client.send(format!("{GET}{}", GET.replace("GET /", "GET /second"))).await;
    for path in ["/", "/second"] {
        let mut upstream = relay.upstream().await;
        assert_eq!(upstream.head().await.start, format!("GET {path} HTTP/1.1"));
        upstream.send(OK).await;
        assert_eq!(client.head().await.status(), 200);
        assert_eq!(client.take(2).await, b"ok");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let relay = Relay::start().await;
    let mut client = relay.client().await;
    let long = "x".repeat(200 * 1024);
    client.send(format!("GET / HTTP/1.1\r\nhost: g\r\nx-long: {long}")).await;
    assert_eq!(client.head().await.status(), 431);
}

#[tokio::test]
async fn draining_lets_a_running_answer_end_and_takes_no_new_connection() {
    let mut relay = Relay::start().await;
    let mut idle = relay.client().await;
    let (mut client, mut upstream, _) = relay.begin(GET).await;
    relay.drain.cancel();
    assert_eq!(idle.rest().await, b"");
    upstream.send(OK).await;
    assert_eq!(client.head().await.status(), 200);
    assert_eq!(client.rest().await, b"ok");
    soon(relay.serving.join_next()).await.unwrap().unwrap();
    assert!(TcpStream::connect(relay.address).await.is_err());
}

#[tokio::test]
async fn draining_cuts_what_outlasts_the_grace() {
    let mut relay = Relay::with(Setup { grace: Duration::from_millis(20), ..Setup::default() }).await;
    let (mut client, mut upstream, _) = relay.begin(GET).await;
    relay.drain.cancel();
    assert_eq!(client.rest().await, b"");
    assert_eq!(upstream.rest().await, b"");
    soon(relay.serving.join_next()).await.unwrap().unwrap();
}
