//! The assessment of one workload: signals, vetoes and score, the verdict that follows, and the savings.

use crate::clock::Timestamp;
use crate::domain::price::PriceTable;
use crate::inventory::assessment::{Assessment, Savings, Verdict};
use crate::inventory::workload::Workload;

/// Assesses a workload; prices are those of `now`.
pub fn assess(_workload: &Workload, _prices: &PriceTable, _now: Timestamp) -> Assessment {
    Assessment {
        verdict: Verdict::Look,
        score: 0,
        parts: Vec::new(),
        signals: Vec::new(),
        vetoes: Vec::new(),
        savings: Savings::default(),
    }
}
