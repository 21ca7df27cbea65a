//! The database goes away and comes back, or is behind a pooler: nothing is lost and nothing repeated.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::kills::{seed, send};
use super::stage::Stage;
use crate::it::app::Storage;
use crate::it::postgres::{PrivateCluster, database, database_at};

/// The database goes away after so many requests to the provider at most, or after this long.
const REQUESTS_MAX: usize = 10;
const CALM_MAX: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_database_that_is_killed_mid_load_loses_nothing() {
    let mut random = StdRng::seed_from_u64(seed());
    let cluster = PrivateCluster::start();
    let stage = Stage::on(Storage::at(database_at(cluster.url()).await), &[("batch.max_requests", "5")]).await;
    let _replicas = [stage.start().await, stage.start().await];
    let is_over = Cell::new(false);
    let (tickets, ()) = tokio::join!(
        async {
            let tickets = send(&stage).await;
            is_over.set(true);
            tickets
        },
        async {
            for round in 0.. {
                let enough = stage.simulator.books().requests.len() + random.random_range(1..=REQUESTS_MAX);
                let busy = stage.simulator.until(|books| books.requests.len() >= enough);
                let _ = tokio::time::timeout(CALM_MAX, busy).await;
                // The server is gone in any case at least once in each way.
                if is_over.get() && round >= 2 {
                    break;
                }
                if round % 2 == 0 {
                    cluster.kill()
                } else {
                    cluster.crash()
                }
                cluster.resume();
            }
        }
    );
    assert_eq!(stage.reckon(&tickets).await, Vec::<String>::new());
}

#[tokio::test]
async fn two_replicas_work_through_a_pooler_in_transaction_mode() {
    let database = database().await;
    let pooled = pgbouncer(&database.url());
    let stage = Stage::on(Storage::at(database), &[("store.url", pooled.as_str()), ("batch.max_requests", "5")]).await;
    let mut replicas = [stage.start().await, stage.start().await];
    let tickets = send(&stage).await;
    assert_eq!(stage.reckon(&tickets).await, Vec::<String>::new());
    for replica in &mut replicas {
        assert_eq!(replica.errors(), Vec::<String>::new());
    }
}

/// Starts a pooler for this database that ends with this process; where it listens.
fn pgbouncer(url: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/test-pgbouncer");
    let output = Command::new(script).args([&std::process::id().to_string(), url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
