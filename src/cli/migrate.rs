//! `offpeak migrate`: applies the migrations of the store, and ends.

use crate::cli::config::ConfigArgs;
use crate::cli::output::say;
use crate::secret::Vault;
use crate::settings::Settings;
use crate::store::Store;

/// Which store to migrate.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Brings the store to what this build expects.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let settings = Settings::load(&args.config.sources())?.settings;
    let vault = Vault::new(&settings.store.master_key.open()?);
    let store = Store::open(&settings.store, vault).await?;
    store.migrate().await?;
    store.close().await;
    say("the store is up to date")?;
    Ok(())
}
