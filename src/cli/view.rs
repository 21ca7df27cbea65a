//! Deferrals as the APIs show them, read back by the command line.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::money::NanoUsd;

/// A page of deferrals.
#[derive(Deserialize)]
pub(super) struct PageView {
    pub(super) data: Vec<DeferralView>,
    pub(super) has_more: bool,
    pub(super) last_id: Option<String>,
}

/// One deferral.
#[derive(Deserialize)]
pub(super) struct DeferralView {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) model: String,
    pub(super) workload: Option<String>,
    #[serde(rename = "ref")]
    pub(super) reference: Option<String>,
    pub(super) group: Option<String>,
    pub(super) created_at: String,
    pub(super) deadline: String,
    pub(super) completed_at: Option<String>,
    pub(super) cancel_requested: bool,
    pub(super) batch_id: Option<String>,
    pub(super) attempts: u32,
    pub(super) served_by: Option<String>,
    pub(super) message: Option<Box<RawValue>>,
    pub(super) error: Option<Box<RawValue>>,
    pub(super) cost: Option<CostView>,
}

/// What one cost.
#[derive(Clone, Copy, Deserialize)]
pub(super) struct CostView {
    pub(super) paid: NanoUsd,
    pub(super) live_price: NanoUsd,
}

/// An amount for people, in whole millionths of a dollar: one short call of the cheapest model still shows.
pub(super) fn dollars(amount: NanoUsd) -> String {
    let micros = rounded(amount).0 / 1_000;
    format!("${}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// The amount that [`dollars`] shows.
pub(super) fn rounded(amount: NanoUsd) -> NanoUsd {
    NanoUsd(amount.0.saturating_add(500).div_euclid(1_000).saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_survive_the_way_through_json() {
        for nanos in [0, 1, 50, 12_345_678, 999_999_999, 123_456_789_012_345] {
            let text = format!(r#"{{"paid":{0},"live_price":{0}}}"#, NanoUsd(nanos));
            let cost: CostView = serde_json::from_str(&text).unwrap();
            assert_eq!((cost.paid, cost.live_price), (NanoUsd(nanos), NanoUsd(nanos)));
        }
    }

    #[test]
    fn people_see_millionths() {
        for (nanos, text) in [
            (0, "$0.000000"),
            (499, "$0.000000"),
            (500, "$0.000001"),
            (1_999_999_500, "$2.000000"),
            (123_456_000, "$0.123456"),
        ] {
            assert_eq!(dollars(NanoUsd(nanos)), text);
        }
    }
}
