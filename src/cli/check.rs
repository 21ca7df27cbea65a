//! `offpeak check`: is the configuration fine, and what is in force?

use serde_json::{Value, json};

use super::config::ConfigArgs;
use super::{Told, output};
use crate::settings::{Effective, Fault, Faults, Loaded, Origin, Settings, Sources};

/// Arguments of `offpeak check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Show each setting that is in force and where it came from
    #[arg(long)]
    print: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Checks, and answers.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let sources = args.config.sources();
    let checked = Settings::load(&sources);
    if args.json {
        output::say(&as_json(&sources, &checked, args.print).to_string())?;
        return checked.map(|_| ()).map_err(|_| Told.into());
    }
    let Loaded { effective, .. } = checked?;
    if args.print {
        output::say(&table(&effective))?;
    } else {
        output::say(&summary(&sources, &effective))?;
    }
    Ok(())
}

fn summary(sources: &Sources, effective: &[Effective]) -> String {
    let count = |fits: fn(&Origin) -> bool| effective.iter().filter(|setting| fits(&setting.origin)).count();
    let from_file = count(|origin| matches!(origin, Origin::File { .. }));
    let from_environment = count(|origin| matches!(origin, Origin::Environment(_)));
    let from_defaults = count(|origin| *origin == Origin::Default);
    let file = match &sources.file {
        Some(path) => format!("{from_file} from {}", path.display()),
        None => "no file".to_owned(),
    };
    format!("The configuration is fine: {file}, {from_environment} from the environment, {from_defaults} defaults.")
}

/// A setting per line as in a settings file, its origin behind it as a comment.
fn table(effective: &[Effective]) -> String {
    let setting = |setting: &Effective| format!("{} = {}", setting.key, setting.value);
    let width = effective.iter().map(|one| setting(one).chars().count()).max().unwrap_or(0);
    let lines: Vec<_> = effective.iter().map(|one| format!("{:width$}  # {}", setting(one), one.origin)).collect();
    lines.join("\n")
}

fn as_json(sources: &Sources, checked: &Result<Loaded, Faults>, print: bool) -> Value {
    let faults = checked.as_ref().err().map_or(&[][..], Faults::as_slice);
    let mut answer = json!({
        "ok": checked.is_ok(),
        "file": sources.file,
        "faults": faults.iter().map(fault_as_json).collect::<Vec<_>>(),
    });
    if let (true, Ok(loaded)) = (print, checked) {
        let setting = |one: &Effective| json!({"key": one.key, "value": one.value, "origin": one.origin.to_string()});
        answer["data"] = loaded.effective.iter().map(setting).collect();
    }
    answer
}

fn fault_as_json(fault: &Fault) -> Value {
    let (file, at, variable) = match &fault.origin {
        Origin::File { path, at } => (Some(path), *at, None),
        Origin::Environment(name) => (None, None, Some(name)),
        Origin::Default => (None, None, None),
    };
    json!({
        "file": file,
        "line": at.map(|(line, _)| line),
        "column": at.map(|(_, column)| column),
        "variable": variable,
        "key": fault.key,
        "problem": fault.problem,
    })
}
