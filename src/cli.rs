//! The command line: which command was meant, and how the program ends.
//!
//! Each command is a file with its `Args` and `run`. Exit code 0 is success, 1 failure, 2 wrong use (clap's own).

mod admin;
mod check;
mod client;
mod config;
mod deferrals;
mod deliveries;
mod demo;
mod explain;
mod flush;
mod inventory;
mod migrate;
mod open_files;
mod output;
mod priority;
mod report;
mod serve;
mod sim;
mod table;
mod try_rule;
mod view;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// A gateway in front of the Claude Messages API: calls that nobody waits for go out in batches, at half the price.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::Args),
    /// Show it: simulator, gateway and sample traffic, and what that saved; needs no key
    Demo(demo::Args),
    /// Run a local stand-in for the provider
    Sim(sim::Args),
    /// Check the configuration: every fault with file, line and remedy
    Check(check::Args),
    /// Show which rule decides over a call, and why
    Explain(explain::Args),
    /// Show what rules would have done with the calls that a running gateway has recorded
    TryRule(try_rule::Args),
    /// Look after deferrals of a running gateway
    Deferrals(deferrals::Args),
    /// Look after webhooks of a running gateway
    Deliveries(deliveries::Args),
    /// Have a running gateway send what is queued now
    Flush(flush::Args),
    /// See which workloads could wait, and what that would save
    Inventory(inventory::Args),
    /// Report on a running gateway's baseline, and on what was saved
    Report(report::Args),
    /// Apply the migrations of the store, and end
    Migrate(migrate::Args),
}

/// What tasks that do not end by themselves get before the process ends.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);

/// The command has failed and has said so itself.
#[derive(Debug, thiserror::Error)]
#[error("failed")]
struct Told;

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is::<Told>() {
                output::complain(&format!("{error:#}"));
            }
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    // The first provider stays, which can only be this one: installing it twice changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().on_thread_start(priority::stand_back).build()?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Serve(args) => serve::run(args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Sim(args) => sim::run(args).await,
            Command::Check(args) => check::run(args).await,
            Command::Explain(args) => explain::run(args).await,
            Command::TryRule(args) => try_rule::run(args).await,
            Command::Deferrals(args) => deferrals::run(args).await,
            Command::Deliveries(args) => deliveries::run(args).await,
            Command::Flush(args) => flush::run(args).await,
            Command::Inventory(args) => inventory::run(args).await,
            Command::Report(args) => report::run(args).await,
            Command::Migrate(args) => migrate::run(args).await,
        }
    });
    // A task that does not end by itself must not keep the process.
    runtime.shutdown_timeout(SHUTDOWN_LIMIT);
    outcome
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
