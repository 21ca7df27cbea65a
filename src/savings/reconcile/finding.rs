//! What is to be said of each day and model: that both sides agree, or why they do not.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{CODE_EXECUTION, Cell, ExportKind, Pair, Side};
use crate::clock::Day;

/// Amounts agree within a cent, or within a thousandth: the provider rounds where we do not.
const AGREE_NANOS: i64 = 10_000_000;
const AGREE_PERMILLE: i64 = 1;

/// A ratio that is the same on so many days is no chance.
const RATIO_DAYS: usize = 3;
/// Ratios are the same within so many thousandths.
const RATIO_PERMILLE: i64 = 2;

/// What is to be said of both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Finding {
    /// They agree.
    Agrees,
    /// Only the provider has it: it did not go through this gateway.
    OnlyTheirs,
    /// Only the ledger has it.
    OnlyOurs,
    /// Some answers have no price here.
    Unpriced {
        /// So many.
        answers: u64,
    },
    /// No Message tells of it: it is in no ledger.
    NotInMessages,
    /// Over several days they agree: what was answered around midnight counts for another day there.
    OtherDay,
    /// The provider's amount is the same part of ours on every day: a discount that our prices lack, or have too many of.
    Ratio {
        /// The part, in thousandths.
        permille: i64,
    },
    /// They differ, and nothing says why.
    Differs,
}

/// Gives each pair its finding.
pub(super) fn judged(pairs: BTreeMap<(Day, Option<String>), Pair>, kind: ExportKind) -> Vec<Cell> {
    let mut by_what: BTreeMap<Option<String>, Vec<(Day, Pair)>> = BTreeMap::new();
    for ((day, what), pair) in pairs {
        by_what.entry(what).or_default().push((day, pair));
    }
    let mut cells = Vec::new();
    for (what, days) in by_what {
        let findings = of_days(what.as_deref(), &days, kind);
        let judged = days.iter().zip(findings);
        cells.extend(judged.map(|((day, pair), finding)| Cell { day: *day, what: what.clone(), pair: *pair, finding }));
    }
    cells.sort_by(|a, b| (a.day, &a.what).cmp(&(b.day, &b.what)));
    cells
}

/// The findings of one model or fee, day by day.
fn of_days(what: Option<&str>, days: &[(Day, Pair)], kind: ExportKind) -> Vec<Finding> {
    let total = days.iter().fold(Pair::default(), |sum, (_, pair)| sum.plus(pair));
    let agree_in_all = agrees(&total, kind);
    let ratio = ratio(days, kind);
    let finding = |(index, (day, pair)): (usize, &(Day, Pair))| {
        let Pair { ours, theirs } = pair;
        if agrees(pair, kind) {
            return Finding::Agrees;
        }
        let beside = [index.checked_sub(1), Some(index + 1)].into_iter().flatten().filter_map(|at| days.get(at));
        let makes_up = |other: &Pair| !agrees(other, kind) && agrees(&pair.plus(other), kind);
        let moved = beside.filter(|(other, _)| (other.0 - day.0).abs() == 1).any(|(_, other)| makes_up(other));
        match ratio {
            _ if what == Some(CODE_EXECUTION) => Finding::NotInMessages,
            _ if ours.unpriced > 0 && kind == ExportKind::Cost => Finding::Unpriced { answers: ours.unpriced },
            _ if agree_in_all || moved => Finding::OtherDay,
            _ if is_nothing(ours) => Finding::OnlyTheirs,
            _ if is_nothing(theirs) => Finding::OnlyOurs,
            Some(permille) if kind == ExportKind::Cost => Finding::Ratio { permille },
            _ => Finding::Differs,
        }
    };
    days.iter().enumerate().map(finding).collect()
}

fn is_nothing(side: &Side) -> bool {
    *side == Side::default()
}

fn agrees(pair: &Pair, kind: ExportKind) -> bool {
    let (ours, theirs) = (pair.ours.measure(kind), pair.theirs.measure(kind));
    match kind {
        ExportKind::Usage => {
            pair.ours.tokens == pair.theirs.tokens && pair.ours.web_searches == pair.theirs.web_searches
        }
        ExportKind::Cost => {
            let allowed = AGREE_NANOS.max(theirs.saturating_abs() / 1_000 * AGREE_PERMILLE);
            ours.saturating_sub(theirs).saturating_abs() <= allowed
        }
    }
}

/// The part that theirs is of ours, if it is the same on all days that both have, and these are enough.
fn ratio(days: &[(Day, Pair)], kind: ExportKind) -> Option<i64> {
    let measures = days.iter().map(|(_, pair)| (pair.ours.measure(kind), pair.theirs.measure(kind)));
    let both: Vec<(i64, i64)> = measures.filter(|(ours, theirs)| *ours > 0 && *theirs > 0).collect();
    let permille = |(ours, theirs): (i64, i64)| i64::try_from(i128::from(theirs) * 1_000 / i128::from(ours)).ok();
    let ratios: Vec<i64> = both.iter().filter_map(|pair| permille(*pair)).collect();
    let (low, high) = (*ratios.iter().min()?, *ratios.iter().max()?);
    let steady = ratios.len() == both.len() && both.len() >= RATIO_DAYS && high - low <= RATIO_PERMILLE;
    let sum = both.iter().fold((0i64, 0i64), |sum, pair| (sum.0.saturating_add(pair.0), sum.1.saturating_add(pair.1)));
    permille(sum).filter(|_| steady)
}
