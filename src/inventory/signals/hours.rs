//! Awake when people sleep: calls spread over the day's hours and the week's days, or the curve of a working day.
//!
//! Where its callers live is not known, so nothing is compared with a clock on a wall: people leave a gap of a night
//! somewhere, and machines do not.

use super::Findings;
use crate::inventory::assessment::{Signal, SignalKind};
use crate::inventory::figures::percent;
use crate::inventory::workload::{Hour, Workload};

/// Points for calls that are spread evenly.
const WEIGHT: i32 = 15;
/// Points against a working day's curve.
const OFFICE_AGAINST: i32 = 25;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// A night, in hours. A third of all calls falls into it if they are spread evenly.
const NIGHT: usize = 8;
const EVENLY: f64 = NIGHT as f64 / 24.0;
/// The part of calls in the quietest night from which on it is not people's.
const AWAKE: f64 = 0.18;
/// The part below which people sleep.
const ASLEEP: f64 = 0.06;
/// So many hours of the day make a working day rather than an appointment.
const WORKING_HOURS: usize = 6;
/// How many days it takes to tell nights, and weekends.
const NIGHTS: i64 = 3;
const WEEKENDS: i64 = 7;
/// What part of an even share the weekend has where offices are closed.
const CLOSED: f64 = 0.4;
/// How many calls it takes to tell.
const ENOUGH: u64 = 50;

pub(super) fn look(workload: &Workload, found: &mut Findings) {
    let days = (workload.window.to.as_millis() - workload.window.from.as_millis()) / DAY;
    if days < NIGHTS || workload.sums.calls < ENOUGH {
        return;
    }
    let Week { by_hour, quietest_days, days_with_calls } = Week::of(&workload.hours);
    let all: u64 = by_hour.iter().sum();
    if all == 0 {
        return;
    }
    let night = |from: usize| (0..NIGHT).map(|step| by_hour[(from + step) % 24]).sum::<u64>();
    let quietest = (0..24).map(night).min().unwrap_or(0) as f64 / all as f64;
    // Two days of seven, compared with their even share.
    let weekend = (days >= WEEKENDS).then(|| quietest_days / (2.0 / 7.0));
    let weekend_words =
        weekend.map_or_else(String::new, |part| format!(", the quietest two weekdays at {} %", percent(part)));
    let busy = by_hour.iter().filter(|calls| **calls * 48 >= all).count();
    if quietest >= AWAKE {
        let strength = (quietest / EVENLY).min(1.0) * weekend.map_or(0.8, |part| 0.5 + part.min(1.0) / 2.0);
        let evidence =
            format!("{} % of calls in the quietest 8 hours (33 % is even){weekend_words}", percent(quietest));
        found.signal(SignalKind::AwakeAtNight, WEIGHT, strength, evidence);
    } else if quietest <= ASLEEP && busy >= WORKING_HOURS && days_with_calls >= NIGHTS as usize {
        let closed = weekend.is_none_or(|part| part <= CLOSED);
        // A machine that sets the pace may have been started by somebody who went to work.
        let started = found.signals.iter().any(Signal::is_of_a_machine);
        let points = if closed && !started { OFFICE_AGAINST } else { OFFICE_AGAINST / 2 };
        let evidence = format!(
            "a working day's curve: {} % of calls in the quietest 8 hours, {busy} busy hours{weekend_words}",
            percent(quietest)
        );
        found.against(points, evidence);
    }
}

/// Calls by the hour of the day, and what part of them falls on the two quietest neighbouring days of the week.
struct Week {
    by_hour: [u64; 24],
    quietest_days: f64,
    days_with_calls: usize,
}

impl Week {
    fn of(hours: &[Hour]) -> Self {
        let (mut by_hour, mut by_day) = ([0u64; 24], [0u64; 7]);
        let mut days = Vec::new();
        for Hour { at, calls } in hours {
            let at = at.as_millis();
            by_hour[at.rem_euclid(DAY).div_euclid(HOUR) as usize] += calls;
            by_day[at.div_euclid(DAY).rem_euclid(7) as usize] += calls;
            days.push(at.div_euclid(DAY));
        }
        let all = by_day.iter().sum::<u64>().max(1);
        let two = (0..7).map(|day| by_day[day] + by_day[(day + 1) % 7]).min().unwrap_or(0);
        days.dedup();
        Self { by_hour, quietest_days: two as f64 / all as f64, days_with_calls: days.len() }
    }
}
