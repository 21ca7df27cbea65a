//! HTTP/2: many calls held on one connection.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::*;

type Client = http2::SendRequest<Full<Bytes>>;

async fn connect(app: &TestApp, tasks: &mut JoinSet<()>) -> Client {
    let stream = TcpStream::connect(app.gateway()).await.unwrap();
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tasks.spawn(async { drop(connection.await) });
    client
}

fn call(text: String, wait: &str) -> Request<Full<Bytes>> {
    Request::post("http://gateway/v1/messages")
        .header("x-api-key", KEY)
        .header("anthropic-version", "2023-06-01")
        .header("x-defer", "batch")
        .header("x-defer-wait", wait)
        .body(Full::new(text.into()))
        .unwrap()
}

#[tokio::test]
async fn each_way_of_holding_works_and_interim_answers_become_blanks() {
    let app = setup(Engine::Sqlite).set("defer.keepalive", "interim").start().await;
    let mut tasks = JoinSet::<()>::new();
    let mut client = connect(&app, &mut tasks).await;
    let silent = client.send_request(call(body("silent"), SHORT));
    let blanks = soon(client.send_request(call(body("blanks"), LONG))).await.unwrap();
    let stream = soon(client.send_request(call(streamed("stream"), LONG))).await.unwrap();
    let fails = soon(client.send_request(call(body("[error:permission_error]"), LONG))).await.unwrap();
    for answer in [&blanks, &stream, &fails] {
        assert_eq!(answer.status(), 200);
    }
    let mut blanks = blanks.into_body();
    assert_eq!(soon(blanks.frame()).await.unwrap().unwrap().into_data().unwrap(), " ");
    let mut stream = stream.into_body();
    assert!(soon(stream.frame()).await.unwrap().unwrap().into_data().unwrap().starts_with(b"event: ping\n"));

    app.until_held(4).await;
    app.finish().await;
    assert_eq!(soon(silent).await.unwrap().status(), 200);
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let blanks = text(soon(blanks.collect()).await.unwrap().to_bytes());
    assert!(blanks.trim_start().starts_with('{') && blanks.contains("msg_"), "{blanks}");
    let stream = text(soon(stream.collect()).await.unwrap().to_bytes());
    assert!(stream.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"), "{stream}");
    assert!(soon(fails.into_body().collect()).await.is_err(), "what is cut looks complete");
}

#[tokio::test]
async fn one_who_resets_his_stream_is_gone_and_the_others_stay() {
    let app = setup(Engine::Sqlite).start().await;
    let mut tasks = JoinSet::<()>::new();
    let mut client = connect(&app, &mut tasks).await;
    let leaving = soon(client.send_request(call(body("leaving"), LONG))).await.unwrap();
    let staying = soon(client.send_request(call(body("staying"), LONG))).await.unwrap();
    drop(leaving);
    app.until_held(1).await;
    app.until_gone(1).await;
    app.finish().await;
    assert!(soon(staying.into_body().collect()).await.is_ok());
}
