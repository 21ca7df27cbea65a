//! A reconciliation as a sheet.

use std::collections::BTreeMap;

use super::{Cell, ExportKind, Finding, Pair, Reconciliation, Side};
use crate::domain::money::NanoUsd;
use crate::domain::usage::Tokens;
use crate::savings::amounts::{Dollars, counted, grouped, percent};
use crate::savings::sheet::{Section, Sheet};

impl Reconciliation {
    /// What it says.
    pub fn sheet(&self) -> Sheet {
        let Self { from, to, total, cells, .. } = self;
        let shown = Shown::of(self);
        let differing: Vec<&Cell> = cells.iter().filter(|cell| cell.finding != Finding::Agrees).collect();
        let (ours, theirs) = (shown.side(&total.ours), shown.side(&total.theirs));
        let summary = vec![
            format!(
                "The ledger has {ours}, the provider {theirs}: {} more there ({}).",
                shown.more(total),
                shown.part(total)
            ),
            format!(
                "{} of {} agree.",
                grouped((cells.len() - differing.len()) as u64),
                counted(cells.len() as u64, "figure")
            ),
        ];
        let mut sections = Vec::new();
        if !differing.is_empty() {
            sections.push(shown.differences(&differing));
        }
        sections.push(
            shown.sums("Models", "model", cells, |cell| cell.what.clone().unwrap_or_else(|| "(not told)".into())),
        );
        sections.push(shown.sums("Days", "day", cells, |cell| cell.day.to_string()));
        Sheet { title: format!("The ledger beside the provider's export, {from} to {to} (UTC)"), summary, sections }
    }
}

/// How figures of an export of this kind are shown.
struct Shown {
    kind: ExportKind,
    dollars: Dollars,
}

impl Shown {
    fn of(all: &Reconciliation) -> Self {
        let largest = all.total.ours.amount.max(all.total.theirs.amount);
        Self { kind: all.export, dollars: Dollars::for_largest(largest) }
    }

    fn side(&self, side: &Side) -> String {
        match self.kind {
            ExportKind::Cost => self.dollars.show(side.amount),
            ExportKind::Usage => format!("{} tokens", grouped(side.measure(self.kind).unsigned_abs())),
        }
    }

    /// How much more the provider has.
    fn more(&self, pair: &Pair) -> String {
        let more = pair.theirs.measure(self.kind).saturating_sub(pair.ours.measure(self.kind));
        match self.kind {
            ExportKind::Cost => self.dollars.show(NanoUsd(more)),
            ExportKind::Usage => format!("{}{}", if more < 0 { "-" } else { "" }, grouped(more.unsigned_abs())),
        }
    }

    /// The same as a part of what the provider has.
    fn part(&self, pair: &Pair) -> String {
        let (ours, theirs) = (pair.ours.measure(self.kind), pair.theirs.measure(self.kind));
        percent(NanoUsd(theirs.saturating_sub(ours)).permille_of(NanoUsd(theirs)))
    }

    fn differences(&self, cells: &[&Cell]) -> Section {
        let mut section =
            Section::new("What differs", &["day", "model", "why"], &["ledger", "provider", "more there", "part"]);
        for cell in cells {
            let what = cell.what.clone().unwrap_or_else(|| "(not told)".to_owned());
            let mut row = vec![cell.day.to_string(), what, self.why(cell)];
            row.extend(self.figures(&cell.pair));
            section.rows.push(row);
        }
        section
    }

    fn figures(&self, pair: &Pair) -> [String; 4] {
        [self.side(&pair.ours), self.side(&pair.theirs), self.more(pair), self.part(pair)]
    }

    fn sums(&self, title: &str, name: &str, cells: &[Cell], key: impl Fn(&Cell) -> String) -> Section {
        let mut section = Section::new(title, &[name], &["ledger", "provider", "more there", "part"]);
        let mut sums: BTreeMap<String, Pair> = BTreeMap::new();
        for cell in cells {
            let sum = sums.entry(key(cell)).or_default();
            *sum = sum.plus(&cell.pair);
        }
        let row = |(name, pair): (&String, &Pair)| [name.clone()].into_iter().chain(self.figures(pair)).collect();
        section.rows = sums.iter().map(row).collect();
        let total = sums.values().fold(Pair::default(), |sum, pair| sum.plus(pair));
        section.total = Some(["total".to_owned()].into_iter().chain(self.figures(&total)).collect());
        section
    }

    fn why(&self, cell: &Cell) -> String {
        match cell.finding {
            Finding::Agrees => "agrees".to_owned(),
            Finding::OnlyTheirs => "did not go through this gateway".to_owned(),
            Finding::OnlyOurs => "the export does not have it".to_owned(),
            Finding::Unpriced { answers } => format!("{} without a price here", counted(answers, "answer")),
            Finding::NotInMessages => "billed by the hour, of which no Message tells".to_owned(),
            Finding::OtherDay => "around midnight: the same over several days".to_owned(),
            Finding::Ratio { permille } if permille < 1_000 => {
                format!("{} of ours on every day: a discount that prices.file lacks?", percent(Some(permille)))
            }
            Finding::Ratio { permille } => {
                format!(
                    "{} of ours on every day: a discount in prices.file that is not given?",
                    percent(Some(permille))
                )
            }
            Finding::Differs if self.kind == ExportKind::Usage => classes(&cell.pair),
            Finding::Differs => "part of it did not go through this gateway, or another price".to_owned(),
        }
    }
}

/// Which classes of tokens differ, and by how much.
fn classes(Pair { ours, theirs }: &Pair) -> String {
    let class = |of: fn(&Tokens) -> u64| i128::from(of(&theirs.tokens)) - i128::from(of(&ours.tokens));
    let differences = [
        ("input", class(|tokens| tokens.input)),
        ("output", class(|tokens| tokens.output)),
        ("5m writes", class(|tokens| tokens.cache_write_5m)),
        ("1h writes", class(|tokens| tokens.cache_write_1h)),
        ("cache reads", class(|tokens| tokens.cache_read)),
        ("searches", i128::from(theirs.web_searches) - i128::from(ours.web_searches)),
    ];
    let told = differences.iter().filter(|(_, by)| *by != 0).map(|(name, by)| format!("{name} {by:+}"));
    told.collect::<Vec<_>>().join(", ")
}
