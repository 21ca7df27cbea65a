//! A crowd: thousands who wait at a time take little memory, and all of them are woken.

use std::process::Command;
use std::time::Instant;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use http::Method;
use offpeak::clock::Clock;
use offpeak::simulator::{self, Simulator};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::it::app::Storage;
use crate::it::child::{Gateway, serve};
use crate::it::memory::memory;

/// What one held connection may take of the process's memory.
const BYTES_PER_CALLER: u64 = 20_000;

/// What was needed to take a crowd in is given back within seconds, as long as anything goes on: memory is looked at this
/// often, with a request each time. So many looks without less, and it takes no less.
const LOOK_AT_MEMORY_EVERY: Duration = Duration::from_millis(50);
const LOOKS_WITHOUT_LESS: u32 = 40;

/// Callers of whom the memory is not counted: what serves the first serves all.
const FIRST: usize = 1_000;

/// Callers who connect at a time: no more than the system keeps waiting to be accepted.
const CONNECTING: usize = 100;

/// How long a crowd may take to gather, and to be served.
const LIMIT: Duration = Duration::from_mins(4);

/// How long memory may take to be given back.
const MEMORY_LIMIT: Duration = Duration::from_mins(1);

/// Files that a process may have open besides a connection for each caller.
const OTHER_FILES: usize = 500;

/// What a process may have open as it begins: fewer than there are callers.
const USUAL_FILES: usize = 512;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_wait_in_little_memory() {
    wait_together(1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a while: make soak"]
async fn ten_thousand_callers_wait_in_little_memory() {
    wait_together(10_000).await;
}

/// The gateway is started with the usual limit, and has to raise it itself.
async fn wait_together(callers: usize) {
    let files = FIRST + callers + OTHER_FILES;
    limit_files(&format!("{files}:{files}"));
    let simulator = Simulator::start(simulator::Settings::default(), Clock::system()).await.unwrap();
    let storage = Storage::new(Engine::Sqlite).await;
    let settings = [("batch.linger", "1d"), ("batch.poll_min", "50ms")];
    limit_files(&format!("{USUAL_FILES}:{files}"));
    let gateway = Gateway::start(serve(&storage, &simulator.url(), &settings)).await;
    limit_files(&format!("{files}:{files}"));
    gateway.until_ready().await;

    let mut crowd = gather(&gateway, 0..FIRST).await;
    let few = least_memory(&gateway, 0).await;
    crowd.extend(gather(&gateway, FIRST..FIRST + callers).await);
    let many = least_memory(&gateway, few + BYTES_PER_CALLER * callers as u64).await;
    let each = many.saturating_sub(few) / callers as u64;
    println!("{callers} callers take {each} bytes each: {few} with {FIRST}, {many} with all");

    let began = Instant::now();
    gateway.operator(Method::POST, "/api/flush").send().await.expect(202);
    let served = tokio::time::timeout(LIMIT, join_all(crowd.into_iter().map(answer))).await.expect("all are served");
    println!("all were served {:?} after the flush", began.elapsed());
    assert_eq!(served.len(), callers + FIRST);
    for answer in served {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK") && body.contains("msg_"), "{answer}");
    }
}

/// Callers who wait in each of the ways, once all of them are held.
async fn gather(gateway: &Gateway, numbers: std::ops::Range<usize>) -> Vec<TcpStream> {
    let all = numbers.end as i64;
    let callers = stream::iter(numbers).map(|number| async move {
        let mut caller = TcpStream::connect(gateway.address).await.unwrap();
        let prompt = format!("{number} {}", "word ".repeat(200));
        let (text, wait) = match number % 3 {
            0 => (body(&prompt), "deadline"),
            1 => (body(&prompt), "4m"),
            _ => (streamed(&prompt), "deadline"),
        };
        let call = on_the_wire(&text, &format!("x-defer-wait: {wait}\r\nconnection: close\r\n"));
        caller.write_all(call.as_bytes()).await.unwrap();
        caller
    });
    let callers = callers.buffer_unordered(CONNECTING).collect().await;
    let held = async {
        let mut looks = tokio::time::interval(Duration::from_millis(100));
        loop {
            looks.tick().await;
            let metrics = gateway.operator(Method::GET, "/metrics").send().await.expect(200);
            let held = metrics.text().lines().filter_map(|line| line.strip_prefix("offpeak_held_connections{"));
            let held: i64 = held.map(|line| line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap()).sum();
            if held == all {
                break;
            }
        }
    };
    tokio::time::timeout(LIMIT, held).await.expect("all are held");
    callers
}

/// What the gateway takes once that is little enough; with nothing being so, once it takes no less.
async fn least_memory(gateway: &Gateway, enough: u64) -> u64 {
    let settled = async {
        let mut looks = tokio::time::interval(LOOK_AT_MEMORY_EVERY);
        let (mut least, mut without_less) = (u64::MAX, 0);
        while least >= enough && (enough > 0 || without_less < LOOKS_WITHOUT_LESS) {
            looks.tick().await;
            gateway.get("/healthz").send().await.expect(200);
            gateway.operator(Method::GET, "/metrics").send().await.expect(200);
            let now = memory(gateway, "VmRSS");
            without_less = if now < least { 0 } else { without_less + 1 };
            least = least.min(now);
        }
        least
    };
    tokio::time::timeout(MEMORY_LIMIT, settled).await.expect("it takes little in the end")
}

async fn answer(mut caller: TcpStream) -> String {
    let mut heard = Vec::new();
    caller.read_to_end(&mut heard).await.unwrap();
    String::from_utf8(heard).unwrap()
}

/// Sets how many files this process, and those that it starts, may have open: as they begin, and at most.
fn limit_files(limits: &str) {
    let set = Command::new("prlimit")
        .args(["--pid", &std::process::id().to_string(), &format!("--nofile={limits}")])
        .status()
        .unwrap();
    assert!(set.success(), "this needs a limit of {limits} open files");
}
