//! The assessment of one workload: signals, vetoes and score, the verdict that follows, and the savings.

use crate::clock::Timestamp;
use crate::domain::price::PriceTable;
use crate::inventory::assessment::{Assessment, Part, Signal, Verdict, Veto};
use crate::inventory::savings::savings;
use crate::inventory::signals::{self, Findings};
use crate::inventory::workload::Workload;

/// What a workload starts from when nothing is known of it.
const BASE: i32 = 20;
/// From this score on a workload is a candidate.
const CANDIDATE: u8 = 55;
/// Below this score it stays live.
const LOOK: u8 = 30;
/// With fewer calls than this there is nothing to go by.
const ENOUGH: u64 = 20;

/// Assesses a workload; prices are those of `now`.
pub fn assess(workload: &Workload, prices: &PriceTable, now: Timestamp) -> Assessment {
    let Findings { signals, vetoes, mut parts } = signals::look(workload);
    parts.insert(0, Part { points: BASE, reason: "what every workload starts from".to_owned() });
    let by_machine = signals.iter().any(Signal::is_of_a_machine);
    if !by_machine {
        parts.push(Part { points: 0, reason: "nothing shows that a machine sets its pace".to_owned() });
    }
    if workload.sums.calls == 0 {
        parts.push(Part { points: 0, reason: "sums do not tell when calls came, and how".to_owned() });
    } else if !workload.knows_messages() {
        parts
            .push(Part { points: 0, reason: "whether it is a conversation or a tool loop is not recorded".to_owned() });
    }
    let score = parts.iter().map(|part| part.points).sum::<i32>().clamp(0, 100) as u8;
    Assessment {
        verdict: verdict(workload, score, by_machine, &vetoes),
        score,
        parts,
        signals,
        vetoes,
        savings: savings(workload, prices, now),
    }
}

/// A veto rules. Else the score does, if there are calls enough to go by; and a candidate needs more than the absence
/// of people: something that only machines do.
fn verdict(workload: &Workload, score: u8, by_machine: bool, vetoes: &[Veto]) -> Verdict {
    match score {
        _ if !vetoes.is_empty() => Verdict::KeepLive,
        _ if workload.sums.calls < ENOUGH => Verdict::Look,
        CANDIDATE.. if by_machine => Verdict::Candidate,
        LOOK.. => Verdict::Look,
        _ => Verdict::KeepLive,
    }
}
