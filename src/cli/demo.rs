//! `offpeak demo`: simulator, gateway and sample traffic on a store of its own, and what that saved.

mod events;
mod progress;
mod report;
mod setting;
mod traffic;
mod workloads;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;

use self::progress::Progress;
use self::report::Report;
use self::traffic::Happened;
use super::serve::End;
use super::{Told, output};
use crate::app::{App, Workers};
use crate::clock::Clock;
use crate::simulator::{self, Simulator};
use crate::telemetry;

/// How long one of the simulator's batches takes: long enough to be seen waiting.
const BATCH_TIME: Duration = Duration::from_millis(1_500);

/// How long the simulator waits between the events of a stream.
const EVENT_PAUSE: Duration = Duration::from_millis(5);

/// What open connections get in the end; nothing here is worth waiting for longer.
const GRACE: Duration = Duration::from_secs(1);

/// How the demo ends, and what it prints.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// End when everything has been shown, instead of leaving the gateway up until Ctrl-C
    #[arg(long)]
    exit: bool,
    /// Print what happened in JSON
    #[arg(long)]
    json: bool,
}

/// Shows it. Ctrl-C and SIGTERM end it at any time, with nothing left behind.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let mut end = End::listen()?;
    let folder = tempfile::Builder::new().prefix("offpeak-demo-").tempdir().context("cannot make a folder")?;
    let stage = Stage::set(&folder).await?;
    let outcome = tokio::select! {
        shown = stage.show(&args) => Some(shown),
        () = end.asked() => None,
    };
    if let (Some(Ok(())), false) = (&outcome, args.exit) {
        end.asked().await;
    }
    stage.strike().await;
    folder.close().context("cannot remove the demo's folder")?;
    outcome.unwrap_or(Ok(()))
}

/// A gateway, and a provider for it.
struct Stage {
    simulator: Simulator,
    app: App,
}

impl Stage {
    async fn set(folder: &TempDir) -> anyhow::Result<Self> {
        let behaviour =
            simulator::Settings { batch_time: BATCH_TIME, event_pause: EVENT_PAUSE, ..simulator::Settings::default() };
        let simulator = Simulator::start(behaviour, Clock::system()).await.context("cannot start the simulator")?;
        let settings = setting::load(folder.path(), &simulator.url())?;
        telemetry::start(&settings.telemetry)?;
        let app = App::start(settings, Clock::system(), Workers::Running).await?;
        Ok(Self { simulator, app })
    }

    /// Sends the traffic and prints what became of it.
    async fn show(&self, args: &Args) -> anyhow::Result<()> {
        let (gateway, admin) = (url(self.app.gateway), url(self.app.admin));
        let progress = Progress::new();
        progress
            .note(&format!("The gateway listens on {gateway}; behind it is the simulator instead of the provider."));
        let Happened { served, failures, token_counts } = traffic::send(&gateway, &progress).await?;
        let report = Report::new(gateway, admin, token_counts, &served, failures.len());
        if args.json {
            output::say(&serde_json::to_string_pretty(&report)?)?;
        } else {
            output::say(&format!("\n{}", report.table()))?;
        }
        if !failures.is_empty() {
            failures.iter().for_each(|failure| output::complain(failure));
            return Err(Told.into());
        }
        if !args.json {
            output::say(&format!("\n{}", report.next_steps()))?;
        }
        if !args.exit {
            progress.note("\nThe gateway and the simulator stay up. Ctrl-C ends them.");
        }
        Ok(())
    }

    /// From the top down: the gateway's workers may still ask the simulator something.
    async fn strike(self) {
        self.app.drain(GRACE).await;
        self.simulator.shutdown().await;
    }
}

/// How this machine reaches a listener, which may listen everywhere.
fn url(listener: SocketAddr) -> String {
    let host = match listener.ip() {
        ip if !ip.is_unspecified() => ip,
        std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    format!("http://{}", SocketAddr::new(host, listener.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_reached_on_this_machine() {
        for (listener, expected) in [
            ("127.0.0.1:81", "http://127.0.0.1:81"),
            ("0.0.0.0:81", "http://127.0.0.1:81"),
            ("[::]:81", "http://[::1]:81"),
        ] {
            assert_eq!(url(listener.parse().unwrap()), expected);
        }
    }
}
