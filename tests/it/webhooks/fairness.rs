//! Fairness: one slow or dead receiver delays no other.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, interval, timeout};

use super::{Got, Receiver, Reply, SECRET, section};
use crate::it::app::{Engine, Setup, TestApp, body};
use crate::it::wire::soon;

/// Receivers, of which the first ones hang and the next ones fail, and what is due at each.
const RECEIVERS: usize = 50;
const HANGING: usize = 10;
const FAILING: usize = 10;
const EACH: usize = 20;

/// In this time those that are well have all that is theirs.
const LIMIT: Duration = Duration::from_secs(2);

/// Calls that are sent side by side.
const SIDE_BY_SIDE: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    receivers_that_hang_or_fail_delay_no_other(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    receivers_that_hang_or_fail_delay_no_other(Engine::Postgres).await;
}

/// How a receiver behaves, by its number.
fn behaviour(number: usize) -> Reply {
    match number {
        ..HANGING => Reply::Hang,
        _ if number < HANGING + FAILING => Reply::status(500),
        _ => Reply::status(204),
    }
}

async fn receivers_that_hang_or_fail_delay_no_other(engine: Engine) {
    let receiver = Receiver::scripted(|got, _| behaviour(number_of(got))).await;
    let secret = format!("\"{SECRET}\"");
    let sections = (0..RECEIVERS).map(|n| section(&format!("r{n}"), &receiver.url(&format!("/{n}")), &secret));
    let file: String = sections.collect();
    // All calls share one batch, whose results come home together.
    let all = (RECEIVERS * EACH).to_string();
    let setup = Setup::on(engine).file(&file).running().set("batch.poll_min", "20ms");
    let app = setup.set("batch.linger", "1h").set("batch.max_requests", all).start().await;
    stream::iter(0..RECEIVERS * EACH)
        .for_each_concurrent(SIDE_BY_SIDE, |n| {
            let call = app.tagged(body(&format!("{n}"))).header("x-defer-callback", format!("r{}", n % RECEIVERS));
            async { drop(call.send().await.id()) }
        })
        .await;
    until_all_are_final(&app).await;

    let began = Instant::now();
    let told = timeout(LIMIT, receiver.until(|got| well(got).values().sum::<usize>() == 30 * EACH)).await;
    println!("{:?} on {engine:?}", began.elapsed());
    let told = told.unwrap_or_else(|_| panic!("after {LIMIT:?} they have {:?}", well(&receiver.got())));
    assert_eq!(well(&told).len(), RECEIVERS - HANGING - FAILING);
    assert!(well(&told).values().all(|count| *count == EACH), "each has each once");
    // Those that hang hold one place each, and have not been forgotten.
    let hanging = |number: usize| told.iter().filter(|got| number_of(got) == number).count();
    assert!((0..HANGING).all(|number| hanging(number) == 1), "{:?}", (0..HANGING).map(hanging).collect::<Vec<_>>());
}

fn number_of(got: &Got) -> usize {
    got.path[1..].parse().unwrap()
}

/// How much each of those that are well has got.
fn well(got: &[Got]) -> HashMap<usize, usize> {
    let mut counts = HashMap::new();
    for number in got.iter().map(number_of).filter(|number| *number >= HANGING + FAILING) {
        *counts.entry(number).or_default() += 1;
    }
    counts
}

async fn until_all_are_final(app: &TestApp) {
    let mut looks = interval(Duration::from_millis(20));
    let all = async {
        while app.storage().count("select count(*) from delivery").await < (RECEIVERS * EACH) as i64 {
            looks.tick().await;
        }
    };
    soon(all).await;
}
