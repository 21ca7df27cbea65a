//! The roster: the forty workloads of the month.

use offpeak::domain::record::CallRecord;
use rand::rngs::StdRng;

use super::Truth::{self, CanWait, Either, MustNotWait};
use super::arrivals::{at_random, bursts, clock, drain, looping};
use super::job::{JOB, Job};
use super::people::{Chat, agents, chats, impatient, searches, tasks_at_work, typing};
use super::{DAY, DAYS, HOUR, MINUTE, SECOND, START};

/// A workload's name, its truth, and how its calls come about.
pub(super) type Entry = (&'static str, Truth, fn(&mut StdRng) -> Vec<CallRecord>);

const SONNET: Job = Job { model: "claude-sonnet-5-5", prefix: 2_400, own: (400, 3_000), answer: (150, 900), ..JOB };
const OPUS: Job = Job { model: "claude-opus-5-5", prefix: 5_000, own: (1_000, 9_000), answer: (300, 2_000), ..JOB };
const STREAMED: Job = Job { stream: true, ..JOB };
const CHAT: Job = Job { client: "Anthropic/JS 1.12.0", stream: true, prefix: 600, answer: (60, 700), ..SONNET };
const AGENT: Job = Job { client: "claude-cli/2.1", stream: true, tools: 14, prefix: 9_000, answer: (40, 600), ..OPUS };
const OFFICE: Chat = Chat { noons: &[12], a_day: 60.0, turns: 8, leave: 0.02, read_slowly: 0.3 };

pub(super) fn roster() -> Vec<Entry> {
    vec![
        // By the clock.
        ("every-five-minutes", CanWait, |r| {
            let t = clock(r, 5 * MINUTE, 0, 8 * SECOND);
            bursts(r, &JOB, &t, (1, 1), 1)
        }),
        ("every-quarter", CanWait, |r| {
            let t = clock(r, 15 * MINUTE, MINUTE, 40 * SECOND);
            bursts(r, &JOB, &t, (1, 6), 1)
        }),
        ("every-quarter-jittered", CanWait, |r| {
            let t = clock(r, 15 * MINUTE, 0, 5 * MINUTE);
            bursts(r, &SONNET, &t, (1, 2), 1)
        }),
        ("hourly", CanWait, |r| {
            let t = clock(r, HOUR, 5 * MINUTE, 3 * MINUTE);
            bursts(r, &SONNET, &t, (2, 12), 2)
        }),
        ("hourly-streamed", CanWait, |r| {
            let t = clock(r, HOUR, 30 * MINUTE, MINUTE);
            bursts(r, &STREAMED, &t, (4, 9), 1)
        }),
        ("four-times-a-day", CanWait, |r| {
            let t = clock(r, 6 * HOUR, 2 * HOUR, 4 * MINUTE);
            bursts(r, &OPUS, &t, (8, 30), 4)
        }),
        ("daily-digest", CanWait, |r| {
            let t = clock(r, DAY, 6 * HOUR, 2 * MINUTE);
            bursts(r, &Job { searches: 2, ..SONNET }, &t, (40, 60), 1)
        }),
        ("daily-one", CanWait, |r| {
            let t = clock(r, DAY, 4 * HOUR + 20 * MINUTE, MINUTE);
            bursts(r, &OPUS, &t, (1, 1), 1)
        }),
        ("weekly-review", CanWait, |r| {
            let t = clock(r, 7 * DAY, 3 * HOUR, 5 * MINUTE);
            bursts(r, &OPUS, &t, (120, 200), 3)
        }),
        ("working-days-report", CanWait, |r| {
            let t: Vec<_> = clock(r, DAY, 5 * HOUR + 30 * MINUTE, 2 * MINUTE)
                .into_iter()
                .filter(|t| (t - START) / DAY % 7 < 5)
                .collect();
            bursts(r, &SONNET, &t, (20, 40), 2)
        }),
        ("polling-loop", CanWait, |r| looping(r, &JOB, 7 * MINUTE)),
        // Bursts at night.
        ("nightly-summaries", CanWait, |r| {
            let t = clock(r, DAY, 2 * HOUR, 3 * MINUTE);
            bursts(r, &JOB, &t, (500, 900), 8)
        }),
        ("nightly-all-at-once", CanWait, |r| {
            let t = clock(r, DAY, HOUR, 10 * MINUTE);
            bursts(r, &JOB, &t, (150, 300), 100)
        }),
        ("nightly-one-by-one", CanWait, |r| {
            let t = clock(r, DAY, 23 * HOUR, 2 * MINUTE);
            bursts(r, &SONNET, &t, (300, 500), 1)
        }),
        ("nightly-forms", CanWait, |r| {
            let t = clock(r, DAY, 3 * HOUR, 4 * MINUTE);
            let mut calls = bursts(r, &Job { tools: 1, ..SONNET }, &t, (60, 120), 4);
            // The answer is a form's content; nothing comes back.
            calls.iter_mut().for_each(|call| call.tool_stop = true);
            calls
        }),
        // Prompts that drift.
        ("dated-prompt", CanWait, |r| {
            let t = clock(r, DAY, 5 * HOUR, 3 * MINUTE);
            t.iter()
                .zip(1..)
                .flat_map(|(t, day)| bursts(r, &Job { prompt: day, ..SONNET }, &[*t], (40, 90), 3))
                .collect()
        }),
        ("hourly-versions", CanWait, |r| {
            let t = clock(r, HOUR, 10 * MINUTE, 2 * MINUTE);
            t.iter()
                .zip(0..)
                .flat_map(|(t, hour)| bursts(r, &Job { prompt: 1 + hour / 50, ..JOB }, &[*t], (5, 15), 2))
                .collect()
        }),
        // Queues.
        ("one-worker", CanWait, |r| drain(r, &SONNET, START, 30_000, 1)),
        ("two-workers-by-day", CanWait, |r| {
            (0..DAYS).flat_map(|d| drain(r, &JOB, START + d * DAY + 9 * HOUR, 1_500, 2)).collect()
        }),
        ("eight-workers", CanWait, |r| drain(r, &JOB, START + DAY, 40_000, 8)),
        ("backfill", CanWait, |r| drain(r, &OPUS, START + 12 * DAY, 4_000, 4)),
        ("evaluations", CanWait, |r| {
            [3, 9, 16, 24].into_iter().flat_map(|d| drain(r, &SONNET, START + d * DAY + 14 * HOUR, 900, 16)).collect()
        }),
        ("streamed-queue", CanWait, |r| drain(r, &Job { client: "langchain/0.3", ..STREAMED }, START, 20_000, 3)),
        ("cached-queue", CanWait, |r| drain(r, &Job { cached: true, ..SONNET }, START, 20_000, 2)),
        // People.
        ("office-chat", MustNotWait, |r| chats(r, &CHAT, OFFICE)),
        ("small-chat", MustNotWait, |r| chats(r, &CHAT, Chat { a_day: 4.0, ..OFFICE })),
        ("global-chat", MustNotWait, |r| chats(r, &CHAT, Chat { noons: &[4, 12, 20], a_day: 80.0, ..OFFICE })),
        ("chat-in-one-piece", MustNotWait, |r| {
            chats(r, &Job { stream: false, ..CHAT }, Chat { leave: 0.0, read_slowly: 0.0, ..OFFICE })
        }),
        ("short-chats", MustNotWait, |r| chats(r, &CHAT, Chat { turns: 3, a_day: 150.0, read_slowly: 0.02, ..OFFICE })),
        ("search-answers", MustNotWait, |r| searches(r, &Job { stream: true, ..JOB }, 14, 300.0)),
        ("typing-ahead", MustNotWait, |r| typing(r, &Job { answer: (5, 40), ..JOB }, 12, 200.0)),
        ("page-with-timeout", MustNotWait, |r| impatient(r, &JOB, 400.0)),
        // Agents.
        ("coding-agents", MustNotWait, |r| {
            let t = tasks_at_work(r, 12, 25.0);
            agents(r, &AGENT, &t, (4, 40))
        }),
        ("headless-agent", MustNotWait, |r| {
            let t = clock(r, DAY, 2 * HOUR, MINUTE);
            agents(r, &AGENT, &t, (20, 60))
        }),
        ("hourly-agent", MustNotWait, |r| {
            let t = clock(r, HOUR, 0, 30 * SECOND);
            agents(r, &Job { stream: false, ..AGENT }, &t, (2, 6))
        }),
        ("research-agent", MustNotWait, |r| {
            let t = clock(r, 40 * MINUTE, 0, 20 * MINUTE);
            agents(r, &Job { stream: false, ..AGENT }, &t, (10, 30))
        }),
        // Neither here nor there.
        ("on-upload", Either, |r| at_random(r, &JOB, 500.0)),
        ("rare", Either, |r| at_random(r, &OPUS, 0.4)),
        // By the clock, and yet no batch takes it.
        ("fast-hourly", MustNotWait, |r| {
            let t = clock(r, HOUR, 20 * MINUTE, MINUTE);
            let mut calls = bursts(r, &SONNET, &t, (3, 6), 1);
            calls.iter_mut().for_each(|call| call.blocked_by = Some("speed".to_owned()));
            calls
        }),
        ("hourly-some-fast", CanWait, |r| {
            let t = clock(r, HOUR, 40 * MINUTE, MINUTE);
            let mut calls = bursts(r, &SONNET, &t, (8, 12), 1);
            calls.iter_mut().step_by(5).for_each(|call| call.blocked_by = Some("speed".to_owned()));
            calls
        }),
    ]
}
