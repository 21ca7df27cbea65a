//! `offpeak explain`: which rule decides over a call, and why.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::config::ConfigArgs;
use super::output;
use super::table::{Align, Table, pairs};
use crate::clock::Clock;
use crate::domain::decision::{Decision, LiveReason};
use crate::domain::policy::Said;
use crate::domain::units::format_size;
use crate::domain::wait::Wait;
use crate::intake::{Asked, Explanation, Refusal, Terms, explain};
use crate::secret::{KeySource, MasterKey, Vault};
use crate::settings::Settings;

/// No body that the provider takes is longer.
const BODY_MAX: u64 = 64_000_000;

/// The widest that what a rule reads is shown, in characters.
const WHY_WIDTH: usize = 100;

/// Which call, under which settings.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// A header of the call; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
    /// The body of the call, as it is sent to /v1/messages; - reads standard input
    #[arg(value_name = "REQUEST.json")]
    request: PathBuf,
}

/// Explains, and answers.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let settings = Settings::load(&args.config.sources())?.settings;
    let body = read(&args.request).with_context(|| format!("cannot read {}", args.request.display()))?;
    let vault = Vault::new(&master_key(&settings.store.master_key));
    let headers: HeaderMap = args.headers.into_iter().collect();
    let explained = explain(&settings.intake, &vault, &headers, body.into(), Clock::system().now()).await;
    let explained = explained.map_err(|refusal| anyhow!("the call is refused: {}", said(&refusal)))?;
    output::say(&if args.json { as_json(&explained).to_string() } else { shown(&explained) })?;
    Ok(())
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected \"name: value\"")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is no name of a header"))?;
    let value = value.trim().parse().map_err(|_| "the value cannot stand in a header".to_owned())?;
    Ok((name, value))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(BODY_MAX).read_to_end(&mut body)?;
    } else {
        std::fs::File::open(path)?.take(BODY_MAX).read_to_end(&mut body)?;
    }
    Ok(body)
}

/// The master key, by which tenants get their pseudonyms. Explaining makes none: without it they are others.
fn master_key(source: &KeySource) -> MasterKey {
    match source {
        KeySource::File(path) if !path.exists() => MasterKey::random(),
        source => source.open().unwrap_or_else(|_| MasterKey::random()),
    }
}

fn shown(explained: &Explanation) -> String {
    let mut table = Table::new([("rule", Align::Left), ("says", Align::Left), ("because of", Align::Left)]);
    for asked in &explained.rules {
        table.row([asked.name.to_string(), says(&asked.said).to_owned(), why(asked)]);
    }
    let mut facts = vec![("decision", decision(&explained.decision))];
    if let Some(terms) = &explained.terms {
        facts.push(("deadline", terms.deadline.to_string()));
        facts.push(("reply", reply(terms)));
        facts.extend(terms.tags.workload.iter().map(|workload| ("workload", workload.clone())));
    }
    let batch = explained.blocked.as_ref().map_or("a batch can take it".to_owned(), said);
    facts.push(("batch", batch));
    let facts = pairs(&facts);
    if explained.rules.is_empty() { facts } else { format!("{table}\n\n{facts}") }
}

fn says(said: &Said) -> &'static str {
    match said {
        Said::Matches => "matches",
        Said::No => "no",
        Said::Fails(_) => "fails",
    }
}

/// What a rule said, by what it read.
fn why(asked: &Asked) -> String {
    let reads: Vec<_> = asked.reads.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let reads = reads.join(", ");
    let why = match &asked.said {
        Said::Fails(why) => format!("{why}: {reads}"),
        _ => reads,
    };
    let cut = why.char_indices().nth(WHY_WIDTH).map(|(at, _)| at);
    cut.map_or(why.clone(), |at| format!("{}…", &why[..at]))
}

/// A decision as the header says it; whose id it will be is not known yet.
fn decision(decision: &Decision) -> String {
    match decision {
        Decision::Deferred(_, id) => decision.to_string().replace(&id.to_string(), "dfr_…"),
        _ => decision.to_string(),
    }
}

fn reply(terms: &Terms) -> String {
    match (&terms.tags.wait, &terms.promise) {
        (Some(Wait::For(wait)), _) if wait.is_zero() => "ticket".to_owned(),
        (Some(_), _) => "hold".to_owned(),
        (None, Some(promise)) => promise.reply.as_str().to_owned(),
        (None, None) => "ticket, or a held stream".to_owned(),
    }
}

fn said(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NotDeferrable(no) => format!("no batch takes it ({}): {}", no.blocked_by, no.message),
        Refusal::MissingCredential => "no batch takes it (credential): give the caller's key with -H".to_owned(),
        Refusal::TooLarge(limit) => format!("it is longer than {}, which is defer.max_body", format_size(*limit)),
        Refusal::InvalidHeader { name, allowed } => format!("the header {name} does not parse; allowed: {allowed}"),
        other => format!("{other:?}"),
    }
}

fn as_json(explained: &Explanation) -> Value {
    let (what, why) = explained.decision.words();
    let (rule, blocked_by) = match &explained.decision {
        Decision::Live(rule, LiveReason::NotDeferrable(blocked_by)) => (rule.clone(), Some(*blocked_by)),
        Decision::Live(rule, _) | Decision::Deferred(rule, _) => (rule.clone(), None),
        Decision::Refused(_) => (None, None),
    };
    let asked = |asked: &Asked| {
        let error = if let Said::Fails(why) = &asked.said { Some(why) } else { None };
        let reads: serde_json::Map<String, Value> =
            asked.reads.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({"name": &*asked.name, "says": says(&asked.said), "error": error, "reads": reads})
    };
    json!({
        "decision": what,
        "reason": why,
        "rule": rule.as_deref(),
        "blocked_by": blocked_by,
        "header": decision(&explained.decision),
        "rules": explained.rules.iter().map(asked).collect::<Vec<_>>(),
        "terms": explained.terms.as_ref().map(|terms| json!({
            "deadline": terms.deadline,
            "reply": reply(terms),
            "workload": terms.tags.workload,
            "callback": terms.tags.callback.is_some(),
        })),
        "batchable": explained.blocked.is_none(),
        "batch": explained.blocked.as_ref().map(said),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_curl_takes_them() {
        let (name, value) = header("X-Team:  a:b ").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-team", "a:b"));
        for wrong in ["x-team", ": a", "x team: a", "x: a\nb"] {
            assert!(header(wrong).is_err(), "{wrong}");
        }
    }
}
