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
use crate::inventory::figures::percent;
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
        self.signals.push(Signal { kind, strength, every_seconds: None, evidence });
    }

    /// Says how often what was seen last happens.
    fn every(&mut self, millis: i64) {
        if let (Some(last), Ok(millis)) = (self.signals.last_mut(), u64::try_from(millis)) {
            last.every_seconds = Some(millis / 1_000);
        }
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

/// The middle of some numbers; none of none.
fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}
