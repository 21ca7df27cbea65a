//! `offpeak report`: the baseline and what was saved, as a running gateway's ledger has it; and pricing that again.

mod recompute;

use std::path::PathBuf;

use anyhow::Context as _;

use super::admin::AdminArgs;

/// Which days, and in which form.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// From then on: how long ago, a day, or an RFC 3339 time [default: 30d; with --recompute, everything]
    #[arg(long, value_name = "WHEN", value_parser = plain, conflicts_with = "month")]
    since: Option<String>,
    /// One month, such as 2026-11
    #[arg(long, value_name = "MONTH", value_parser = plain)]
    month: Option<String>,
    /// What to write
    #[arg(long, value_parser = ["table", "md", "html", "csv", "json"], default_value = "table")]
    format: String,
    /// Compare with the provider's own export of usage or cost: the Console's CSV, or the Admin API's JSON
    #[arg(long, value_name = "FILE", conflicts_with_all = ["since", "month", "recompute"])]
    reconcile: Option<PathBuf>,
    /// Price the ledger again by the prices in force, from the first entry on unless told otherwise
    #[arg(long)]
    recompute: bool,
    /// With --recompute: only say what would change
    #[arg(long, requires = "recompute")]
    dry_run: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Asks the gateway, and prints the answer.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let period = [("since", args.since), ("month", args.month)];
    let mut query: Vec<String> =
        period.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect();
    let admin = args.admin.open()?;
    if args.recompute {
        return recompute::run(&admin, query, args.dry_run).await;
    }
    let format = if admin.wants_json() { "json" } else { &args.format };
    if let Some(file) = args.reconcile {
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        return admin.post_text(&format!("/api/savings/reconcile?format={format}"), text).await;
    }
    query.push(format!("format={format}"));
    admin.get_text(&format!("/api/savings?{}", query.join("&"))).await
}

/// A word without a character that means something in a query, but for the plus of a time's offset.
fn plain(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-:.+".contains(&byte);
    if !text.is_empty() && text.bytes().all(fits) {
        Ok(text.replace('+', "%2B"))
    } else {
        Err("a duration such as 30d, a day, a month, or an RFC 3339 time is wanted".to_owned())
    }
}
