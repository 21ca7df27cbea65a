//! Crashes: at each crash point in the source the process dies and is started again, and the books stay right.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::Method;
use offpeak::clock::{Clock, Timestamp};
use offpeak::simulator::{Effect, Endpoint, Fault};

use super::replica::Replica;
use super::stage::{Stage, until};
use crate::it::app::{Call, Engine, body, on_both_engines};
use crate::it::floor_plan::rust_files;

on_both_engines! { a_crash_anywhere_loses_nothing_and_repeats_nothing }

/// Calls of a story that fills one batch.
const CALLS: usize = 3;

/// Stories that run side by side; most of their time is waiting.
const SIDE_BY_SIDE: usize = 10;

/// What happens around a crash point, so that it is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    /// A batch is made, ends, and is brought home.
    Plain,
    /// The same, and each call waits for the ticket of the one before.
    Singly,
    /// The answer to its creation is lost.
    LostAnswer,
    /// Its creation is cut off before anything is made.
    NothingMade,
    /// The same, with a batch of the same size in the list that is somebody else's.
    FalseMatch,
    /// The provider asks to wait.
    Paused,
    /// The provider refuses it for its size.
    TooLarge,
    /// The provider refuses what all of its calls share.
    Refused,
    /// The deadline is near: it is sent live.
    Rescued,
    /// The same, and the provider is overloaded.
    RescuedLater,
    /// It is promoted while nobody knows whether the provider has it.
    Promoted,
    /// It is canceled before it is in a batch.
    Canceled,
    /// It is canceled when the provider has it.
    CanceledLate,
    /// Its webhook was taken, and is sent once more.
    Replayed,
    /// It is deleted after its time.
    Forgotten,
    /// A call goes ahead to warm the cache, and the others follow.
    Primed,
    /// It belongs to a group, which is closed before its first member.
    Grouped,
}

use Story::*;

/// Every crash point, and the story that passes it.
const CRASHES: [(&str, Story); 44] = [
    ("admit.commit", Plain),
    ("admit.ticket", Plain),
    ("build.wake", Plain),
    ("prime.begun", Primed),
    ("prime.over", Primed),
    ("submit.create", Plain),
    ("submit.last_bytes", Plain),
    ("submit.answered", Plain),
    ("submit.resume", Plain),
    ("submit.paused", Paused),
    ("submit.split", TooLarge),
    ("submit.failed", Refused),
    ("reconcile.listed", LostAnswer),
    ("reconcile.adopted", LostAnswer),
    ("reconcile.absent", NothingMade),
    ("poll.wake", Plain),
    ("poll.canceled", CanceledLate),
    ("ingest.confirmed", LostAnswer),
    ("ingest.mistaken", FalseMatch),
    ("ingest.chunk", Plain),
    ("ingest.settled", Plain),
    ("ingest.done", Plain),
    ("rescue.left", Rescued),
    ("rescue.call", Rescued),
    ("rescue.answered", Rescued),
    ("rescue.settled", Rescued),
    ("rescue.again", RescuedLater),
    ("promote.answer", Promoted),
    ("cancel.answer", Canceled),
    ("deliver.claimed", Plain),
    ("deliver.answered", Plain),
    ("deliver.noted", Plain),
    ("replay.answer", Replayed),
    ("retain.bodies", Forgotten),
    ("retain.batches", Forgotten),
    ("retain.lanes", Forgotten),
    ("group.closed", Grouped),
    ("group.announced", Grouped),
    ("inventory.placed", Plain),
    ("inventory.deferrals", Plain),
    // Further passages: what came before is durable by then.
    ("admit.ticket:2", Singly),
    ("submit.create:2", NothingMade),
    ("submit.answered:2", TooLarge),
    ("ingest.chunk:2", TooLarge),
];

/// A rule that lets prompts be marked.
const CACHED: &str =
    "[[rule]]\nname = \"r\"\nwhen = 'true'\naction = \"defer\"\nreply = \"ticket\"\ncache = \"auto\"\n";

/// Calls whose prompts begin with the same long text.
fn alike(number: usize) -> String {
    let system = "Be brief. ".repeat(3_000);
    body(&format!("call {number}")).replacen('{', &format!(r#"{{"system":"{system}","#), 1)
}

#[test]
fn every_crash_point_in_the_source_is_died_at() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut points = BTreeSet::new();
    for file in rust_files(&source) {
        for call in std::fs::read_to_string(file).unwrap().split("crash::point(\"").skip(1) {
            let point = call.split('"').next().unwrap().to_owned();
            assert!(points.insert(point.clone()), "{point} stands twice in the source");
        }
    }
    let died_at: BTreeSet<_> = CRASHES.iter().map(|(point, _)| point.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(points, died_at);
}

async fn a_crash_anywhere_loses_nothing_and_repeats_nothing(engine: Engine) {
    // The stages stay until all is over: this thread waits while a database is dropped, and so would the others.
    let told: Vec<(Stage, Vec<String>)> = stream::iter(CRASHES)
        .map(|(point, story)| async move {
            let mut stage = Stage::set(engine, &story.settings()).await;
            if story == Primed {
                stage.configure(CACHED);
            }
            // One that goes wrong must not hide the others.
            let faults = AssertUnwindSafe(tell(&stage, point, story)).catch_unwind().await;
            let faults = faults.unwrap_or_else(|_| vec!["it panicked".to_owned()]);
            (stage, faults.into_iter().map(|fault| format!("{point} ({story:?}): {fault}")).collect())
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await;
    let faults: Vec<String> = told.iter().flat_map(|(_, faults)| faults.clone()).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Lets a replica die at a point of a story, starts another, and says what is not right in the end.
async fn tell(stage: &Stage, point: &str, story: Story) -> Vec<String> {
    if story == FalseMatch {
        stage.foreign_batch(CALLS).await;
    }
    story.faults().into_iter().for_each(|fault| stage.simulator.inject(fault));
    if story == Forgotten {
        return tell_of_forgetting(stage, point).await;
    }
    let mut first = stage.start_armed(point).await;
    let (tickets, _second) = tokio::join!(story.play(stage), async {
        let status = first.ended().await;
        assert!(status.signal().is_some(), "it ended by itself: {status}");
        stage.close_door(&first);
        stage.start().await
    });
    let mut faults = stage.reckon(&tickets).await;
    faults.extend(story.compare(stage, point, &tickets).await);
    faults
}

/// What is old enough is deleted at the start of a replica.
async fn tell_of_forgetting(stage: &Stage, point: &str) -> Vec<String> {
    let mut first = stage.start().await;
    let tickets = stage.tickets(0..CALLS, "batch").await;
    let faults = stage.reckon(&tickets).await;
    let done = Clock::system().now();
    first.kill();
    stage.close_door(&first);
    until("it is old enough", async || is_over(done, Duration::from_secs(1))).await;
    let mut second: Replica = stage.start_armed(point).await;
    second.ended().await;
    stage.close_door(&second);
    let _third = stage.start().await;
    until("all are forgotten", async || {
        (stage.storage.count("select count(*) from deferral").await == 0).then_some(())
    })
    .await;
    assert_eq!(stage.storage.count("select count(*) from entry").await, CALLS as i64);
    assert_eq!(stage.submitted().len(), CALLS);
    faults
}

fn is_over(since: Timestamp, wait: Duration) -> Option<()> {
    (Clock::system().now() > since.plus(wait)).then_some(())
}

impl Story {
    fn settings(self) -> Vec<(&'static str, &'static str)> {
        let mut settings = vec![("defer.min_deadline", "0"), ("batch.max_requests", "3")];
        // A lane is due when it is full: all calls of a story share one batch.
        let lead = if matches!(self, Rescued | RescuedLater) { "1h" } else { "0" };
        // Those who follow a call that went ahead do not fill a batch; nor must it be sent before all of them are there.
        let linger = if self == Primed { "10s" } else { "1h" };
        settings.extend([("batch.linger", linger), ("defer.rescue_lead", lead)]);
        if self == Grouped {
            settings.push(("webhooks.allow_hosts", "127.0.0.1"));
        }
        if self == Forgotten {
            settings.push(("defer.retention", "1s"));
        }
        settings
    }

    fn faults(self) -> Vec<Fault> {
        let create = |effect| Fault::at(Endpoint::BatchCreate, effect).times(1);
        match self {
            Plain | Singly | Rescued | Canceled | Replayed | Forgotten | Grouped | Primed => vec![],
            LostAnswer => vec![create(Effect::CutAfter)],
            NothingMade | FalseMatch => vec![create(Effect::CutBefore)],
            Promoted => vec![create(Effect::Hang { worked: false })],
            Paused => vec![create(Effect::rate_limit(Some(1)))],
            TooLarge => vec![create(Effect::edge_too_large())],
            Refused => vec![create(Effect::Status {
                status: 400,
                error_type: None,
                message: Some("anthropic-beta: not for you".into()),
                retry_after: None,
                should_retry: None,
                html: None,
            })],
            CanceledLate => vec![create(Effect::BatchTime { time: Duration::from_secs(3_600) })],
            RescuedLater => vec![Fault::at(Endpoint::Messages, Effect::status(529)).times(1)],
        }
    }

    /// What the callers do; their tickets.
    async fn play(self, stage: &Stage) -> Vec<String> {
        if self == Grouped {
            let closing = format!(r#"{{"expect":{CALLS},"callback":"{}"}}"#, stage.receiver.url("/group"));
            let close = |call: &dyn Fn(Method, &str) -> Call| {
                call(Method::POST, "/deferred/groups/nightly/close").body(closing.clone())
            };
            stage.insist(close).await.expect(200);
        }
        let tickets = match self {
            Grouped => stage.tagged(0..CALLS, &[("x-defer", "batch"), ("x-defer-group", "nightly")]).await,
            Primed => stage.asked((0..CALLS).map(alike), &[]).await,
            Rescued | RescuedLater => stage.tickets(0..1, "30m").await,
            Canceled => stage.tickets(0..2, "batch").await,
            // Those that wait together are made durable together.
            Singly => stream::iter(0..CALLS).then(|call| stage.tickets(call..call + 1, "batch")).concat().await,
            _ => stage.tickets(0..CALLS, "batch").await,
        };
        let what = match self {
            Replayed => {
                let taken =
                    async || stage.storage.count("select count(*) from delivery where state = 'delivered'").await;
                until("all webhooks are taken", async || (taken().await == CALLS as i64).then_some(())).await;
                for ticket in &tickets {
                    let path = format!("/api/deliveries/{}/replay", ticket.replacen("dfr_", "dlv_", 1));
                    stage.operate(Method::POST, &path).await.expect(200);
                }
                return tickets;
            }
            Canceled => "cancel",
            CanceledLate => {
                until("the batch is known to be made", async || {
                    let made = stage.storage.count("select count(*) from batch where state = 'submitted'").await;
                    (made == 1).then_some(())
                })
                .await;
                "cancel"
            }
            Promoted => {
                until("the batch is uncertain", async || {
                    let sent = stage.storage.count("select count(*) from batch where state = 'uncertain'").await;
                    // It is that before it is sent: it must have met what is in store for it, and not leave that to the next.
                    let heard = stage.simulator.books().to(Endpoint::BatchCreate).count();
                    (sent == 1 && heard == 1).then_some(())
                })
                .await;
                "promote"
            }
            _ => return tickets,
        };
        for ticket in &tickets {
            stage.insist(|call| call(Method::POST, &format!("/deferred/{ticket}/{what}"))).await.expect(200);
        }
        tickets
    }

    /// Whether the books and the results are as this story wants them.
    async fn compare(self, stage: &Stage, point: &str, tickets: &[String]) -> Vec<String> {
        let mut faults = Vec::new();
        let mut equal = |what: &str, found: usize, wanted: std::ops::RangeInclusive<usize>| {
            if !wanted.contains(&found) {
                faults.push(format!("{what}: {found} instead of {wanted:?}"));
            }
        };
        let accepted = stage.storage.count("select count(*) from deferral").await;
        equal("calls accepted", accepted as usize, tickets.len()..=tickets.len());
        let (status, submitted, live) = match self {
            Rescued | RescuedLater => ("succeeded", 0, 1..=1),
            Canceled => ("canceled", 0, 0..=0),
            CanceledLate => ("canceled", tickets.len(), 0..=0),
            Refused => ("failed", 0, 0..=0),
            // Each leaves its batch as soon as it may, unless that was made and has ended meanwhile.
            Promoted => ("succeeded", stage.submitted().len(), 0..=tickets.len()),
            _ => ("succeeded", tickets.len(), 0..=0),
        };
        // A live call has no name by which it could be found again: one whose answer is lost is made once more.
        let live = match (self, point) {
            (_, "rescue.answered") | (RescuedLater, _) => 2..=2,
            _ => live,
        };
        equal("calls submitted", stage.submitted().len(), submitted..=submitted);
        equal("live calls", stage.simulator.books().live_calls().count(), live);
        let entries = stage.storage.count("select count(*) from entry where kind = 'answer'").await;
        let billed = if status == "succeeded" { tickets.len() } else { 0 };
        equal("entries", entries as usize, billed..=billed);
        let told = stage.storage.count("select count(*) from delivery where event = 'group.completed'").await;
        equal("groups told of", told as usize, usize::from(self == Grouped)..=usize::from(self == Grouped));
        let of_groups = stage.receiver.got().into_iter().filter(|got| got.json()["type"] == "group.completed");
        let heard: BTreeSet<String> = of_groups.map(|got| got.header("webhook-id").to_owned()).collect();
        equal("groups heard of", heard.len(), usize::from(self == Grouped)..=usize::from(self == Grouped));
        let times = if self == Replayed { 2 } else { 1 };
        for ticket in tickets {
            let told = stage.told(ticket);
            if told.len() < times || told.iter().any(|got| got.json()["type"] != format!("deferral.{status}")) {
                faults.push(format!("{ticket} was told {} times, and {times} are right", told.len()));
            }
            let shown = stage.insist(|call| call(Method::GET, &format!("/deferred/{ticket}"))).await.expect(200).json();
            if shown["status"] != status {
                faults.push(format!("{ticket} is {} instead of {status}", shown["status"]));
            }
        }
        faults
    }
}
