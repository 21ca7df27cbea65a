//! `offpeak inventory`: which workloads could wait, and what that would save; of recorded calls, or of a file.

mod listing;
mod reading;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::admin::{Admin, AdminArgs};
use super::output;
use crate::clock::Clock;
use crate::domain::price::PriceTable;
use crate::domain::units::{DURATION_FORM, parse_duration};
use crate::inventory::import::{Imported, import};
use crate::inventory::{Assessment, Collector, Listed, Workload, assess, suggest};

use listing::Listing;
use reading::Reading;

/// As many workloads as one answer has: those with the best scores.
const LIMIT: u32 = 1_000;

/// What is looked at.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Look at calls since so long ago
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = since, conflicts_with = "import")]
    since: String,
    /// Print rules for the candidates, ready to paste into the settings
    #[arg(long)]
    suggest: bool,
    /// Look at the calls in a file instead (- is standard input): spend logs of LiteLLM, an export of Helicone, Claude
    /// Code's telemetry, the provider's usage or cost export, or Offpeak's own
    #[arg(long, value_name = "FILE")]
    import: Option<PathBuf>,
    /// Write the recorded calls to a file (- is standard output), which --import reads: their measures, never their text
    #[arg(long, value_name = "FILE", conflicts_with_all = ["import", "suggest"])]
    export: Option<PathBuf>,
    /// Prices of one's own for what is in that file, as in the setting prices.file
    #[arg(long, value_name = "FILE", requires = "import")]
    prices: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Looks, and prints what was found.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    if let Some(file) = args.export {
        let path = format!("/api/calls?since={}", args.since);
        return to_file(&file, &path, &args.admin.open()?).await;
    }
    match args.import {
        Some(file) => from_file(&file, &prices(args.prices.as_deref())?, args.suggest, args.admin.json),
        None => {
            let suggest = if args.suggest { "&suggest=1" } else { "" };
            let path = format!("/api/workloads?since={}&limit={LIMIT}{suggest}", args.since);
            args.admin.open()?.get(&path, Listing::shown).await
        }
    }
}

/// Writes recorded calls to a file.
async fn to_file(file: &Path, path: &str, admin: &Admin) -> anyhow::Result<()> {
    if file == Path::new("-") {
        return admin.save(path, &mut io::stdout().lock()).await;
    }
    let mut created = File::create(file).with_context(|| format!("creating {}", file.display()))?;
    admin.save(path, &mut created).await.with_context(|| format!("{} is not complete", file.display()))
}

/// Looks at the calls in a file.
fn from_file(file: &Path, prices: &PriceTable, with_rules: bool, as_json: bool) -> anyhow::Result<()> {
    let now = Clock::system().now();
    let mut collector = Collector::new(prices, now);
    let imported = read(file, &mut collector)?;
    tell(file, &imported);
    let workloads = collector.finish(None);
    let assessed: Vec<_> = workloads.into_iter().map(|one| (assess(&one, prices, now), one)).map(swapped).collect();
    let rules = with_rules.then(|| suggest(&assessed));
    let data = assessed.iter().map(|(workload, assessment)| Listed::new(workload, assessment)).collect();
    let answer = serde_json::to_string(&Answer { data, rules, import: &imported })?;
    if as_json {
        return Ok(output::say(&answer)?);
    }
    let listing: Listing = serde_json::from_str(&answer).context("reading the list that was just made")?;
    Ok(output::say(&listing.shown())?)
}

/// The prices that count: the built-in ones, under those of a file.
fn prices(own: Option<&Path>) -> anyhow::Result<PriceTable> {
    let Some(own) = own else { return Ok(PriceTable::built_in()?) };
    let text = std::fs::read_to_string(own).with_context(|| format!("reading {}", own.display()))?;
    PriceTable::with_own(&text).with_context(|| format!("in {}", own.display()))
}

fn swapped((assessment, workload): (Assessment, Workload)) -> (Workload, Assessment) {
    (workload, assessment)
}

fn read(file: &Path, collector: &mut Collector<'_>) -> anyhow::Result<Imported> {
    if file == Path::new("-") {
        return import(io::stdin().lock(), collector).context("importing standard input");
    }
    let opened = File::open(file).with_context(|| format!("opening {}", file.display()))?;
    let size = opened.metadata().map_or(0, |metadata| metadata.len());
    let input = BufReader::with_capacity(BUFFER_BYTES, Reading::new(opened, size));
    import(input, collector).with_context(|| format!("importing {}", file.display()))
}

/// Few large reads instead of many small ones.
const BUFFER_BYTES: usize = 1 << 20;

/// Says on standard error what was read, and what was not.
fn tell(file: &Path, imported: &Imported) {
    let Imported { format, calls, sums, passed_over, faulty, faults } = imported;
    let format = format.map_or("", |format| format.as_str());
    let what = if *sums > 0 { format!("{sums} sums of calls") } else { format!("{calls} calls") };
    let mut told = format!("{}: {what} from {format}", file.display());
    if *passed_over > 0 {
        told.push_str(&format!("; {passed_over} entries are no calls"));
    }
    output::complain(&told);
    for fault in faults {
        output::complain(&format!("{}:{}: {}", file.display(), fault.line, fault.reason));
    }
    if *faulty > 0 {
        let more = if *faulty > faults.len() as u64 { ", of which these are the first" } else { "" };
        let lines = if *faulty == 1 { "line does" } else { "lines do" };
        output::complain(&format!("{}: {faulty} {lines} not read{more}", file.display()));
    }
}

/// What is printed as JSON: as `/api/workloads` answers, and what was read.
#[derive(Serialize)]
struct Answer<'a> {
    data: Vec<Listed<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<String>,
    import: &'a Imported,
}

fn since(text: &str) -> Result<String, String> {
    match parse_duration(text).filter(|since| !since.is_zero()) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("{DURATION_FORM} is wanted, and more than 0")),
    }
}
