//! `offpeak report --recompute`: has the ledger priced again, bite by bite, and says what that changed by model.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cli::admin::Admin;
use crate::cli::output;
use crate::cli::table::{Align, Table};
use crate::cli::view::dollars;
use crate::domain::money::NanoUsd;

/// One bite, as the admin API tells of it.
#[derive(Deserialize)]
struct Bite {
    entries: u64,
    data: Vec<Change>,
    next: Option<String>,
}

/// What changes for one model.
#[derive(Deserialize, Serialize)]
struct Change {
    model: String,
    entries: u64,
    changed: u64,
    before: Amounts,
    after: Amounts,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
struct Amounts {
    unpriced: u64,
    paid: NanoUsd,
    live: NanoUsd,
}

impl Amounts {
    fn plus(self, other: Self) -> Self {
        let unpriced = self.unpriced + other.unpriced;
        Self { unpriced, paid: self.paid + other.paid, live: self.live + other.live }
    }
}

/// Goes through the ledger to its end.
pub(super) async fn run(admin: &Admin, period: Vec<String>, dry_run: bool) -> anyhow::Result<()> {
    let mut models: BTreeMap<String, Change> = BTreeMap::new();
    let (mut entries, mut after) = (0, None);
    loop {
        let mut query = period.clone();
        query.push(format!("dry_run={}", u8::from(dry_run)));
        query.extend(after.map(|after: String| format!("after={after}")));
        let bite: Bite = admin.ask(&format!("/api/savings/recompute?{}", query.join("&"))).await?;
        bite.data.into_iter().for_each(|change| add(&mut models, change));
        entries += bite.entries;
        after = bite.next;
        progress(entries, after.is_none());
        if after.is_none() {
            break;
        }
    }
    let models: Vec<Change> = models.into_values().collect();
    if admin.wants_json() {
        let changed = models.iter().map(|change| change.changed).sum::<u64>();
        let told =
            json!({"type": "recompute", "dry_run": dry_run, "entries": entries, "changed": changed, "data": models});
        output::say(&told.to_string())?;
    } else {
        output::say(&shown(&models, dry_run))?;
    }
    Ok(())
}

fn add(models: &mut BTreeMap<String, Change>, change: Change) {
    match models.get_mut(&change.model) {
        Some(sum) => {
            sum.entries += change.entries;
            sum.changed += change.changed;
            sum.before = sum.before.plus(change.before);
            sum.after = sum.after.plus(change.after);
        }
        None => _ = models.insert(change.model.clone(), change),
    }
}

/// How far it is, where somebody sees it.
fn progress(entries: u64, is_done: bool) {
    if io::stderr().is_terminal() {
        // A line that cannot be shown is only a picture less.
        let _ = write!(io::stderr().lock(), "\r\x1b[2K{entries} entries{}", if is_done { "\n" } else { "" });
    }
}

fn shown(models: &[Change], dry_run: bool) -> String {
    let changed = models.iter().map(|change| change.changed).sum::<u64>();
    let entries = models.iter().map(|change| change.entries).sum::<u64>();
    if entries == 0 {
        return "The ledger has no such entries.".to_owned();
    }
    let numbers = ["entries", "changed", "no price before", "after", "paid before", "after", "live before", "after"];
    let [entries_head, changed_head, a, b, c, d, e, f] = numbers.map(|name| (name, Align::Right));
    let mut table = Table::new([("model", Align::Left), entries_head, changed_head, a, b, c, d, e, f]);
    for Change { model, entries, changed, before, after } in models {
        table.row([
            model.clone(),
            entries.to_string(),
            changed.to_string(),
            before.unpriced.to_string(),
            after.unpriced.to_string(),
            dollars(before.paid),
            dollars(after.paid),
            dollars(before.live),
            dollars(after.live),
        ]);
    }
    let said = match (dry_run, changed) {
        (_, 0) => format!("All {entries} entries have the price of the table in force already."),
        (true, _) => format!("{changed} of {entries} entries would get another price. Nothing was changed."),
        (false, _) => format!("{changed} of {entries} entries have another price now."),
    };
    format!("{table}\n\n{said}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(model: &str, changed: u64, unpriced: [u64; 2], paid: [i64; 2]) -> Change {
        let [before, after] =
            [0, 1].map(|at| Amounts { unpriced: unpriced[at], paid: NanoUsd(paid[at]), live: NanoUsd(2 * paid[at]) });
        Change { model: model.to_owned(), entries: 10, changed, before, after }
    }

    #[test]
    fn bites_are_added_up_and_what_changes_is_shown_by_model() {
        let mut models = BTreeMap::new();
        add(&mut models, change("claude-opus-5-5", 10, [0, 0], [1_000_000, 900_000]));
        add(&mut models, change("acme-tuned", 3, [3, 0], [0, 500_000]));
        add(&mut models, change("claude-opus-5-5", 2, [0, 0], [1_000_000, 980_000]));
        let models: Vec<Change> = models.into_values().collect();
        insta::assert_snapshot!(shown(&models, true), @r"
        model            entries  changed  no price before  after  paid before      after  live before      after
        acme-tuned            10        3                3      0    $0.000000  $0.000500    $0.000000  $0.001000
        claude-opus-5-5       20       12                0      0    $0.002000  $0.001880    $0.004000  $0.003760

        15 of 30 entries would get another price. Nothing was changed.
        ");
        assert!(shown(&models, false).ends_with("15 of 30 entries have another price now."));
        let same = [change("claude-opus-5-5", 0, [0, 0], [5, 5])];
        assert!(shown(&same, false).ends_with("All 10 entries have the price of the table in force already."));
        assert_eq!(shown(&[], true), "The ledger has no such entries.");
    }
}
