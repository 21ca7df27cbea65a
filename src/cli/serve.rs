//! `offpeak serve`: the gateway, until it is asked to end.

use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::app::{App, DRAIN_GRACE, Workers};
use crate::cli::config::ConfigArgs;
use crate::cli::open_files;
use crate::cli::watch::Watch;
use crate::clock::Clock;
use crate::hold::Periods;
use crate::settings::{Settings, Sources};
use crate::telemetry;

/// How often the files of the settings are looked at; a change counts once it stands for as long.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Which settings to serve with.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Serves until SIGTERM or Ctrl-C, then drains; a second one ends at once.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let sources = args.config.sources();
    let mut watch = Watch::begin(sources.file.clone()).await;
    let mut settings = Settings::load(&sources)?.settings;
    watch.follow(sources.file.iter().chain(&settings.prices.file).cloned());
    settings.hold.periods = Periods::of_this_process();
    telemetry::start(&settings.telemetry)?;
    open_files::raise_limit();
    let mut end = End::listen()?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let app = App::start(settings, Clock::system(), Workers::Running).await?;
    tracing::info!(gateway = %app.gateway, admin = %app.admin, "serving");

    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = end.asked() => break,
            _ = hang_up.recv() => reload(&app, &sources, &mut watch),
            _ = looks.tick() => if watch.has_changed().await {
                reload(&app, &sources, &mut watch);
            }
        }
    }
    tracing::info!(grace_seconds = DRAIN_GRACE.as_secs(), "draining; ask again to end at once");
    tokio::select! {
        () = app.drain(DRAIN_GRACE) => tracing::info!("drained"),
        () = end.asked() => tracing::warn!("ended without draining"),
    }
    Ok(())
}

/// Reads the settings again. Settings with a fault change nothing, and say why.
fn reload(app: &App, sources: &Sources, watch: &mut Watch) {
    match Settings::load(sources) {
        Ok(loaded) => {
            app.reload(&loaded.settings);
            watch.follow(sources.file.iter().chain(&loaded.settings.prices.file).cloned());
            tracing::info!("settings read again");
        }
        Err(faults) => {
            app.refuse(&faults);
            tracing::error!(%faults, "settings with a fault: nothing has changed");
        }
    }
}

/// The signals that ask a process to end.
pub(super) struct End {
    interrupt: Signal,
    terminate: Signal,
}

impl End {
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?,
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
        })
    }

    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
