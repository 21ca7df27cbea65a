//! On a schedule: bursts of calls begin by the clock (cron, with jitter), or at even intervals.

use super::circle::{self, Phase};
use super::{Findings, median};
use crate::inventory::assessment::SignalKind;
use crate::inventory::figures::{count, span};
use crate::inventory::workload::{Hour, Workload};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;
/// The first Monday after the epoch, which weeks are counted from; days and shorter periods fit it as well.
const MONDAY: i64 = 4 * DAY;

/// Points for a schedule that is seen as clearly as can be.
const WEIGHT: i32 = 35;

/// Periods that schedulers have, with what is said of them, the longest first: a job that runs once a day keeps to a
/// minute of the hour as well, but that is not what it is.
const PERIODS: [(i64, &str); 15] = [
    (WEEK, "week"),
    (DAY, "day"),
    (12 * HOUR, "12 hours"),
    (8 * HOUR, "8 hours"),
    (6 * HOUR, "6 hours"),
    (4 * HOUR, "4 hours"),
    (3 * HOUR, "3 hours"),
    (2 * HOUR, "2 hours"),
    (HOUR, "hour"),
    (30 * MINUTE, "30 minutes"),
    (20 * MINUTE, "20 minutes"),
    (15 * MINUTE, "15 minutes"),
    (10 * MINUTE, "10 minutes"),
    (5 * MINUTE, "5 minutes"),
    (MINUTE, "minute"),
];

/// How long it must have been quiet for a call to begin a burst. Several, because a job of seconds and one of hours
/// pause differently.
const QUIETS: [i64; 5] = [20 * SECOND, 2 * MINUTE, 10 * MINUTE, HOUR, 4 * HOUR];

/// A phase is believed where chance would do it less often than once in a hundred million: some hundred combinations of
/// quiet and period are tried for each workload.
const BELIEVED: f64 = -18.4;

/// People keep to the hours of the day too, but not to its minutes: from two hours up a job must begin within this of
/// its time.
const PUNCTUAL: f64 = 25.0 * MINUTE as f64;
/// This part of the beginnings may be at any time, as when somebody runs the job by hand.
const BY_HAND: f64 = 0.2;
/// A burst that fills more of its period than this is no burst: the first question of the morning, after which people
/// go on all day, is as punctual as a job.
const FILLS: f64 = 0.3;

/// Below this concentration a phase says little, however sure it is.
const CONCENTRATED: f64 = 0.35;

/// So many runs say when calls come at all.
const RUNS: usize = 24;

/// How many bursts even intervals must be seen over, and what part of them must be even.
const EVEN_BURSTS: usize = 10;
const EVEN: f64 = 0.7;
/// How far an interval may be from the middle one and still be even.
const EVEN_WITHIN: f64 = 0.12;
/// Longer intervals are even among people as well, who come to work every morning.
const EVEN_MAX: f64 = 6.0 * HOUR as f64;

pub(super) fn look(workload: &Workload, found: &mut Findings) {
    let bursts = QUIETS.map(|quiet| Bursts::of(workload, quiet));
    let by_clock = bursts.iter().filter_map(Bursts::by_the_clock);
    let sampled = Bursts { starts: somewhere(workload), length: 0.0 }.by_the_clock();
    let by_hours = daily(&workload.hours);
    let best = by_clock.chain(sampled).chain(by_hours).max_by(|a, b| a.strength.total_cmp(&b.strength));
    let best = best.or_else(|| bursts.iter().find_map(|bursts| even(&bursts.starts)));
    if let Some(Found { strength, every, evidence }) = best {
        found.signal(SignalKind::Schedule, WEIGHT, strength, evidence);
        found.every(every);
    }
}

struct Found {
    strength: f64,
    /// In milliseconds.
    every: i64,
    evidence: String,
}

/// Calls that came after a quiet time, and how long it went on from there on average, in milliseconds.
struct Bursts {
    starts: Vec<i64>,
    length: f64,
}

impl Bursts {
    /// The first call of a run is no beginning: what was before it is not known, unless the sample is whole.
    fn of(workload: &Workload, quiet: i64) -> Self {
        let whole = workload.sample.is_whole();
        let (mut starts, mut length, mut ended) = (Vec::new(), 0, 0);
        for run in workload.sample.runs() {
            let mut start = run.first().map(|first| first.at.as_millis()).filter(|_| whole);
            starts.extend(start);
            for two in run.windows(2) {
                let (before, at) = (two[0].at.as_millis(), two[1].at.as_millis());
                if at - before < quiet {
                    continue;
                }
                if let Some(start) = start.replace(at) {
                    (length, ended) = (length + before - start, ended + 1);
                }
                starts.push(at);
            }
        }
        Self { starts, length: length as f64 / f64::from(ended.max(1)) }
    }

    /// The longest period that the beginnings keep to.
    fn by_the_clock(&self) -> Option<Found> {
        let times = &self.starts;
        PERIODS.into_iter().find_map(|(period, name)| {
            let all = circle::phase(times, period, MONDAY)?;
            let phase = circle::phase(&nearest(times, &all, period), period, MONDAY)?;
            let is_long = period >= 2 * HOUR;
            let punctual = !is_long || phase.spread <= PUNCTUAL;
            let short = self.length <= period as f64 * if is_long { FILLS } else { 1.0 };
            let seen_often = times.len() >= if period == WEEK { 3 } else { 5 };
            let believed = all.log_chance < BELIEVED && all.concentration >= CONCENTRATED;
            // Times of one afternoon all lie within one arc of a day; a period must have had room to repeat.
            let repeated = times.iter().max()? - times.iter().min()? >= 2 * period - HOUR.min(period);
            (punctual && short && seen_often && believed && repeated).then(|| Found {
                strength: all.concentration,
                every: period,
                evidence: format!(
                    "starts every {name} at {} (give or take {}), seen {} times",
                    when(&phase, period),
                    span(phase.spread),
                    count(times.len() as u64),
                ),
            })
        })
    }
}

/// The times without those that are furthest from the phase of all.
fn nearest(times: &[i64], phase: &Phase, period: i64) -> Vec<i64> {
    let distance = |time: &i64| {
        let apart = ((time - MONDAY).rem_euclid(period) as f64 - phase.mean).abs();
        apart.min(period as f64 - apart)
    };
    let mut nearest = times.to_vec();
    nearest.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
    nearest.truncate(times.len() - (times.len() as f64 * BY_HAND) as usize);
    nearest
}

/// The time within a period, as people say it.
fn when(phase: &Phase, period: i64) -> String {
    // A mean a hair before midnight is midnight.
    let at = phase.mean.round() as i64 % period;
    let (hours, minutes, seconds) = (at / HOUR % 24, at / MINUTE % 60, at / SECOND % 60);
    match period {
        WEEK => {
            let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
            let day = days.get((at / DAY) as usize).copied().unwrap_or("Monday");
            format!("{hours:02}:{minutes:02} UTC on {day}")
        }
        DAY => format!("{hours:02}:{minutes:02} UTC"),
        MINUTE => format!("second {seconds}"),
        period if period > HOUR => format!("{hours}:{minutes:02} into them"),
        _ => format!(":{minutes:02}"),
    }
}

/// Bursts that begin at even intervals, whatever the clock says: a loop with a pause in it.
fn even(starts: &[i64]) -> Option<Found> {
    if starts.len() <= EVEN_BURSTS {
        return None;
    }
    let gaps: Vec<f64> = starts.windows(2).map(|two| (two[1] - two[0]) as f64).collect();
    let interval = median(gaps.clone())?;
    let fits = |gap: &&f64| {
        // One or two may have been left out.
        let times = (**gap / interval).round().clamp(1.0, 3.0);
        (**gap - times * interval).abs() <= EVEN_WITHIN * interval
    };
    let share = gaps.iter().filter(fits).count() as f64 / gaps.len() as f64;
    (share >= EVEN && interval <= EVEN_MAX).then(|| Found {
        strength: share,
        every: interval as i64,
        evidence: format!(
            "starts every {}, {:.0} % of {} intervals within {:.0} % of that",
            span(interval),
            share * 100.0,
            count(gaps.len() as u64),
            EVEN_WITHIN * 100.0,
        ),
    })
}

/// One call of each run, where the sample is made of many: they are independent of each other.
fn somewhere(workload: &Workload) -> Vec<i64> {
    let runs = workload.sample.runs();
    if workload.sample.is_whole() || runs.len() < RUNS {
        return Vec::new();
    }
    // Runs are equally long: if each gave its first call, a period that fits into that length would seem theirs.
    runs.iter().enumerate().map(|(number, run)| run[number * 37 % run.len()].at.as_millis()).collect()
}

/// The same few hours, day after day: for workloads so large that no sample shows where their bursts begin.
fn daily(hours: &[Hour]) -> Option<Found> {
    /// More hours of the day may be a working day.
    const HOURS: usize = 4;
    /// What people's calls would keep to by themselves.
    const WORKING_DAY: f64 = 10.0;
    /// The logarithm of how unlikely it must be that days within a working day fall into the same few hours.
    const UNLIKELY: f64 = -9.0;
    /// Hours are coarse; where the beginnings are seen, they say more.
    const COARSE: f64 = 0.9;
    let all: u64 = hours.iter().map(|hour| hour.calls).sum();
    let mut by_hour = [0u64; 24];
    let mut days = Vec::new();
    for Hour { at, calls } in hours {
        let at = at.as_millis();
        by_hour[at.rem_euclid(DAY).div_euclid(HOUR) as usize] += calls;
        days.push(at.div_euclid(DAY));
    }
    days.dedup();
    // The shortest stretch of hours around the clock that holds nearly all calls.
    let holds = |from: usize, length: usize| (0..length).map(|step| by_hour[(from + step) % 24]).sum::<u64>();
    let nearly_all = all - all / 50;
    let fitting = |length| (0..24).find(|from| holds(*from, length) >= nearly_all).map(|from| (length, from));
    let (length, from) = (1..=HOURS).find_map(fitting)?;
    let n = days.len() as f64;
    let log_chance = n.ln() + (n - 1.0) * (length as f64 / WORKING_DAY).ln();
    (log_chance < UNLIKELY).then(|| Found {
        strength: COARSE * (1.0 - (length as f64 - 1.0) / (2.0 * HOURS as f64)),
        every: DAY,
        evidence: format!(
            "98 % of its calls come between {from:02}:00 and {:02}:00 UTC, on {} days",
            (from + length) % 24,
            days.len(),
        ),
    })
}
