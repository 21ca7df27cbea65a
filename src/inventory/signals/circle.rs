//! Times on a circle: how closely they keep to one phase of a period, and how likely chance alone would do that.

use std::f64::consts::TAU;

/// What times come to on a circle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phase {
    /// The length of their mean vector: 1 if all share one phase, about 0 if they are spread.
    pub(super) concentration: f64,
    /// Their mean phase, in milliseconds after the period's beginning.
    pub(super) mean: f64,
    /// How far they stray from it, in milliseconds: the circular standard deviation.
    pub(super) spread: f64,
    /// The logarithm (base e) of a bound on how likely times without any period would keep to a phase so closely.
    pub(super) log_chance: f64,
}

/// Where times (in milliseconds) lie in periods (in milliseconds) that are counted from `origin`; none for fewer than
/// two.
pub(super) fn phase(times: &[i64], period: i64, origin: i64) -> Option<Phase> {
    if times.len() < 2 || period <= 0 {
        return None;
    }
    let n = times.len() as f64;
    let scale = TAU / period as f64;
    let phases: Vec<f64> = times.iter().map(|time| (time - origin).rem_euclid(period) as f64).collect();
    let (x, y) = phases.iter().fold((0.0, 0.0), |(x, y), phase| {
        let angle = phase * scale;
        (x + angle.cos(), y + angle.sin())
    });
    let concentration = (x.hypot(y) / n).min(1.0);
    let mean = y.atan2(x).rem_euclid(TAU) / scale;
    let spread = (-2.0 * concentration.max(f64::MIN_POSITIVE).ln()).abs().sqrt() / scale;
    // Rayleigh: good for many times that are loosely together.
    let rayleigh = -n * concentration * concentration;
    // All within one arc: exact for few that are close together, `n (arc / period)^(n - 1)`.
    let arc = arc(&phases, period as f64).max(1.0) / period as f64;
    let within = n.ln() + (n - 1.0) * arc.ln();
    Some(Phase { concentration, mean, spread, log_chance: rayleigh.min(within) })
}

/// The shortest arc that holds all phases: the circle without the longest gap between neighbours.
fn arc(phases: &[f64], period: f64) -> f64 {
    let mut sorted = phases.to_vec();
    sorted.sort_by(f64::total_cmp);
    let between = sorted.windows(2).map(|two| two[1] - two[0]);
    let around = sorted.first().zip(sorted.last()).map(|(first, last)| period - last + first);
    let longest = between.chain(around).fold(0.0, f64::max);
    period - longest
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn one_phase_is_seen_across_the_seam() {
        // Half a minute before and after the full hour.
        let times: Vec<i64> = (1..40).map(|hour| hour * HOUR + if hour % 2 == 0 { 30_000 } else { -30_000 }).collect();
        let phase = phase(&times, HOUR, 0).unwrap();
        assert!(phase.concentration > 0.99 && phase.log_chance < -30.0, "{phase:?}");
        assert!(phase.mean < 2_000.0 || phase.mean > HOUR as f64 - 2_000.0, "{phase:?}");
        assert!((25_000.0..35_000.0).contains(&phase.spread), "{phase:?}");
    }

    #[test]
    fn spread_times_have_none() {
        // Steps of the golden ratio fill the circle evenly.
        let times: Vec<i64> = (0..200).map(|n| (n as f64 * 0.618_033_988_75 * HOUR as f64) as i64).collect();
        let phase = phase(&times, HOUR, 0).unwrap();
        assert!(phase.concentration < 0.02 && phase.log_chance > -1.0, "{phase:?}");
    }

    #[test]
    fn few_times_close_together_are_no_chance() {
        let week = 7 * 24 * HOUR;
        let times = [0, week + 60_000, 2 * week + 30_000, 3 * week + 90_000];
        let phase = phase(&times, week, 0).unwrap();
        assert!(phase.log_chance < -20.0, "{phase:?}");
        assert!(super::phase(&times[..1], week, 0).is_none());
    }
}
