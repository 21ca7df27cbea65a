//! `offpeak sim`: the stand-in provider on its own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::output;
use crate::clock::Clock;
use crate::domain::units::{DURATION_FORM, format_duration, parse_duration};
use crate::simulator::{Settings, Simulator};

/// A local stand-in for the provider: Messages, Batches, token counting and models, with faults on request
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8200")]
    listen: SocketAddr,
    /// How long a batch takes
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    batch_time: Duration,
    /// How long to wait between the events of a stream
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration)]
    event_pause: Duration,
}

/// Runs it until Ctrl-C or SIGTERM.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let settings = Settings { listen: args.listen, batch_time: args.batch_time, event_pause: args.event_pause };
    let simulator = Simulator::start(settings, Clock::system())
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    output::say(&welcome(&simulator.url(), args.batch_time)).context("cannot write")?;
    tokio::select! {
        stop = tokio::signal::ctrl_c() => stop.context("cannot listen for Ctrl-C")?,
        _ = terminate.recv() => {}
    }
    simulator.shutdown().await;
    Ok(())
}

fn welcome(url: &str, batch_time: Duration) -> String {
    format!(
        "The simulator listens on {url}; any API key will do, and a batch takes {}.\n\n\
         Point the gateway at it:    OFFPEAK__UPSTREAM__URL={url} offpeak serve\n\
         or a client directly:       ANTHROPIC_BASE_URL={url}\n\
         Arm a fault:                curl {url}/_sim/faults -d '{{\"times\":1,\"effect\":{{\"kind\":\"status\",\"status\":529}}}}'\n\
         See what came in:           curl {url}/_sim/books\n\n\
         Ctrl-C ends it.",
        format_duration(batch_time),
    )
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("a duration is {DURATION_FORM}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn reads_its_options() {
        let args = Line::try_parse_from(["sim", "--batch-time", "1m", "--listen", "127.0.0.1:0"]).unwrap().args;
        assert_eq!((args.batch_time, args.event_pause), (Duration::from_secs(60), Duration::ZERO));
        assert!(Line::try_parse_from(["sim", "--batch-time", "soon"]).is_err());
    }
}
