//! The report: the baseline and what was saved, in all and by day, way, workload, model and tenant.

use std::collections::BTreeMap;

use serde::Serialize;

use super::figures::Figures;
use super::period::Period;
use super::run_rate::RunRate;
use crate::clock::Day;
use crate::domain::ledger::{Line, Sums};
use crate::domain::money::NanoUsd;
use crate::domain::price::PriceTable;
use crate::store::CachingOff;

/// What some days came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Always `savings`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The first day, in UTC.
    pub from: Day,
    /// The last day; the one on which the report was made is not over.
    pub to: Day,
    /// The day on which it was made.
    pub made: Day,
    /// All of it.
    pub total: Figures,
    /// By day; those without calls too.
    pub days: Vec<Row>,
    /// By how calls were served.
    pub ways: Vec<Row>,
    /// By workload, what cost most first.
    pub workloads: Vec<Row>,
    /// By model, likewise.
    pub models: Vec<Row>,
    /// By tenant, likewise.
    pub tenants: Vec<Row>,
    /// Models without a price, and how many answers they gave; these are in none of the amounts.
    pub unpriced: Vec<Unpriced>,
    /// What a month comes to; none before there was a full day.
    pub month: Option<Month>,
    /// What could still be deferred; none where nothing was assessed.
    pub on_the_table: Option<OnTheTable>,
    /// The workloads for which caching was off when it was made, what lost most first.
    pub caching_off: Vec<CachingOff>,
}

/// The figures of one day, way, workload, model or tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Which; none for calls without a name.
    pub name: Option<String>,
    /// What they come to.
    pub figures: Figures,
}

/// A model without a price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unpriced {
    /// The model, as the provider names it.
    pub model: String,
    /// How many of its answers have no price.
    pub answers: u64,
}

/// What a month comes to if the days go on as they were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Month {
    /// How many full days that is taken from.
    pub full_days: u64,
    /// The baseline.
    pub baseline: RunRate,
    /// What is paid.
    pub paid: RunRate,
    /// What is saved.
    pub saved: RunRate,
    /// What would be paid if nothing were paid twice and what is still on the table were taken: what to commit to, and no
    /// more.
    pub lean: NanoUsd,
}

/// Workloads that could be deferred and are not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OnTheTable {
    /// What deferring all of them would save in a month.
    pub saves: NanoUsd,
    /// Each of them, what saves most first.
    pub workloads: Vec<Offer>,
}

/// One workload that could be deferred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// Which.
    pub workload: String,
    /// Its live calls in a month.
    pub calls: u64,
    /// What they cost live in a month.
    pub live: NanoUsd,
    /// What deferring them would save of that.
    pub saves: NanoUsd,
}

impl Report {
    /// Adds up the lines of a period, made on the day `today`.
    pub fn new(period: Period, lines: &[Line], offers: Option<Vec<Offer>>, prices: &PriceTable, today: Day) -> Self {
        let total = lines.iter().map(|line| &line.sums).sum::<Sums>();
        let by_day = grouped(lines, |line| line.day);
        let days = period.days().filter(|day| *day <= today);
        let days: Vec<(Day, Figures)> =
            days.map(|day| (day, by_day.get(&day).map_or_else(Figures::default, Figures::from))).collect();
        let on_the_table = offers.map(OnTheTable::new);
        let model = |line: &Line| Some(prices.name(&line.model).to_owned());
        Self {
            kind: "savings".to_owned(),
            from: period.from,
            to: period.until.plus(-1),
            made: today,
            total: Figures::from(&total),
            month: Month::new(&days, period, today, &on_the_table),
            days: days.into_iter().map(|(day, figures)| Row { name: Some(day.to_string()), figures }).collect(),
            ways: rows(lines, |line| Some(line.way.as_str().to_owned())),
            workloads: rows(lines, |line| line.workload.clone()),
            models: rows(lines, model),
            tenants: rows(lines, |line| Some(line.tenant.clone())),
            unpriced: unpriced(lines),
            on_the_table,
            caching_off: Vec::new(),
        }
    }

    /// The same, with the workloads for which caching is off.
    pub fn without_caching(self, mut caching_off: Vec<CachingOff>) -> Self {
        caching_off.sort_by_key(|off| std::cmp::Reverse(off.lost));
        Self { caching_off, ..self }
    }
}

impl Month {
    fn new(days: &[(Day, Figures)], period: Period, today: Day, table: &Option<OnTheTable>) -> Option<Self> {
        // Where the calls begin within the period, their first day was no full one; and today is not over.
        let first = days.iter().find(|(_, figures)| figures.calls + figures.late_answers > 0)?.0;
        let first = if first > period.from { first.plus(1) } else { first };
        let full: Vec<&Figures> =
            days.iter().filter(|(day, _)| (first..today).contains(day)).map(|(_, figures)| figures).collect();
        let rate = |amount: fn(&Figures) -> NanoUsd| {
            RunRate::of(&full.iter().map(|figures| amount(figures)).collect::<Vec<_>>())
        };
        let (paid, twice) = (rate(|of| of.paid)?, rate(|of| of.paid_twice)?);
        let left = table.as_ref().map_or(NanoUsd::ZERO, |table| table.saves);
        Some(Self {
            full_days: full.len() as u64,
            baseline: rate(|of| of.baseline)?,
            saved: rate(|of| of.saved)?,
            lean: (paid.month - twice.month - left).max(NanoUsd::ZERO),
            paid,
        })
    }
}

impl OnTheTable {
    fn new(mut workloads: Vec<Offer>) -> Self {
        workloads.sort_by(|a, b| b.saves.cmp(&a.saves).then_with(|| a.workload.cmp(&b.workload)));
        Self { saves: workloads.iter().map(|offer| offer.saves).sum(), workloads }
    }
}

fn grouped<K: Ord>(lines: &[Line], key: impl Fn(&Line) -> K) -> BTreeMap<K, Sums> {
    let mut groups: BTreeMap<K, Sums> = BTreeMap::new();
    for line in lines {
        let sums = groups.entry(key(line)).or_default();
        *sums = sums.plus(&line.sums);
    }
    groups
}

fn rows(lines: &[Line], key: impl Fn(&Line) -> Option<String>) -> Vec<Row> {
    let groups = grouped(lines, key).into_iter();
    let mut rows: Vec<Row> = groups.map(|(name, sums)| Row { name, figures: Figures::from(&sums) }).collect();
    // What costs the same stays in the order of the names.
    rows.sort_by_key(|row| std::cmp::Reverse((row.figures.baseline, row.figures.calls)));
    rows
}

fn unpriced(lines: &[Line]) -> Vec<Unpriced> {
    let groups = grouped(lines, |line| line.model.clone()).into_iter().filter(|(_, sums)| sums.unpriced > 0);
    groups.map(|(model, sums)| Unpriced { model, answers: sums.unpriced }).collect()
}
