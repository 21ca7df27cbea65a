//! The load: callers who ask again as soon as they are answered, on one thread, without an HTTP library in the way.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Shape, process};
use crate::calls::Texts;

/// What is left out at the beginning: connections are made, and caches are filled.
const WARM_UP: Duration = Duration::from_millis(500);

/// What one contender came to in one round.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) answers_per_second: f64,
    pub(crate) p50_micros: f64,
    pub(crate) first_micros: f64,
    pub(crate) lag_p50_micros: f64,
    pub(crate) lag_p99_micros: f64,
    pub(crate) cpu_micros: f64,
    answers: u64,
}

/// Nanoseconds of the clock that all processes share.
#[expect(
    clippy::disallowed_methods,
    reason = "the upstream and the load are two processes, and must mean the same instant"
)]
pub(crate) fn nanos() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// How the load asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Each connection asks again as soon as it is answered.
    AtOnce,
    /// The same beside other work, which does not keep the load from a core.
    Urgently,
    /// So many calls a second, whether or not earlier ones have been answered, as far as connections are free: a call's time
    /// counts from when it was due.
    PerSecond(u32),
}

/// Puts a proxy under load from a process of its own, and adds what the proxy took of its core.
pub(crate) async fn run(
    address: SocketAddr,
    proxy: Option<u32>,
    shape: Shape,
    connections: usize,
    time: Duration,
    manner: Manner,
) -> anyhow::Result<Measured> {
    let per_second = if let Manner::PerSecond(calls) = manner { calls } else { 0 };
    let mut child = process::this_program(["load", &address.to_string(), shape.name()]);
    child.env("BENCH_CONNECTIONS", connections.to_string()).env("BENCH_MILLIS", time.as_millis().to_string());
    child.env("BENCH_PER_SECOND", per_second.to_string());
    child.env("BENCH_URGENT", u8::from(manner == Manner::Urgently).to_string());
    let mut child = tokio::process::Command::from(child).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    tokio::time::sleep(WARM_UP).await;
    let before = proxy.map(process::cpu_micros).transpose()?;
    tokio::time::sleep(time).await;
    let after = proxy.map(process::cpu_micros).transpose()?;
    let mut text = String::new();
    child.stdout.take().context("no output")?.read_to_string(&mut text).await?;
    ensure!(child.wait().await?.success(), "the load failed");
    let mut measured: Measured = serde_json::from_str(&text)?;
    if let Some((before, after)) = before.zip(after) {
        measured.cpu_micros = (after - before) / measured.answers as f64;
    }
    Ok(measured)
}

/// What the process that makes the load does.
pub(crate) async fn child(address: &str, shape: &str) -> anyhow::Result<()> {
    let (address, shape) = (address.parse()?, Shape::parse(shape).context("no such shape")?);
    let number = |name: &str| anyhow::Ok(std::env::var(name)?.parse::<u64>()?);
    let (connections, time) = (number("BENCH_CONNECTIONS")?, Duration::from_millis(number("BENCH_MILLIS")?));
    let texts = (shape == Shape::Defer).then(Texts::new).transpose()?;
    let (start, per_second) = (Instant::now(), number("BENCH_PER_SECOND").unwrap_or(0));
    let begin = start + WARM_UP;
    let mut callers = JoinSet::new();
    for caller in 0..connections as usize {
        let body = texts.as_ref().map_or_else(prompt, |texts| texts.prompt(caller).text.clone());
        let request = request(address, shape, &body);
        let pace = (per_second > 0).then(|| {
            let between = Duration::from_secs(connections).div_f64(per_second as f64);
            (start + between.mul_f64(caller as f64 / connections as f64), between)
        });
        callers.spawn(call_again_and_again(address, shape, request, begin, begin + time, pace));
    }
    if number("BENCH_URGENT")? == 1 {
        process::make_urgent();
    }
    let mut seen = Seen::default();
    while let Some(caller) = callers.join_next().await {
        seen.add(caller??);
    }
    crate::comparison::say(&serde_json::to_string(&seen.measured(time))?);
    Ok(())
}

/// Asks once on each of so many connections, and looks when all have been answered at least in part.
pub(crate) async fn hold<T>(
    address: SocketAddr,
    shape: Shape,
    connections: usize,
    look: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request(address, shape, &prompt()).as_bytes()).await?;
        let mut buffer = [0; 4_096];
        ensure!(stream.read(&mut buffer).await? > 0, "a connection was cut");
        open.push(stream);
    }
    look()
}

/// Sends one call with a body of so many bytes, and waits for the answer.
pub(crate) async fn send_long(address: SocketAddr, bytes: usize) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = request(address, Shape::Json, &prompt());
    let (head, _) = request.split_once("content-length").context("a head with a length")?;
    stream.write_all(format!("{head}content-length: {bytes}\r\n\r\n").as_bytes()).await?;
    let piece = vec![b'x'; 100_000];
    for _ in 0..bytes / piece.len() {
        stream.write_all(&piece).await?;
    }
    let mut buffer = [0; 4_096];
    ensure!(stream.read(&mut buffer).await? > 0, "the connection was cut");
    ensure!(buffer.starts_with(b"HTTP/1.1 200"), "the body was not taken");
    Ok(())
}

#[derive(Default)]
struct Seen {
    answers: u64,
    micros: Vec<u32>,
    first_micros: Vec<u32>,
    lag_micros: Vec<u32>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.answers += other.answers;
        self.micros.extend(other.micros);
        self.first_micros.extend(other.first_micros);
        self.lag_micros.extend(other.lag_micros);
    }

    fn measured(mut self, time: Duration) -> Measured {
        Measured {
            answers_per_second: self.answers as f64 / time.as_secs_f64(),
            p50_micros: percentile(&mut self.micros, 50),
            first_micros: percentile(&mut self.first_micros, 50),
            lag_p50_micros: percentile(&mut self.lag_micros, 50),
            lag_p99_micros: percentile(&mut self.lag_micros, 99),
            cpu_micros: 0.0,
            answers: self.answers,
        }
    }
}

fn percentile(figures: &mut [u32], percent: usize) -> f64 {
    figures.sort_unstable();
    figures.get(figures.len() * percent / 100).copied().unwrap_or(0).into()
}

/// A body of 1 KB.
fn prompt() -> String {
    let text = "x".repeat(930);
    format!(r#"{{"model":"claude-haiku-4-5","max_tokens":64,"messages":[{{"role":"user","content":"{text}"}}]}}"#)
}

fn request(address: SocketAddr, shape: Shape, body: &str) -> String {
    let tag = if shape == Shape::Defer { "x-defer: batch\r\n" } else { "" };
    // The path tells the upstream what to do, and the gateway that this is a call.
    format!(
        "POST /v1/messages?shape={} HTTP/1.1\r\nhost: {address}\r\nx-api-key: sk-ant-api03-0123456789\r\n\
         anthropic-version: 2023-06-01\r\ncontent-type: application/json\r\naccept: application/json\r\n\
         accept-encoding: identity\r\nuser-agent: Anthropic/Python 2.12.0\r\nx-stainless-lang: python\r\n\
         x-stainless-retry-count: 0\r\n{tag}content-length: {}\r\n\r\n{body}",
        shape.name(),
        body.len()
    )
}

async fn call_again_and_again(
    address: SocketAddr,
    shape: Shape,
    request: String,
    begin: Instant,
    end: Instant,
    mut pace: Option<(Instant, Duration)>,
) -> anyhow::Result<Seen> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut seen, mut buffer) = (Seen::default(), Vec::with_capacity(32_768));
    loop {
        let asked = match &mut pace {
            None => Instant::now(),
            Some((due, between)) => {
                let was_due = std::mem::replace(due, *due + *between);
                if was_due > Instant::now() {
                    // That the timer is coarse is no fault of who is asked.
                    tokio::time::sleep_until(was_due.into()).await;
                    Instant::now()
                } else {
                    was_due
                }
            }
        };
        if asked >= end {
            return Ok(seen);
        }
        stream.write_all(request.as_bytes()).await?;
        buffer.clear();
        let (mut first, mut scanned) = (None, 0);
        loop {
            ensure!(stream.read_buf(&mut buffer).await? > 0, "the connection was closed");
            if !has_length(shape) {
                note_lags(&buffer, &mut scanned, asked >= begin, &mut seen.lag_micros);
                first = first.or_else(|| (scanned > 0).then(|| asked.elapsed()));
            }
            if is_whole(&buffer, shape) {
                break;
            }
        }
        if asked >= begin {
            seen.answers += 1;
            seen.micros.push(asked.elapsed().as_micros() as u32);
            seen.first_micros.extend(first.map(|first| first.as_micros() as u32));
        }
    }
}

/// Whether its answers say how long they are, rather than being streams.
fn has_length(shape: Shape) -> bool {
    matches!(shape, Shape::Json | Shape::Defer)
}

fn is_whole(buffer: &[u8], shape: Shape) -> bool {
    if !has_length(shape) {
        return buffer.ends_with(b"\r\n0\r\n\r\n");
    }
    let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let text = std::str::from_utf8(&buffer[..head]).unwrap_or_default();
    assert!(text.starts_with("HTTP/1.1 20"), "{text}");
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| buffer.len() >= head + 4 + length)
}

/// How long ago each event left that came with the last read.
fn note_lags(buffer: &[u8], scanned: &mut usize, counts: bool, lags: &mut Vec<u32>) {
    const MARK: &[u8] = b"\"t\":\"";
    let now = nanos();
    while let Some(at) = buffer[*scanned..].windows(MARK.len()).position(|mark| mark == MARK) {
        let begin = *scanned + at + MARK.len();
        let Some(digits) = buffer.get(begin..begin + 20) else { return };
        let sent: u64 = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).unwrap_or(now);
        if counts {
            lags.push((now.saturating_sub(sent) / 1_000) as u32);
        }
        *scanned = begin + 20;
    }
}
