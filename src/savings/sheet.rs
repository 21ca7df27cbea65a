//! The sheet: what a report says in words and tables, whatever it is then written as.

use super::amounts::{Dollars, counted, grouped, percent};
use super::figures::Figures;
use super::report::{Month, OnTheTable, Report, Row, Unpriced};
use crate::clock::Day;
use crate::domain::money::NanoUsd;
use crate::store::CachingOff;

/// Rows that are shown of one table; what is beyond them is added up in one.
const ROWS_MAX: usize = 25;

/// Where the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// At its left edge, as words do.
    Left,
    /// At its right edge, as numbers do.
    Right,
}

/// All that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// What it is about.
    pub title: String,
    /// What it comes to, a sentence each.
    pub summary: Vec<String>,
    /// Its tables.
    pub sections: Vec<Section>,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it is about.
    pub title: String,
    /// How to read it, a sentence each.
    pub notes: Vec<String>,
    /// Its columns.
    pub columns: Vec<(String, Align)>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
    /// Their sum.
    pub total: Option<Vec<String>>,
}

impl Section {
    /// A table without rows; words to the left, numbers to the right.
    pub fn new(title: &str, words: &[&str], numbers: &[&str]) -> Self {
        let left = words.iter().map(|name| (name.to_string(), Align::Left));
        let right = numbers.iter().map(|name| (name.to_string(), Align::Right));
        let columns = left.chain(right).collect();
        Self { title: title.to_owned(), notes: Vec::new(), columns, rows: Vec::new(), total: None }
    }
}

impl Sheet {
    /// Says what a report says.
    pub fn of(report: &Report) -> Self {
        let dollars = Dollars::for_largest(report.total.uncached.max(report.total.paid));
        let Report { from, to, total, month, on_the_table, .. } = report;
        let mut sections = vec![steps(total, dollars)];
        sections.extend(month.as_ref().map(|month| run_rate(month, on_the_table.as_ref(), dollars)));
        sections.extend(
            on_the_table.as_ref().filter(|table| !table.workloads.is_empty()).map(|table| offers(table, dollars)),
        );
        sections.extend((!report.unpriced.is_empty()).then(|| unpriced(&report.unpriced)));
        sections.extend((!report.caching_off.is_empty()).then(|| without_caching(&report.caching_off)));
        for (title, name, rows) in [
            ("How calls were served", "served", &report.ways),
            ("Workloads", "workload", &report.workloads),
            ("Models", "model", &report.models),
            ("Tenants", "tenant", &report.tenants),
            ("Days", "day", &report.days),
        ] {
            sections.push(breakdown(title, name, rows, total, dollars));
        }
        Self { title: format!("Savings from {from} to {to} (UTC)"), summary: summary(report, dollars), sections }
    }
}

fn summary(report: &Report, dollars: Dollars) -> Vec<String> {
    let Figures { calls, baseline, paid, saved, unpriced, unread, .. } = report.total;
    if report.total == Figures::default() {
        return vec!["There were no calls.".to_owned()];
    }
    let mut said = vec![format!(
        "{} cost {} instead of {}: {} saved, {} of the baseline.",
        counted(calls, "call"),
        dollars.show(paid),
        dollars.show(baseline),
        dollars.show(saved),
        percent(saved.permille_of(baseline)),
    )];
    if unpriced > 0 {
        said.push(format!("In none of the amounts: {} of models without a price.", counted(unpriced, "answer")));
    }
    if unread > 0 {
        said.push(format!("Of {} it is not known what they took: they went unread.", counted(unread, "live call")));
    }
    if report.to >= report.made {
        said.push(format!("{} is not over yet.", report.made));
    }
    said
}

/// From the price without any caching to what was paid.
fn steps(total: &Figures, dollars: Dollars) -> Section {
    let mut section = Section::new("From the list price to what was paid", &["step"], &["amount", "of the baseline"]);
    let taken = |amount: NanoUsd| NanoUsd::ZERO - amount;
    for (step, amount) in [
        ("live, without caching", total.uncached),
        ("saved by caching", taken(total.saved_by_cache)),
        ("baseline: live, with the caching it had", total.baseline),
        ("saved by batches", taken(total.saved_by_batch)),
        ("paid twice", total.paid_twice),
    ] {
        section.rows.push(vec![step.to_owned(), dollars.show(amount), percent(amount.permille_of(total.baseline))]);
    }
    let of_baseline = percent(total.paid.permille_of(total.baseline));
    section.total = Some(vec!["paid".to_owned(), dollars.show(total.paid), of_baseline]);
    if total.late_answers > 0 {
        section.notes.push(format!(
            "Paid twice: {} that came when there was one already, or nobody wanted one any more.",
            counted(total.late_answers, "answer")
        ));
    }
    section
}

fn run_rate(month: &Month, table: Option<&OnTheTable>, dollars: Dollars) -> Section {
    let mut section = Section::new("A month at this rate", &["what"], &["a month", "quietest week", "busiest week"]);
    for (what, rate) in [("baseline", month.baseline), ("paid", month.paid), ("saved", month.saved)] {
        let week = |amount: Option<NanoUsd>| amount.map_or_else(|| "-".to_owned(), |amount| dollars.show(amount));
        section.rows.push(vec![what.to_owned(), dollars.show(rate.month), week(rate.low), week(rate.high)]);
    }
    section.rows.push(vec!["lean baseline".to_owned(), dollars.show(month.lean), "-".to_owned(), "-".to_owned()]);
    section.notes.push(format!(
        "30 days at the mean of {}; beside it, at that of the seven days in a row with the least and with the most.",
        counted(month.full_days, "full day")
    ));
    section.notes.push(match table {
        Some(table) => format!(
            "The lean baseline is what is paid, without what was paid twice and without the {} that are still on the table: \
             commit to no more than that.",
            dollars.show(table.saves)
        ),
        None => "The lean baseline is what is paid, without what was paid twice: commit to no more than that. What is still \
                 on the table was not assessed."
            .to_owned(),
    });
    section
}

fn offers(table: &OnTheTable, dollars: Dollars) -> Section {
    let mut section =
        Section::new("Still on the table", &["workload"], &["calls a month", "live a month", "would save"]);
    section.notes.push("Live workloads that the inventory takes for deferrable: see `offpeak inventory`.".to_owned());
    for offer in table.workloads.iter().take(ROWS_MAX) {
        let (live, saves) = (dollars.show(offer.live), dollars.show(offer.saves));
        section.rows.push(vec![offer.workload.clone(), grouped(offer.calls), live, saves]);
    }
    let live = table.workloads.iter().map(|offer| offer.live).sum();
    let calls = table.workloads.iter().map(|offer| offer.calls).sum();
    section.total = Some(vec!["total".to_owned(), grouped(calls), dollars.show(live), dollars.show(table.saves)]);
    section
}

fn unpriced(models: &[Unpriced]) -> Section {
    let mut section = Section::new("Without a price", &["model"], &["answers"]);
    section.notes.push(
        "What these cost is not known, and is in none of the amounts: give them a price in `prices.file`, and price them \
         with `offpeak report --recompute`."
            .to_owned(),
    );
    section.rows = models.iter().map(|one| vec![one.model.clone(), grouped(one.answers)]).collect();
    section
}

fn without_caching(workloads: &[CachingOff]) -> Section {
    let words = ["workload", "tenant", "off since", "tried again"];
    let mut section = Section::new("Caching is off", &words, &["calls", "lost"]);
    section.notes.push(
        "Caching has cost more than it spared over these calls, and was switched off. It is tried again by itself."
            .to_owned(),
    );
    let all: NanoUsd = workloads.iter().map(|off| off.lost).sum();
    let (dollars, day) = (Dollars::for_largest(all), |at| Day::of(at).to_string());
    for off in workloads.iter().take(ROWS_MAX) {
        let words = [off.name().to_owned(), off.tenant.clone(), day(off.since), day(off.until)];
        section.rows.push(words.into_iter().chain([grouped(off.calls), dollars.show(off.lost)]).collect());
    }
    let name = if workloads.len() > ROWS_MAX { format!("{} in all", workloads.len()) } else { "total".to_owned() };
    let calls = grouped(workloads.iter().map(|off| off.calls).sum());
    let [tenant, since, until] = [(); 3].map(|()| String::new());
    section.total = Some(vec![name, tenant, since, until, calls, dollars.show(all)]);
    section
}

fn breakdown(title: &str, name: &str, rows: &[Row], total: &Figures, dollars: Dollars) -> Section {
    let numbers = ["calls", "no price", "baseline", "by cache", "by batches", "paid twice", "paid", "saved"];
    let mut section = Section::new(title, &[name], &numbers);
    let cells = |name: String, of: &Figures| {
        vec![
            name,
            grouped(of.calls),
            grouped(of.unpriced),
            dollars.show(of.baseline),
            dollars.show(of.saved_by_cache),
            dollars.show(of.saved_by_batch),
            dollars.show(of.paid_twice),
            dollars.show(of.paid),
            percent(of.saved.permille_of(of.baseline)),
        ]
    };
    // Days are a course of time, of which no end can be left out.
    let shown = if name == "day" { rows.len() } else { ROWS_MAX };
    for row in rows.iter().take(shown) {
        section.rows.push(cells(row.name.clone().unwrap_or_else(|| "(none)".to_owned()), &row.figures));
    }
    let others = rows.get(shown..).unwrap_or_default();
    if !others.is_empty() {
        let sum = others.iter().fold(Figures::default(), |sum, row| sum.plus(&row.figures));
        section.rows.push(cells(format!("{} others", others.len()), &sum));
    }
    section.total = Some(cells("total".to_owned(), total));
    section
}
