//! Health: what each part last said of itself, and who is stuck.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::clock::{Clock, Timestamp};

/// A worker whose activation lasts this much longer than its time limit, or fails for as long, is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(5 * 60);

/// What the workers say of themselves. Clones share it.
#[derive(Clone, Debug)]
pub struct Health {
    clock: Clock,
    workers: Arc<Mutex<BTreeMap<&'static str, Report>>>,
}

/// What a worker last said of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// When an activation last ended well, or the worker started.
    pub last_success: Timestamp,
    /// Activations in a row that have failed since.
    pub failures: u32,
    /// How long an activation may last.
    #[serde(skip)]
    limit: Duration,
}

impl Health {
    /// Nobody has said anything.
    pub fn new(clock: Clock) -> Self {
        Self { clock, workers: Arc::default() }
    }

    /// A worker starts whose activations may last so long.
    pub fn started(&self, worker: &'static str, limit: Duration) {
        let report = Report { last_success: self.clock.now(), failures: 0, limit };
        self.lock().insert(worker, report);
    }

    /// An activation of a worker has ended, well or not.
    pub fn ended(&self, worker: &'static str, well: bool) {
        let now = self.clock.now();
        if let Some(report) = self.lock().get_mut(worker) {
            if well {
                (report.last_success, report.failures) = (now, 0);
            } else {
                report.failures = report.failures.saturating_add(1);
            }
        }
    }

    /// Every worker's last report.
    pub fn reports(&self) -> BTreeMap<&'static str, Report> {
        self.lock().clone()
    }

    /// The workers that have ended no activation well for far too long.
    pub fn stuck(&self) -> Vec<&'static str> {
        let now = self.clock.now();
        let is_stuck = |report: &Report| now.since(report.last_success) > report.limit + STUCK_AFTER;
        self.lock().iter().filter(|(_, report)| is_stuck(report)).map(|(name, _)| *name).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Report>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_stuck_when_nothing_has_ended_well_for_too_long() {
        let clock = Clock::manual(Timestamp::from_millis(0));
        let health = Health::new(clock.clone());
        health.started("poll", Duration::from_secs(60));
        clock.advance(Duration::from_secs(360));
        assert!(health.stuck().is_empty());
        health.ended("poll", false);
        clock.advance(Duration::from_secs(1));
        assert_eq!(health.stuck(), ["poll"]);
        health.ended("poll", true);
        assert!(health.stuck().is_empty());
    }
}
