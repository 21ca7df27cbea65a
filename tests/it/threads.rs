//! The gateway on threads of its own, as in production.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use offpeak::app::{App, Workers};
use offpeak::clock::Clock;
use offpeak::settings::{Settings, Sources};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::app::{Call, Engine, KEY, Setup, Storage, body, client, on_both_engines, variable};
use super::wire::{Wire, soon};

on_both_engines! {
    calls_are_deferred_and_answered_over_every_thread,
}

const THREADS: usize = 3;

/// So many connections that the system, which divides them by chance, leaves no thread without one.
const CLIENTS: usize = 64;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

async fn calls_are_deferred_and_answered_over_every_thread(engine: Engine) {
    let app = Setup::on(engine).threads(THREADS).start().await;
    let mut ids = Vec::new();
    for n in 0..CLIENTS {
        // Each over a connection of its own.
        let call = Call::new(&client(), Method::POST, app.gateway(), "/v1/messages").body(body(&n.to_string()));
        let call = call.header("x-api-key", KEY).header("anthropic-version", "2023-06-01").header("x-defer", "batch");
        ids.push(call.send().await.id());
    }
    app.finish().await;
    for id in &ids {
        app.get(&format!("/deferred/{id}/message")).send().await.expect(200);
    }
    app.call(body("live")).send().await.expect(200);
}

/// An app with nothing but threads, in front of an upstream that the test answers for.
async fn app_before(upstream: SocketAddr, storage: &Storage, listen: &str) -> anyhow::Result<App> {
    let url = format!("http://{upstream}");
    let given =
        [("gateway.listen", listen.to_owned()), ("admin.listen", "127.0.0.1:0".to_owned()), ("upstream.url", url)];
    let mut environment: BTreeMap<_, _> = given.into_iter().map(|(key, value)| (variable(key), value)).collect();
    environment.extend(storage.settings().map(|(key, value)| (variable(key), value)));
    let mut settings = Settings::load(&Sources { file: None, environment }).unwrap().settings;
    settings.gateway.threads = THREADS;
    App::start(settings, Clock::system(), Workers::ByHand).await
}

#[tokio::test]
async fn each_thread_has_connections_of_its_own_and_uses_them_again() {
    let (upstream, storage) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Storage::new(Engine::Sqlite).await);
    let app = app_before(upstream.local_addr().unwrap(), &storage, "127.0.0.1:0").await.unwrap();
    let calls = async {
        for _ in 0..CLIENTS {
            let mut client = Wire::connect(app.gateway).await;
            client.send("GET / HTTP/1.1\r\nhost: g\r\n\r\n").await;
            assert_eq!(client.head().await.status(), 200);
        }
    };
    let mut connections = HashSet::new();
    let answers = async {
        let mut serving = JoinSet::new();
        loop {
            let (stream, peer) = upstream.accept().await.unwrap();
            connections.insert(peer);
            let mut connection = Wire::new(stream);
            serving.spawn(async move {
                loop {
                    connection.head().await;
                    connection.send(OK).await;
                }
            });
        }
    };
    soon(async {
        tokio::select! {
            () = calls => {}
            () = answers => {}
        }
    })
    .await;
    assert_eq!(connections.len(), THREADS);
    app.drain(Duration::ZERO).await;
}

#[tokio::test]
async fn a_drain_waits_for_what_runs_on_every_thread_and_nobody_gets_in() {
    let (upstream, storage) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Storage::new(Engine::Sqlite).await);
    let app = app_before(upstream.local_addr().unwrap(), &storage, "127.0.0.1:0").await.unwrap();
    let address = app.gateway;
    let mut calls = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Wire::connect(address).await;
        client.send("GET / HTTP/1.1\r\nhost: g\r\n\r\n").await;
        let mut answering = Wire::new(soon(upstream.accept()).await.unwrap().0);
        answering.head().await;
        calls.push((client, answering));
    }
    let answers = async {
        // Until nobody is let in any more the drain has not begun.
        soon(async { while tokio::net::TcpStream::connect(address).await.is_ok() {} }).await;
        for (client, answering) in &mut calls {
            answering.send(OK).await;
            assert_eq!(client.head().await.status(), 200);
        }
    };
    soon(async { tokio::join!(app.drain(Duration::from_secs(20)), answers) }).await;
}

#[tokio::test]
async fn an_address_is_shared_with_no_other_process_and_free_after_the_app() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (storage, another) = (Storage::new(Engine::Sqlite).await, Storage::new(Engine::Sqlite).await);
    let app = app_before(upstream.local_addr().unwrap(), &storage, "127.0.0.1:0").await.unwrap();
    let address = app.gateway.to_string();
    let refused = app_before(upstream.local_addr().unwrap(), &another, &address).await.map(drop).unwrap_err();
    assert!(format!("{refused:#}").contains("gateway.listen"), "{refused:#}");
    app.drain(Duration::ZERO).await;
    app_before(upstream.local_addr().unwrap(), &another, &address).await.unwrap().drain(Duration::ZERO).await;
}

#[tokio::test]
async fn a_live_call_needs_nothing_of_the_runtime_that_works_in_the_background() {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let storage = Storage::new(Engine::Sqlite).await;
    let app = app_before(upstream.local_addr().unwrap(), &storage, "127.0.0.1:0").await.unwrap();

    // From here on nothing is awaited, so that this runtime, which is the background's, does nothing else.
    let mut client = std::net::TcpStream::connect(app.gateway).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: g\r\n\r\n").unwrap();
    let (mut answering, _) = upstream.accept().unwrap();
    answering.write_all(OK.as_bytes()).unwrap();
    let mut heard = [0; 15];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"HTTP/1.1 200 OK");
    app.drain(Duration::ZERO).await;
}
