//! When people call, and agents that work for them: by the curve of a working day, turn after turn.

use offpeak::domain::record::CallRecord;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::arrivals::{exponential, normal};
use super::job::Job;
use super::{DAY, DAYS, HOUR, SECOND, START};

/// When some people are at work: from nine to six with a dip at noon, hardly at weekends. `noon` is theirs, in hours
/// UTC.
fn at_work(random: &mut StdRng, noon: i64, a_day: f64) -> Vec<i64> {
    let mut times = Vec::new();
    for day in 0..DAYS {
        let weekend = day % 7 >= 5;
        let expected = if weekend { a_day * 0.04 } else { a_day };
        let mut left = normal(random, expected, expected.sqrt()).max(0.0) as i64;
        while left > 0 {
            let hour = normal(random, noon as f64, 2.6);
            let is_lunch = (hour - noon as f64 - 0.5).abs() < 0.4;
            let is_work = (hour - noon as f64).abs() < 5.5;
            if is_work && !(is_lunch && random.random_bool(0.7)) {
                times.push(START + day * DAY + (hour * HOUR as f64) as i64);
                left -= 1;
            }
        }
    }
    times
}

/// How chats go.
#[derive(Clone, Copy)]
pub(in crate::it::inventory) struct Chat {
    /// When it is noon for those who chat, in hours UTC.
    pub(in crate::it::inventory) noons: &'static [i64],
    /// Chats a working day, at each noon.
    pub(in crate::it::inventory) a_day: f64,
    /// The most turns of a chat.
    pub(in crate::it::inventory) turns: u32,
    /// How often somebody leaves before the answer's end.
    pub(in crate::it::inventory) leave: f64,
    /// How often an answer waits for its reader.
    pub(in crate::it::inventory) read_slowly: f64,
}

/// People who ask, read, think and ask again.
pub(in crate::it::inventory) fn chats(random: &mut StdRng, job: &Job, chat: Chat) -> Vec<CallRecord> {
    let mut calls = Vec::new();
    for noon in chat.noons {
        for begin in at_work(random, *noon, chat.a_day) {
            let opening = random.random();
            let turns = random.random_range(1..=chat.turns);
            let (mut at, mut own) = (begin, random.random_range(20..200));
            for turn in 0..turns {
                let mut call = job.turn(random, at, own, 2 * turn + 1, opening);
                if random.random_bool(chat.read_slowly) {
                    call.reader_wait_ms = random.random_range(300..4_000);
                    call.duration_ms += call.reader_wait_ms;
                }
                if random.random_bool(chat.leave) {
                    call.hung_up = true;
                    call.duration_ms /= 2;
                }
                own += call.tokens.output + random.random_range(15..120);
                at += call.duration_ms as i64 + 4 * SECOND + exponential(random, 40.0 * SECOND as f64) as i64;
                calls.push(call);
            }
        }
    }
    calls
}

/// An agent at its task: every answer asks for a tool, whose result makes the next call, until it is done.
pub(in crate::it::inventory) fn agents(
    random: &mut StdRng,
    job: &Job,
    begins: &[i64],
    steps: (u32, u32),
) -> Vec<CallRecord> {
    let mut calls = Vec::new();
    for begin in begins {
        let opening = random.random();
        let steps = random.random_range(steps.0..=steps.1);
        let (mut at, mut own) = (*begin, random.random_range(200..2_000));
        for step in 0..steps {
            let mut call = job.turn(random, at, own, 2 * step + 1, opening);
            call.tool_turn = step > 0;
            call.tool_stop = step + 1 < steps;
            own += call.tokens.output + random.random_range(50..3_000);
            at += call.duration_ms as i64 + exponential(random, 1.5 * SECOND as f64) as i64 + 40;
            calls.push(call);
        }
    }
    calls
}

/// When developers set agents to work.
pub(in crate::it::inventory) fn tasks_at_work(random: &mut StdRng, noon: i64, a_day: f64) -> Vec<i64> {
    at_work(random, noon, a_day)
}

/// People who type, and whose program asks again with every pause: whoever types on has left before the answer.
pub(in crate::it::inventory) fn typing(random: &mut StdRng, job: &Job, noon: i64, a_day: f64) -> Vec<CallRecord> {
    let mut calls = Vec::new();
    for begin in at_work(random, noon, a_day) {
        for number in 0..random.random_range(1..8) {
            let at = begin + number * random.random_range(700..4_000);
            let mut call = job.call(random, at);
            call.hung_up = random.random_bool(0.3);
            calls.push(call);
        }
    }
    calls
}

/// Pages that wait for an answer, some seconds at most, and then try again.
pub(in crate::it::inventory) fn impatient(random: &mut StdRng, job: &Job, a_day: f64) -> Vec<CallRecord> {
    let mut calls = super::arrivals::at_random(random, job, a_day);
    let mut again = Vec::new();
    for call in &mut calls {
        if random.random_bool(0.2) {
            let later = call.at.as_millis() + random.random_range(3_000..5_000);
            let mut second = job.call(random, later);
            second.retries = 1;
            again.push(second);
            call.hung_up = true;
        }
    }
    calls.extend(again);
    calls
}

/// People who search: one question, one answer that is read, and no more.
pub(in crate::it::inventory) fn searches(random: &mut StdRng, job: &Job, noon: i64, a_day: f64) -> Vec<CallRecord> {
    let mut calls = Vec::new();
    for at in at_work(random, noon, a_day) {
        let mut call = job.call(random, at);
        call.hung_up = random.random_bool(0.02);
        calls.push(call);
    }
    calls
}
