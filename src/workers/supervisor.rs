//! The supervisor: runs workers until they are cancelled. Nobody else starts anything that lives long.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::backoff;
use crate::health::Health;
use crate::telemetry::chain;
use crate::workers::Worker;

/// Waits after an activation that failed: doubling between these.
const FAILED_FIRST: Duration = Duration::from_millis(500);
const FAILED_CAP: Duration = Duration::from_secs(30);

/// A worker's look, as often as it is called.
pub type Task<E> = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<bool, E>> + Send>> + Send + Sync>;

/// A look out of a function.
pub fn task<E, F: Future<Output = Result<bool, E>> + Send + 'static>(
    look: impl Fn() -> F + Send + Sync + 'static,
) -> Task<E> {
    Arc::new(move || Box::pin(look()))
}

/// Runs workers.
#[derive(Clone, Debug)]
pub struct Supervisor {
    health: Health,
    stop: CancellationToken,
    running: TaskTracker,
}

/// How an activation ended.
enum Ended {
    /// Well, with more to do at once.
    More,
    /// Well.
    Idle,
    /// Not well.
    Failed,
}

impl Supervisor {
    /// One that runs nobody yet.
    pub fn new(health: Health) -> Self {
        Self { health, stop: CancellationToken::new(), running: TaskTracker::new() }
    }

    /// Starts a worker.
    pub fn start(&self, worker: Worker) {
        self.health.started(worker.name, worker.limit);
        self.running.spawn(self.clone().keep(worker));
    }

    /// Lets every worker end the bite that it is at, and waits for that.
    pub async fn drain(&self) {
        self.stop.cancel();
        self.running.close();
        self.running.wait().await;
    }

    async fn keep(self, worker: Worker) {
        let mut failures = 0;
        while !self.stop.is_cancelled() {
            let began = Instant::now();
            let ended = self.activate(&worker).await;
            let rest = began.elapsed().saturating_mul(worker.rest);
            let pause = match ended {
                Ended::More => {
                    failures = 0;
                    continue;
                }
                Ended::Idle => {
                    failures = 0;
                    worker.period
                }
                Ended::Failed => {
                    failures += 1;
                    backoff::exponential(failures - 1, FAILED_FIRST, FAILED_CAP)
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
                // A nudge does not cut the wait after a failure short.
                () = woken(&worker, rest), if failures == 0 => {}
            }
        }
    }

    /// One activation in a task of its own: a panic ends it, and not the worker.
    async fn activate(&self, worker: &Worker) -> Ended {
        let activation = self.running.spawn(timeout(worker.limit, (worker.task)()));
        let ended = match activation.await {
            Ok(Ok(Ok(true))) => Ended::More,
            Ok(Ok(Ok(false))) => Ended::Idle,
            Ok(Ok(Err(error))) => {
                tracing::error!(worker = worker.name, error = %chain(&error), "a worker failed");
                Ended::Failed
            }
            Ok(Err(_)) => {
                tracing::error!(worker = worker.name, "a worker took too long");
                Ended::Failed
            }
            Err(panicked) => {
                report_panic(worker.name, &panicked);
                Ended::Failed
            }
        };
        self.health.ended(worker.name, !matches!(ended, Ended::Failed));
        ended
    }
}

/// A nudge has come, be it during the rest before.
async fn woken(worker: &Worker, rest: Duration) {
    if !rest.is_zero() {
        tokio::time::sleep(rest).await;
    }
    worker.nudge.woken().await;
}

/// Without the panic's text, which may repeat what was worked on.
fn report_panic(worker: &'static str, panicked: &JoinError) {
    tracing::error!(worker, cancelled = panicked.is_cancelled(), "a worker panicked");
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::clock::Clock;
    use crate::nudge::Nudge;
    use crate::store::StoreError;

    /// A worker that counts its looks and does at each what the script says.
    fn counting(looks: &Arc<AtomicU32>, nudge: &Nudge, script: fn(u32) -> Result<bool, StoreError>) -> Worker {
        let looks = looks.clone();
        Worker {
            name: "test",
            period: Duration::from_secs(3_600),
            limit: Duration::from_secs(60),
            nudge: nudge.clone(),
            rest: 0,
            task: task(move || {
                let look = looks.fetch_add(1, Ordering::SeqCst);
                async move { script(look) }
            }),
        }
    }

    async fn until(looks: &AtomicU32, wanted: u32) {
        while looks.load(Ordering::SeqCst) < wanted {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn more_is_done_at_once_and_a_nudge_wakes() {
        let (looks, nudge) = (Arc::default(), Nudge::default());
        let supervisor = Supervisor::new(Health::new(Clock::system()));
        supervisor.start(counting(&looks, &nudge, |look| Ok(look < 3)));
        until(&looks, 4).await;
        assert_eq!(looks.load(Ordering::SeqCst), 4);
        nudge.wake();
        until(&looks, 5).await;
        supervisor.drain().await;
        assert_eq!(looks.load(Ordering::SeqCst), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_or_a_panic_ends_one_activation() {
        let (looks, nudge) = (Arc::default(), Nudge::default());
        let health = Health::new(Clock::system());
        let supervisor = Supervisor::new(health.clone());
        supervisor.start(counting(&looks, &nudge, |look| match look {
            0 => panic!("on purpose"),
            1 => Err(StoreError::Sealed),
            _ => Ok(false),
        }));
        until(&looks, 2).await;
        assert!(health.reports()["test"].failures >= 1);
        until(&looks, 3).await;
        supervisor.drain().await;
        assert_eq!(health.reports()["test"].failures, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nudges_without_end_leave_a_worker_its_rest() {
        let (looks, nudge) = (Arc::<AtomicU32>::default(), Nudge::default());
        let (counted, nudged) = (looks.clone(), nudge.clone());
        let look = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let nudge = nudged.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                nudge.wake();
                Ok(false)
            }
        };
        let supervisor = Supervisor::new(Health::new(Clock::system()));
        supervisor.start(Worker { rest: 9, task: task(look), ..counting(&looks, &nudge, |_| Ok(false)) });
        // One nudge of many is heard all the same, once the rest is over.
        tokio::time::sleep(Duration::from_secs(19)).await;
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(looks.load(Ordering::SeqCst), 2);
        supervisor.drain().await;
    }
}
