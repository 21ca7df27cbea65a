//! High and steady volume: many calls, and about as many every day.

use super::Findings;
use crate::inventory::assessment::SignalKind;
use crate::inventory::figures::{count, percent};
use crate::inventory::workload::Workload;

/// Points for more calls than a batch takes, every day.
const WEIGHT: i32 = 5;

const DAY: i64 = 86_400_000;
/// From so many calls a day on there is something to put into batches.
const SOME: f64 = 100.0;
/// So many fill large ones; between the two, strength grows with the logarithm.
const MANY: f64 = 10_000.0;
/// How many days it takes to tell.
const DAYS: i64 = 3;
/// Days that vary by more than this part of their mean are not steady.
const STEADY: f64 = 0.6;

pub(super) fn look(workload: &Workload, found: &mut Findings) {
    let (from, to) = (workload.window.from.as_millis(), workload.window.to.as_millis());
    let days = (to - from) / DAY;
    if days < DAYS {
        return;
    }
    let mut by_day = vec![0.0f64; days as usize];
    for hour in &workload.hours {
        // What is left of a day at the end would look like a quiet one.
        if let Some(day) =
            usize::try_from((hour.at.as_millis() - from).div_euclid(DAY)).ok().and_then(|day| by_day.get_mut(day))
        {
            *day += hour.calls as f64;
        }
    }
    let mean = by_day.iter().sum::<f64>() / by_day.len() as f64;
    let variance = by_day.iter().map(|calls| (calls - mean).powi(2)).sum::<f64>() / by_day.len() as f64;
    let varies = variance.sqrt() / mean.max(1.0);
    if mean >= SOME && varies <= STEADY {
        let strength = 0.4 + 0.6 * (mean / SOME).log10() / (MANY / SOME).log10();
        let evidence = format!("{} calls a day, give or take {} %", count(mean as u64), percent(varies));
        found.signal(SignalKind::Volume, WEIGHT, strength, evidence);
    }
}
