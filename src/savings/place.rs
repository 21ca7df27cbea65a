//! A place in the ledger, to come back to: behind an entry, or behind a sum of live charges, which follow the entries.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Timestamp;
use crate::domain::charge::{ChargeKey, Terms};
use crate::domain::id::DeferralId;
use crate::domain::ledger::EntryKind;
use crate::domain::workload::WorkloadId;
use crate::store::EntryPlace;

/// Where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Right behind an entry.
    Entry(EntryPlace),
    /// Right behind a sum of live charges.
    Charge(ChargeKey),
}

/// A key as it is written: its hour, workload, model, model of the pass, place, speed and length of prompt.
type Written<'a> = (i64, i64, std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>, bool, bool, u64);

impl Place {
    /// As it is handed out.
    pub fn write(&self) -> String {
        match self {
            Self::Entry((at, deferral, kind)) => format!("{}.{deferral}.{}", at.as_millis(), kind.as_str()),
            Self::Charge(ChargeKey { hour, workload, terms }) => {
                let Terms { model, pass_model, us_only, fast, prompt_above } = terms;
                let key: Written<'_> =
                    (hour.as_millis(), workload.0, model.into(), pass_model.into(), *us_only, *fast, *prompt_above);
                URL_SAFE_NO_PAD.encode(serde_json::to_vec(&key).unwrap_or_default())
            }
        }
    }

    /// Reads what was handed out.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let (at, deferral, kind) = (parts.next()?, parts.next(), parts.next());
        if let Some((deferral, kind)) = deferral.zip(kind) {
            let at = Timestamp::from_millis(at.parse().ok()?);
            return Some(Self::Entry((at, DeferralId::parse(deferral)?, EntryKind::parse(kind)?)));
        }
        let key = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (hour, workload, model, pass_model, us_only, fast, prompt_above): Written<'_> =
            serde_json::from_slice(&key).ok()?;
        let (model, pass_model) = (model.into_owned(), pass_model.into_owned());
        let terms = Terms { model, pass_model, us_only, fast, prompt_above };
        Some(Self::Charge(ChargeKey { hour: Timestamp::from_millis(hour), workload: WorkloadId(workload), terms }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back() {
        let deferral = DeferralId(uuid::Uuid::from_u128(7));
        let entry = Place::Entry((Timestamp::from_millis(1_795_350_000_123), deferral, EntryKind::Late));
        let terms = Terms {
            model: "claude-\"odd\"+ü".into(),
            pass_model: String::new(),
            us_only: true,
            fast: false,
            prompt_above: 100_000,
        };
        let charge =
            Place::Charge(ChargeKey { hour: Timestamp::from_millis(3_600_000), workload: WorkloadId(-5), terms });
        for place in [entry, charge] {
            let written = place.write();
            assert!(written.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)), "{written}");
            assert_eq!(Place::read(&written), Some(place));
        }
        for wrong in ["", "1", "1.dfr_x.late", "x.dfr_00000000000000000000000000000007.late", "W10", "***"] {
            assert_eq!(Place::read(wrong), None, "{wrong}");
        }
    }
}
