//! The workers: a timetable of what is looked after, how often, and for how long at most.

mod supervisor;

use std::time::Duration;

use crate::announce::Announce;
use crate::deliver::Deliver;
use crate::flush::Flush;
use crate::hold::{Hold, WATCH_EVERY};
use crate::ingest::Ingest;
use crate::inventory::{Assessor, Inventory};
use crate::nudge::{Nudge, Settled};
use crate::poll::Poll;
use crate::rescue::Rescue;
use crate::retain::Retain;
use crate::savings::Spending;
use crate::store::{Departures, StoreError};

pub use supervisor::{Supervisor, Task, task};

/// What the workers work with.
#[derive(Clone)]
pub struct Crew {
    /// Builds and sends batches.
    pub flush: Flush,
    /// Asks how they are.
    pub poll: Poll,
    /// Brings their results home.
    pub ingest: Ingest,
    /// Sends live what no batch brings home in time.
    pub rescue: Rescue,
    /// Announces groups.
    pub announce: Announce,
    /// Wakes those who wait.
    pub hold: Hold,
    /// Notes which callers are gone.
    pub departures: Departures,
    /// Sends webhooks.
    pub deliver: Deliver,
    /// Records calls.
    pub inventory: Inventory,
    /// Thinks about what was recorded.
    pub assessor: Assessor,
    /// Deletes what need not be kept.
    pub retain: Retain,
    /// Keeps an eye on what is spent.
    pub spending: Spending,
}

/// What wakes a worker early.
#[derive(Clone, Debug, Default)]
pub struct Nudges {
    /// Somebody asked for a flush.
    pub flush: Nudge,
    /// A batch is to be sent.
    pub built: Nudge,
    /// A batch has ended.
    pub ended: Nudge,
    /// A call is to be sent live.
    pub rescue: Nudge,
    /// A caller is gone.
    pub departures: Nudge,
    /// Something has become final.
    pub settled: Settled,
}

/// One line of the timetable.
pub struct Worker {
    /// Its name in logs, metrics and `/readyz`.
    pub name: &'static str,
    /// It looks this often, even if nothing wakes it.
    pub period: Duration,
    /// An activation is ended after this long; what it was at is taken up by the next.
    pub limit: Duration,
    /// What wakes it early.
    pub nudge: Nudge,
    /// It is woken only after a rest of so many times what its last look took: so nudges without end do not keep it busy
    /// with nothing else than looking.
    pub rest: u32,
    /// One look: a bounded bite that says whether there may be more.
    pub task: Task<StoreError>,
}

/// Batches that are sent, and whose results are fetched, at a time by this process: one large one delays no other.
const SENDERS: [&str; 4] = ["submit-1", "submit-2", "submit-3", "submit-4"];
const INGESTERS: [&str; 2] = ["ingest-1", "ingest-2"];

/// Uploading 256 MB and reading as many results take minutes on a slow line.
const TRANSFER_LIMIT: Duration = Duration::from_secs(20 * 60);

/// Everything else is a few statements or questions.
const LOOK_LIMIT: Duration = Duration::from_secs(2 * 60);

/// How often what was seen of live calls is taken up: it is held in memory till then.
const READ_EVERY: Duration = Duration::from_millis(100);

/// How often the inventory thinks about a few workloads.
const ASSESS_EVERY: Duration = Duration::from_secs(5);

/// How often a worker looks whose nudge comes from this process alone: a batch that a dead replica held is found so.
const SWEEP: Duration = Duration::from_secs(1);

/// How soon it is known what other replicas have spent. What this one has is looked at as soon as it is written down.
const SPENDING_EVERY: Duration = Duration::from_secs(5);

/// A look at the spending reads some hours of the ledger: of the time it takes a tenth at most.
const SPENDING_REST: u32 = 9;

/// Who does what, how often.
///
/// `patience` is the shortest time for which anything is configured to wait; looking more often finds nothing.
pub fn timetable(crew: &Crew, nudges: &Nudges, patience: Duration) -> Vec<Worker> {
    let look = (patience / 2).clamp(Duration::from_millis(20), SWEEP);
    let mut workers =
        vec![
            worker("flush", look, LOOK_LIMIT, &nudges.flush, &crew.flush, |it| async move { it.build_due().await }),
            worker("reconcile", SWEEP, LOOK_LIMIT, &Nudge::default(), &crew.flush, |it| async move {
                it.reconcile_due().await
            }),
            worker("poll", look, LOOK_LIMIT, &Nudge::default(), &crew.poll, |it| async move { it.run().await }),
            worker("endangered", SWEEP, LOOK_LIMIT, &Nudge::default(), &crew.rescue, |it| async move {
                it.find_due().await
            }),
            worker(
                "rescue",
                SWEEP,
                TRANSFER_LIMIT,
                &nudges.rescue,
                &crew.rescue,
                |it| async move { it.send_due().await },
            ),
            worker("watch", WATCH_EVERY, LOOK_LIMIT, &nudges.settled.watch, &crew.hold, |it| async move {
                it.watch().await
            }),
            worker("deliver", SWEEP, LOOK_LIMIT, &nudges.settled.deliver, &crew.deliver, |it| async move {
                it.look().await
            }),
            worker("sweep", Duration::from_secs(30), LOOK_LIMIT, &Nudge::default(), &crew.hold, |it| async move {
                it.sweep().await
            }),
            worker("departures", SWEEP, LOOK_LIMIT, &nudges.departures, &crew.departures, |it| async move {
                it.write().await
            }),
            Worker {
                rest: SPENDING_REST,
                ..worker(
                    "spending",
                    SPENDING_EVERY,
                    LOOK_LIMIT,
                    &nudges.settled.spending,
                    &crew.spending,
                    |it| async move { it.look().await },
                )
            },
            worker("retain", Duration::from_secs(60), LOOK_LIMIT, &Nudge::default(), &crew.retain, |it| async move {
                it.run().await
            }),
        ];
    for name in SENDERS {
        workers.push(worker(name, SWEEP, TRANSFER_LIMIT, &nudges.built, &crew.flush, |it| async move {
            it.send_due().await
        }));
    }
    for name in INGESTERS {
        workers.push(worker(
            name,
            SWEEP,
            TRANSFER_LIMIT,
            &nudges.ended,
            &crew.ingest,
            |it| async move { it.run().await },
        ));
    }
    for worker in inventory(crew) {
        workers.push(worker);
    }
    // Behind those who make deferrals final.
    workers.push(worker("announce", SWEEP, LOOK_LIMIT, &nudges.settled.announce, &crew.announce, |it| async move {
        it.run().await
    }));
    workers
}

/// Those who keep the inventory. What they hold is written at the latest after two of their periods, and lost in a crash
/// before that.
fn inventory(crew: &Crew) -> [Worker; 4] {
    let (none, it) = (Nudge::default(), &crew.inventory);
    let assessor = &crew.assessor;
    [
        worker("inventory-read", READ_EVERY, LOOK_LIMIT, &none, it, |it| async move { it.read().await }),
        worker("inventory-write", SWEEP, LOOK_LIMIT, &none, it, |it| async move { it.write().await }),
        worker("inventory-follow", SWEEP, LOOK_LIMIT, &none, it, |it| async move { it.follow().await }),
        worker("inventory-assess", ASSESS_EVERY, LOOK_LIMIT, &none, assessor, |it| async move { it.run().await }),
    ]
}

fn worker<T, F>(
    name: &'static str,
    period: Duration,
    limit: Duration,
    nudge: &Nudge,
    it: &T,
    look: impl Fn(T) -> F + Send + Sync + 'static,
) -> Worker
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = Result<bool, StoreError>> + Send + 'static,
{
    let it = it.clone();
    Worker { name, period, limit, nudge: nudge.clone(), rest: 0, task: task(move || look(it.clone())) }
}
