//! `offpeak flush`: has a running gateway send what is queued now.

use serde::Deserialize;

use super::admin::AdminArgs;

/// Which gateway.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Deserialize)]
struct Flushed {
    queued: u64,
}

/// Asks for it, and says how many calls it is about.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    args.admin.open()?.post("/api/flush", |flushed: &Flushed| said(flushed.queued)).await
}

fn said(queued: u64) -> String {
    match queued {
        0 => "Nothing is queued.".to_owned(),
        1 => "1 queued call goes out now.".to_owned(),
        many => format!("{many} queued calls go out now."),
    }
}
