//! A consumer of the feed, who stops and resumes at random while replicas die: it sees each deferral once, in order.

use std::cell::Cell;

use http::Method;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use super::kills::{seed, send_and_kill};
use super::stage::{Stage, until};
use crate::it::app::Engine;

/// Lines that are asked for at a time, and seconds that are waited for one.
const LIMIT_MAX: u32 = 12;
const WAIT_MAX: u32 = 1;

/// One answer in so many is read to its end; of the others the consumer reads a few lines, and goes away.
const WHOLE_ANSWERS: u32 = 2;

#[tokio::test]
async fn a_consumer_of_one_replica_sees_each_deferral_once() {
    follow_while_replicas_die(Engine::Sqlite, 1).await;
}

#[tokio::test]
async fn a_consumer_of_three_replicas_sees_each_deferral_once() {
    follow_while_replicas_die(Engine::Postgres, 3).await;
}

async fn follow_while_replicas_die(engine: Engine, replicas: usize) {
    let stage = Stage::set(engine, &[("batch.max_requests", "5")]).await;
    let all = Cell::new(None);
    let (running, seen) = tokio::join!(
        async {
            let (tickets, running) = send_and_kill(&stage, replicas).await;
            assert_eq!(stage.reckon(&tickets).await, Vec::<String>::new());
            all.set(Some(stage.storage.count("select count(*) from feed").await as usize));
            running
        },
        Consumer::new().follow(&stage, &all),
    );
    let feed = stage.storage.numbers("select deferral_id, position from feed order by position").await;
    let feed: Vec<String> = feed.into_iter().map(|(id, _)| format!("dfr_{}", id.simple())).collect();
    assert_eq!(seen, feed);
    drop(running);
}

/// What it has seen, and where it goes on.
struct Consumer {
    random: StdRng,
    cursor: String,
    seen: Vec<String>,
}

impl Consumer {
    fn new() -> Self {
        // Not the sequence by which replicas die.
        Self { random: StdRng::seed_from_u64(seed() + 1), cursor: String::new(), seen: Vec::new() }
    }

    /// Asks until it has seen all, as soon as that number is known.
    async fn follow(mut self, stage: &Stage, all: &Cell<Option<usize>>) -> Vec<String> {
        while all.get().is_none_or(|all| self.seen.len() < all) {
            // Whoever answers, or does not: what was read counts, and the rest is asked for again.
            until("a replica gives lines, or none", async || self.ask(stage).await.then_some(())).await;
        }
        // There is no more than that.
        until("a replica answers", async || self.ask(stage).await.then_some(())).await;
        self.seen
    }

    /// Asks one replica once; whether it answered.
    async fn ask(&mut self, stage: &Stage) -> bool {
        let Some(door) = stage.door(self.random.random_range(0..100)) else { return false };
        let (limit, wait) = (self.random.random_range(1..=LIMIT_MAX), self.random.random_range(0..=WAIT_MAX));
        let mut patience =
            if self.random.random_ratio(1, WHOLE_ANSWERS) { LIMIT_MAX } else { self.random.random_range(0..limit) };
        let path = format!("/deferred/results?after={}&limit={limit}&wait={wait}", self.cursor);
        let Ok(mut answer) = stage.call(door, Method::GET, &path).open().await else { return false };
        if answer.status() != 200 {
            return false;
        }
        let mut unread = Vec::new();
        // It may break off at any byte.
        while let Ok(Some(piece)) = answer.chunk().await {
            unread.extend_from_slice(&piece);
            while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                if patience == 0 {
                    return true;
                }
                patience -= 1;
                let line: Vec<u8> = unread.drain(..=end).collect();
                self.take(&line);
            }
        }
        true
    }

    fn take(&mut self, line: &[u8]) {
        let line: Value = serde_json::from_slice(line).unwrap();
        assert!(!line["deferral"]["completed_at"].is_null(), "{line}");
        self.cursor = line["cursor"].as_str().unwrap().to_owned();
        self.seen.push(line["deferral"]["id"].as_str().unwrap().to_owned());
    }
}
