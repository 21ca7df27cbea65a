//! The signals: one file for each thing that can be seen in a workload's calls, and where they are put down.

mod circle;
mod conversation;
mod hours;
mod patience;
mod prefix;
mod queue;
mod reading;
mod schedule;
mod tools;
mod volume;

use crate::inventory::assessment::{Part, Signal, SignalKind, Veto, VetoKind};
use crate::inventory::workload::Workload;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) signals: Vec<Signal>,
    pub(super) vetoes: Vec<Veto>,
    pub(super) parts: Vec<Part>,
}

/// Looks at everything. Each look puts down what it sees, and nothing where the calls do not tell.
pub(super) fn look(workload: &Workload) -> Findings {
    let mut found = Findings::default();
    schedule::look(workload, &mut found);
    queue::look(workload, &mut found);
    reading::look(workload, &mut found);
    conversation::look(workload, &mut found);
    tools::look(workload, &mut found);
    hours::look(workload, &mut found);
    volume::look(workload, &mut found);
    prefix::look(workload, &mut found);
    patience::look(workload, &mut found);
    found
}

impl Findings {
    /// Puts down a signal; its full weight is scaled by how clearly it was seen.
    fn signal(&mut self, kind: SignalKind, weight: i32, strength: f64, evidence: String) {
        let strength = percent(strength);
        let points = (weight * i32::from(strength) + 50) / 100;
        self.parts.push(Part { points, reason: format!("{}: {evidence}", kind.as_str()) });
        self.signals.push(Signal { kind, strength, evidence });
    }

    /// Puts down what rules waiting out.
    fn veto(&mut self, kind: VetoKind, evidence: String) {
        self.vetoes.push(Veto { kind, evidence });
    }

    /// Puts down what speaks against waiting without ruling it out.
    fn against(&mut self, points: i32, reason: String) {
        self.parts.push(Part { points: -points, reason });
    }
}

/// A share between 0 and 1 in whole percent.
fn percent(share: f64) -> u8 {
    (share.clamp(0.0, 1.0) * 100.0).round() as u8
}

/// One number as a share of another; 0 of nothing.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A length of time for people, in one unit or two.
fn span(millis: f64) -> String {
    let seconds = millis / 1_000.0;
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1_000.0),
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5_400.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

/// A count for people: `12,345`.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The middle of some numbers; none of none.
fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}
