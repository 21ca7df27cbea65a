//! What is still on the table, as the inventory has assessed it.

use serde::Deserialize;

use super::report::Offer;
use crate::domain::money::NanoUsd;
use crate::store::StoredWorkload;

/// The verdict over a workload that may be deferred.
const CANDIDATE: &str = "candidate";

/// As much of an assessment as a report needs.
#[derive(Deserialize)]
struct Assessed {
    verdict: String,
    savings: Saves,
}

#[derive(Deserialize)]
struct Saves {
    monthly_calls: u64,
    monthly_live: NanoUsd,
    batch: NanoUsd,
}

/// What could be deferred of these workloads and is not; none if nothing was assessed yet.
pub(super) fn offers(workloads: &[StoredWorkload]) -> Option<Vec<Offer>> {
    let read = |workload: &StoredWorkload| {
        let assessed: Assessed = serde_json::from_str(workload.assessment.as_deref()?).ok()?;
        Some((workload.name.clone(), assessed))
    };
    let assessed: Vec<(String, Assessed)> = workloads.iter().filter_map(read).collect();
    if assessed.is_empty() {
        return None;
    }
    let candidates = assessed.into_iter().filter(|(_, assessed)| assessed.verdict == CANDIDATE);
    let offer = |(workload, Assessed { savings, .. }): (String, Assessed)| Offer {
        workload,
        calls: savings.monthly_calls,
        live: savings.monthly_live,
        saves: savings.batch,
    };
    Some(candidates.map(offer).filter(|offer| offer.saves > NanoUsd::ZERO).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::domain::workload::{WorkloadId, WorkloadKind};

    fn workload(name: &str, verdict: Option<&str>, batch: i64) -> StoredWorkload {
        let (live, batch) = (NanoUsd(2 * batch), NanoUsd(batch));
        let text = |verdict: &str| {
            format!(
                r#"{{"verdict":"{verdict}","score":70,"parts":[],"signals":[],"vetoes":[],"savings":{{"monthly_calls":9,
                    "monthly_live":{live},"batch":{batch},"batch_cached":{batch},"ineligible":[],"unpriced_calls":0}}}}"#
            )
        };
        StoredWorkload {
            id: WorkloadId(1),
            tenant: "t".into(),
            name: name.into(),
            kind: WorkloadKind::Named,
            preview: None,
            first_seen: Timestamp::from_millis(0),
            last_seen: Timestamp::from_millis(0),
            assessment: verdict.map(text),
            score: None,
        }
    }

    #[test]
    fn candidates_that_save_something_are_offered() {
        let all = [
            workload("digests", Some("candidate"), 5_000_000_001),
            workload("chat", Some("keep_live"), 7),
            workload("maybe", Some("look"), 7),
            workload("done", Some("candidate"), 0),
            workload("new", None, 7),
        ];
        let (live, saves) = (NanoUsd(10_000_000_002), NanoUsd(5_000_000_001));
        let offer = Offer { workload: "digests".into(), calls: 9, live, saves };
        assert_eq!(offers(&all), Some(vec![offer]));
        assert_eq!(offers(&all[1..2]), Some(vec![]));
        assert_eq!(offers(&all[4..]), None);
    }
}
