//! What rules a batch out whatever the pattern: callers who give up when it takes long, and calls that no batch takes.

use super::Findings;
use crate::inventory::assessment::VetoKind;
use crate::inventory::figures::{count, percent, share};
use crate::inventory::workload::Workload;

/// The part of callers leaving from which on somebody waits.
const LEAVE: f64 = 0.05;
/// The part from which on it counts against waiting.
const SOME_LEAVE: f64 = 0.01;
const LEAVING_AGAINST: i32 = 10;
/// The part of repeated tries from which on callers have too short a patience.
const RETRY: f64 = 0.1;
/// The part that is blocked from which on nothing worthwhile is left.
const BLOCKED: f64 = 0.9;

pub(super) fn look(workload: &Workload, found: &mut Findings) {
    let sums = &workload.sums;
    let left = share(sums.hung_up, sums.calls);
    if left >= LEAVE {
        let evidence = format!("{} % of callers leave before the answer's end", percent(left));
        found.veto(VetoKind::Impatient, evidence);
    } else if left >= SOME_LEAVE {
        found.against(LEAVING_AGAINST, format!("{} of {} callers leave early", count(sums.hung_up), count(sums.calls)));
    }
    // Tries after errors of the provider say nothing of patience.
    let out_of_impatience = sums.retried.saturating_sub(2 * sums.failed);
    if share(out_of_impatience, sums.calls) >= RETRY {
        let part = percent(share(sums.retried, sums.calls));
        let evidence = format!("{part} % of calls are second tries, without errors that would explain them");
        found.veto(VetoKind::Impatient, evidence);
    }
    let blocked: u64 = sums.blocked.iter().map(|one| one.calls).sum();
    if share(blocked, sums.calls) >= BLOCKED {
        let reasons: Vec<_> = sums.blocked.iter().map(|one| one.reason.as_str()).collect();
        let evidence =
            format!("no batch takes {} % of its calls: {}", percent(share(blocked, sums.calls)), reasons.join(", "));
        found.veto(VetoKind::Blocked, evidence);
    }
}
