//! How often the signals are right: many small workloads of each kind, no two alike.

use offpeak::domain::record::CallRecord;
use offpeak::inventory::{Assessment, SignalKind, Verdict};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::month::arrivals::{at_random, bursts, clock, drain_slowly};
use super::month::job::{JOB, Job};
use super::month::people::{Chat, agents, chats, searches, tasks_at_work};
use super::month::{DAY, DAYS, HOUR, MINUTE, SECOND, START, window};
use super::thought::{assessed, without_shape};

/// Workloads of each kind.
const EACH: u64 = 16;

const KINDS: [Kind; 7] = [
    Kind { name: "cron", can_wait: true, make: cron },
    Kind { name: "cron, and run by hand", can_wait: true, make: cron_and_by_hand },
    Kind { name: "queue", can_wait: true, make: queue },
    Kind { name: "chat", can_wait: false, make: chat },
    Kind { name: "questions", can_wait: false, make: questions },
    Kind { name: "agents", can_wait: false, make: agent },
    Kind { name: "as they please", can_wait: false, make: as_they_please },
];

#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    can_wait: bool,
    make: fn(&mut StdRng) -> Vec<CallRecord>,
}

#[test]
fn candidates_schedules_and_queues_are_told_from_people() {
    let judged = judge(|call| call.clone());
    let candidates = Counted::of(&judged, |kind| kind.can_wait, is_candidate);
    // What a job does within its bursts is a queue as well, and what agents do may begin by the clock.
    let of = |names: &'static [&str]| -> Vec<_> {
        judged.iter().filter(|(kind, _)| names.contains(&kind.name)).cloned().collect()
    };
    let has = |wanted| move |found: &Assessment| found.signals.iter().any(|signal| signal.kind == wanted);
    let schedules = of(&["cron", "cron, and run by hand", "chat", "questions", "as they please"]);
    let schedules = Counted::of(&schedules, |kind| kind.name.starts_with("cron"), has(SignalKind::Schedule));
    let queues = of(&["queue", "chat", "questions", "as they please"]);
    let queues = Counted::of(&queues, |kind| kind.name == "queue", has(SignalKind::Queue));
    println!("candidates: {candidates}\nschedules: {schedules}\nqueues: {queues}");
    assert!(candidates.precision() >= 0.99 && candidates.recall() >= 0.97, "{candidates}\n{}", wrong(&judged));
    assert!(schedules.precision() >= 0.99 && schedules.recall() >= 0.95, "{schedules}\n{}", told(&judged));
    assert!(queues.precision() >= 0.99 && queues.recall() >= 0.95, "{queues}\n{}", told(&judged));
}

#[test]
fn candidates_are_right_where_shapes_are_not_known() {
    let judged = judge(without_shape);
    let candidates = Counted::of(&judged, |kind| kind.can_wait, is_candidate);
    println!("candidates without shapes: {candidates}");
    assert!(candidates.precision() >= 0.99 && candidates.recall() >= 0.7, "{candidates}\n{}", wrong(&judged));
}

fn is_candidate(assessment: &Assessment) -> bool {
    assessment.verdict == Verdict::Candidate
}

/// How often something was found where it was, and where it was not.
#[derive(Default)]
struct Counted {
    right: usize,
    wrong: usize,
    missed: usize,
}

impl Counted {
    fn of(judged: &[(Kind, Assessment)], is: impl Fn(&Kind) -> bool, found: impl Fn(&Assessment) -> bool) -> Self {
        let mut counted = Self::default();
        for (kind, assessment) in judged {
            match (is(kind), found(assessment)) {
                (true, true) => counted.right += 1,
                (false, true) => counted.wrong += 1,
                (true, false) => counted.missed += 1,
                (false, false) => {}
            }
        }
        counted
    }

    fn precision(&self) -> f64 {
        self.right as f64 / (self.right + self.wrong).max(1) as f64
    }

    fn recall(&self) -> f64 {
        self.right as f64 / (self.right + self.missed).max(1) as f64
    }
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { right, wrong, missed } = self;
        let (precision, recall) = (self.precision() * 100.0, self.recall() * 100.0);
        write!(f, "precision {precision:.1} %, recall {recall:.1} % ({right} right, {wrong} wrong, {missed} missed)")
    }
}

fn judge(seen: impl Fn(&CallRecord) -> CallRecord) -> Vec<(Kind, Assessment)> {
    let mut judged = Vec::new();
    for (number, kind) in KINDS.into_iter().enumerate() {
        for seed in 0..EACH {
            let mut random = StdRng::seed_from_u64(seed * 100 + number as u64);
            let mut calls: Vec<_> = (kind.make)(&mut random).iter().map(&seen).collect();
            calls.retain(|call| window().from <= call.at && call.at < window().to);
            calls.sort_by_key(|call| call.at);
            calls.iter_mut().for_each(|call| call.workload = format!("{}-{seed}", kind.name));
            judged.extend(assessed(&calls).into_iter().map(|(_, assessment)| (kind, assessment)));
        }
    }
    judged
}

/// What was seen of each, for whoever has to find out why.
fn told(judged: &[(Kind, Assessment)]) -> String {
    let evidence = |found: &Assessment| -> Vec<_> {
        found.signals.iter().filter(|signal| signal.is_of_a_machine()).map(|signal| signal.evidence.clone()).collect()
    };
    let lines: Vec<_> = judged.iter().map(|(kind, found)| format!("{}: {:?}", kind.name, evidence(found))).collect();
    lines.join("\n")
}

/// What was judged wrongly, for whoever has to find out why.
fn wrong(judged: &[(Kind, Assessment)]) -> String {
    let is_wrong =
        |(kind, assessment): &&(Kind, Assessment)| kind.can_wait != (assessment.verdict == Verdict::Candidate);
    let lines: Vec<_> = judged
        .iter()
        .filter(is_wrong)
        .map(|(kind, assessment)| format!("{}: {:?} {:#?}", kind.name, assessment.vetoes, assessment.parts))
        .collect();
    lines.join("\n")
}

fn job(random: &mut StdRng) -> Job {
    let answer = random.random_range(20..400);
    Job {
        prefix: random.random_range(100..4_000),
        answer: (answer, answer * random.random_range(2..5)),
        stream: random.random_bool(0.3),
        ..JOB
    }
}

fn cron(random: &mut StdRng) -> Vec<CallRecord> {
    let periods = [5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 6 * HOUR, 12 * HOUR, DAY];
    let period = periods[random.random_range(0..periods.len())];
    let jitter = random.random_range(0..=(period / 4).min(6 * MINUTE));
    let offset = random.random_range(0..period);
    let times = clock(random, period, offset, jitter);
    let most = 1 + 3_000 / times.len() as u64;
    let (most, workers) = (random.random_range(1..=most.min(40)), random.random_range(1..6));
    let job = job(random);
    bursts(random, &job, &times, (1.max(most / 2), most), workers)
}

fn cron_and_by_hand(random: &mut StdRng) -> Vec<CallRecord> {
    let mut calls = cron(random);
    let a_day = calls.len() as f64 / DAYS as f64 * random.random_range(0.02..0.15);
    let job = job(random);
    calls.extend(at_random(random, &job, a_day));
    calls
}

fn queue(random: &mut StdRng) -> Vec<CallRecord> {
    let workers = random.random_range(1..=16);
    let slowest = random.random_range(10..=60 * workers.min(3));
    let job = Job { answer: (200, 800), ..job(random) };
    let stretches = random.random_range(1..20);
    let mut calls = Vec::new();
    for _ in 0..stretches {
        let begin = START + random.random_range(0..DAYS * DAY);
        calls.extend(drain_slowly(random, &job, begin, (1_500 / stretches, workers as usize), (2, slowest)));
    }
    calls
}

fn chat(random: &mut StdRng) -> Vec<CallRecord> {
    let chat = Chat {
        noons: if random.random_bool(0.3) { &[3, 11, 19] } else { &[13] },
        a_day: random.random_range(3.0..15.0),
        turns: random.random_range(3..10),
        leave: random.random_range(0.0..0.04),
        read_slowly: random.random_range(0.0..0.4),
    };
    let job = Job { stream: random.random_bool(0.8), ..job(random) };
    chats(random, &job, chat)
}

fn questions(random: &mut StdRng) -> Vec<CallRecord> {
    let job = Job { stream: random.random_bool(0.5), ..job(random) };
    let (noon, a_day) = (random.random_range(0..24), random.random_range(5.0..70.0));
    searches(random, &job, noon, a_day)
}

fn agent(random: &mut StdRng) -> Vec<CallRecord> {
    let begins = match random.random_range(0..3) {
        0 => clock(random, DAY, 2 * HOUR, MINUTE),
        1 => clock(random, HOUR, 0, 20 * SECOND),
        _ => tasks_at_work(random, 12, 5.0),
    };
    let steps = (random.random_range(3..6), random.random_range(6..12));
    let job = Job { tools: 9, ..job(random) };
    agents(random, &job, &begins, steps)
}

fn as_they_please(random: &mut StdRng) -> Vec<CallRecord> {
    let (job, a_day) = (job(random), random.random_range(5.0..120.0));
    at_random(random, &job, a_day)
}
