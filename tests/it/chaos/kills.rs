//! Kills: replicas die at random under load and come back, and the books stay right.
//!
//! `OFFPEAK_CHAOS_SEED` chooses when which replica dies; `OFFPEAK_CHAOS_CALLS` how long it goes on.

use std::cell::Cell;
use std::time::Duration;

use offpeak::simulator::{Effect, Endpoint, Fault};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::replica::Replica;
use super::stage::Stage;
use crate::it::app::Engine;

/// Calls of a short run.
const CALLS: usize = 60;

/// Calls that are sent side by side.
const SIDE_BY_SIDE: usize = 6;

/// A kill comes after so many requests to the provider at most, and not later than this after the one before.
const REQUESTS_MAX: usize = 6;
const CALM_MAX: Duration = Duration::from_secs(1);

/// The instant of a kill is drawn from so many milliseconds after that: chance is the point here.
const JITTER_MAX_MS: u64 = 60;

/// One create in so many loses its answer as well.
const LOST_ANSWERS: u32 = 4;

#[tokio::test]
async fn one_replica_that_is_killed_again_and_again_loses_nothing() {
    kill_under_load(Engine::Sqlite, 1).await;
}

#[tokio::test]
async fn three_replicas_that_are_killed_again_and_again_lose_nothing() {
    kill_under_load(Engine::Postgres, 3).await;
}

/// The seed of this run, said so that a failure can be repeated.
pub(super) fn seed() -> u64 {
    let seed = std::env::var("OFFPEAK_CHAOS_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    println!("OFFPEAK_CHAOS_SEED={seed}");
    seed
}

/// How many calls there are in this run.
pub(super) fn calls() -> usize {
    std::env::var("OFFPEAK_CHAOS_CALLS").map_or(CALLS, |calls| calls.parse().expect("a number"))
}

async fn kill_under_load(engine: Engine, replicas: usize) {
    let stage = Stage::set(engine, &[("batch.max_requests", "5")]).await;
    let (tickets, _running) = send_and_kill(&stage, replicas).await;
    assert_eq!(stage.reckon(&tickets).await, Vec::<String>::new());
}

/// Sends the calls of a run to so many replicas, which die at random meanwhile; the tickets, and who lives in the end.
pub(super) async fn send_and_kill(stage: &Stage, replicas: usize) -> (Vec<String>, Vec<Replica>) {
    let mut random = StdRng::seed_from_u64(seed());
    let mut running = Vec::new();
    for _ in 0..replicas {
        running.push(stage.start().await);
    }
    let is_over = Cell::new(false);
    let (tickets, ()) = tokio::join!(
        async {
            let tickets = send(stage).await;
            is_over.set(true);
            tickets
        },
        async {
            while !is_over.get() {
                if random.random_ratio(1, LOST_ANSWERS) {
                    stage.simulator.inject(Fault::at(Endpoint::BatchCreate, Effect::CutAfter).times(1));
                }
                let enough = stage.simulator.books().requests.len() + random.random_range(1..=REQUESTS_MAX);
                let busy = stage.simulator.until(|books| books.requests.len() >= enough);
                let _ = tokio::time::timeout(CALM_MAX, busy).await;
                tokio::time::sleep(Duration::from_millis(random.random_range(0..=JITTER_MAX_MS))).await;
                let victim = random.random_range(0..replicas);
                running[victim].kill();
                stage.close_door(&running[victim]);
                running[victim] = stage.start().await;
            }
        }
    );
    (tickets, running)
}

/// Sends the calls of a run, a few side by side; their tickets.
pub(super) async fn send(stage: &Stage) -> Vec<String> {
    let mut tickets = Vec::new();
    while tickets.len() < calls() {
        let next = tickets.len();
        tickets.extend(stage.tickets(next..next + SIDE_BY_SIDE, "batch").await);
    }
    tickets
}
