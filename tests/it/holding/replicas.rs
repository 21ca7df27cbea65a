//! Replicas: a result wakes whoever waits for it, wherever it came in.

use std::collections::HashMap;
use std::time::Instant;

use futures_util::future::join_all;
use http::Method;
use offpeak::clock::Clock;
use offpeak::simulator::{self, Simulator};
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::*;
use crate::it::app::Storage;
use crate::it::child::{Gateway, serve};

/// Callers of each replica.
const CALLERS: usize = 200;

/// How soon after the commit nearly all of them must have heard: a fifth of it where the machine is not shared.
const WAKE_LIMIT: Duration = Duration::from_millis(500);

/// Of a hundred callers this many count.
const PERCENT: usize = 99;

async fn replica(storage: &Storage, simulator: &Simulator) -> Gateway {
    let settings = [("batch.linger", "1d"), ("batch.poll_min", "50ms"), ("batch.max_requests", "150")];
    let gateway = Gateway::start(serve(storage, &simulator.url(), &settings)).await;
    gateway.until_ready().await;
    gateway
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_wakes_its_caller_on_any_replica_at_once() {
    let simulator = Simulator::start(simulator::Settings::default(), Clock::system()).await.unwrap();
    let storage = Storage::new(Engine::Postgres).await;
    let replicas = [replica(&storage, &simulator).await, replica(&storage, &simulator).await];
    let mut callers = Vec::new();
    for (number, gateway) in replicas.iter().enumerate() {
        for caller in 0..CALLERS {
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            let prompt = body(&format!("{number} {caller}"));
            let call = on_the_wire(&prompt, "x-defer-wait: 4m\r\nconnection: close\r\n");
            stream.write_all(call.as_bytes()).await.unwrap();
            callers.push((number, stream));
        }
    }
    let durable = async {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        while storage.count("select count(*) from deferral").await < callers.len() as i64 {
            looks.tick().await;
        }
    };
    soon(durable).await;

    let mut watching = JoinSet::new();
    let (_, url) = storage.settings().find(|(name, _)| *name == "store.url").unwrap();
    watching.spawn(commits(url, callers.len()));
    replicas[0].operator(Method::POST, "/api/flush").send().await.expect(202);
    let heard = soon(join_all(callers.into_iter().map(|(number, caller)| hear(number, caller)))).await;
    let commits = soon(watching.join_next()).await.unwrap().unwrap();
    for number in 0..replicas.len() {
        let of_replica = heard.iter().filter(|heard| heard.0 == number);
        let mut waits: Vec<_> = of_replica.map(|(_, id, at)| at.saturating_duration_since(commits[id])).collect();
        waits.sort();
        let (middle, most) = (waits[waits.len() / 2], waits[waits.len() * PERCENT / 100]);
        println!("replica {number}: half of {} woke within {middle:?}, {PERCENT}% within {most:?}", waits.len());
        assert!(most < WAKE_LIMIT, "{most:?}");
    }
}

#[tokio::test]
async fn whoever_was_held_by_a_replica_that_goes_attaches_at_another() {
    let simulator = Simulator::start(simulator::Settings::default(), Clock::system()).await.unwrap();
    let storage = Storage::new(Engine::Postgres).await;
    let (mut dying, mut ending, staying) =
        (replica(&storage, &simulator).await, replica(&storage, &simulator).await, replica(&storage, &simulator).await);
    // Two of each, who cannot be told apart.
    let mut callers = Vec::new();
    for gateway in [&dying, &dying, &ending, &ending] {
        let mut caller = Wire::connect(gateway.address).await;
        caller.send(on_the_wire(&streamed("Hi"), "x-stainless-retry-count: 0\r\n")).await;
        let id = caller.head().await.get("x-defer-id").unwrap().to_owned();
        callers.push((caller, id));
    }
    dying.kill();
    ending.terminate();
    assert_eq!(ending.ended().await.code(), Some(0), "{}", ending.log());
    let mut ids = Vec::new();
    for (mut caller, id) in callers {
        assert!(!caller.rest().await.ends_with(b"0\r\n\r\n"), "what breaks off looks complete");
        ids.push(id);
    }

    let mut retries = Vec::new();
    for _ in &ids {
        let mut retry = Wire::connect(staying.address).await;
        retry.send(on_the_wire(&streamed("Hi"), "x-stainless-retry-count: 1\r\nconnection: close\r\n")).await;
        let id = retry.head().await.get("x-defer-id").unwrap().to_owned();
        retries.push((retry, id));
    }
    let mut attached: Vec<_> = retries.iter().map(|(_, id)| id.clone()).collect();
    attached.sort();
    ids.sort();
    assert_eq!(attached, ids, "one each");
    staying.operator(Method::POST, "/api/flush").send().await.expect(202);
    for (mut retry, _) in retries {
        let text = String::from_utf8(retry.rest().await).unwrap();
        assert!(text.contains("event: message_stop"), "{text}");
    }
    assert_eq!(simulator.books().items().count(), ids.len());
}

/// When each outcome could be seen first by somebody else.
async fn commits(url: String, all: usize) -> HashMap<Uuid, Instant> {
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut seen = HashMap::new();
    while seen.len() < all {
        let ids: Vec<Uuid> =
            sqlx::query_scalar("select deferral_id from outcome").fetch_all(&mut connection).await.unwrap();
        let now = Instant::now();
        for id in ids {
            seen.entry(id).or_insert(now);
        }
    }
    connection.close().await.unwrap();
    seen
}

/// What a caller waited for, and when the first byte came.
async fn hear(number: usize, mut caller: TcpStream) -> (usize, Uuid, Instant) {
    let first = caller.read_u8().await.unwrap();
    let at = Instant::now();
    let mut rest = String::from(char::from(first));
    caller.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 200 OK"), "{rest}");
    let (_, id) = rest.split_once("x-defer-id: dfr_").unwrap();
    (number, id[..32].parse().unwrap(), at)
}
