//! `offpeak deferrals`: lists, shows, cancels and promotes the deferrals of a running gateway.

use super::admin::AdminArgs;
use super::table::{Align, Table, pairs};
use super::view::{DeferralView, PageView, dollars};
use crate::domain::deferral::State;
use crate::domain::group::is_name;
use crate::domain::id::DeferralId;

/// What to do with which deferrals.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List deferrals, newest first
    List(List),
    /// Show one
    Show(One),
    /// Cancel one; what the provider has answered already stays
    Cancel(One),
    /// Send one live now, at the full price
    Promote(One),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those in this state
    #[arg(long, value_parser = State::ALL.map(State::as_str))]
    status: Option<String>,
    /// Only those of this workload
    #[arg(long, value_name = "NAME", value_parser = name)]
    workload: Option<String>,
    /// Only those of this group
    #[arg(long, value_name = "NAME", value_parser = name)]
    group: Option<String>,
    /// At most so many [default: 20]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: Option<u32>,
    /// Go on after this one, the last of the page before
    #[arg(long, value_name = "ID", value_parser = id)]
    after_id: Option<DeferralId>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, clap::Args)]
struct One {
    /// The deferral
    #[arg(value_parser = id)]
    id: DeferralId,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Asks the gateway, and prints the answer.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::List(list) => {
            let path = format!("/api/deferrals{}", query(&list));
            list.admin.open()?.get(&path, listed).await
        }
        Command::Show(One { id, admin }) => admin.open()?.get(&format!("/api/deferrals/{id}"), shown).await,
        Command::Cancel(One { id, admin }) => {
            admin.open()?.post(&format!("/api/deferrals/{id}/cancel"), canceled).await
        }
        Command::Promote(One { id, admin }) => {
            admin.open()?.post(&format!("/api/deferrals/{id}/promote"), promoted).await
        }
    }
}

/// The filters as a query. None of the values has a character that would have to be escaped.
fn query(list: &List) -> String {
    let given = [
        ("status", list.status.clone()),
        ("workload", list.workload.clone()),
        ("group", list.group.clone()),
        ("limit", list.limit.map(|limit| limit.to_string())),
        ("after_id", list.after_id.map(|id| id.to_string())),
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    match given.collect::<Vec<_>>().join("&") {
        none if none.is_empty() => none,
        some => format!("?{some}"),
    }
}

fn listed(page: &PageView) -> String {
    if page.data.is_empty() {
        return "There are no such deferrals.".to_owned();
    }
    let left = ["id", "status", "model", "workload", "ref", "created"].map(|name| (name, Align::Left));
    let [id, status, model, workload, reference, created] = left;
    let mut table = Table::new([id, status, model, workload, reference, created, ("paid", Align::Right)]);
    for one in &page.data {
        table.row([
            one.id.clone(),
            one.status.clone(),
            one.model.clone(),
            or_dash(one.workload.as_ref()),
            or_dash(one.reference.as_ref()),
            one.created_at.clone(),
            one.cost.map_or_else(|| "-".to_owned(), |cost| dollars(cost.paid)),
        ]);
    }
    match &page.last_id {
        Some(last) if page.has_more => format!("{table}\n\nThere are more: --after-id {last}"),
        _ => table.to_string(),
    }
}

fn promoted(one: &DeferralView) -> String {
    match one.status.as_str() {
        "rescuing" => format!("{} is being sent live.", one.id),
        "queued" | "batched" => format!("{} is sent live as soon as it is certain that no batch answers it.", one.id),
        final_state => format!("{} is final already: {final_state}.", one.id),
    }
}

fn shown(one: &DeferralView) -> String {
    let mut lines = vec![
        ("id", one.id.clone()),
        ("status", one.status.clone()),
        ("model", one.model.clone()),
        ("workload", or_dash(one.workload.as_ref())),
        ("ref", or_dash(one.reference.as_ref())),
        ("group", or_dash(one.group.as_ref())),
        ("created", one.created_at.clone()),
        ("deadline", one.deadline.clone()),
        ("completed", or_dash(one.completed_at.as_ref())),
        ("batch", or_dash(one.batch_id.as_ref())),
        ("attempts", one.attempts.to_string()),
        ("served by", or_dash(one.served_by.as_ref())),
    ];
    if one.cancel_requested {
        lines.push(("cancel", "requested".to_owned()));
    }
    if let Some(cost) = one.cost {
        lines.push(("paid", format!("{} (live price {})", dollars(cost.paid), dollars(cost.live_price))));
    }
    let answer = one.message.as_ref().map(|raw| ("message", raw)).or(one.error.as_ref().map(|raw| ("error", raw)));
    if let Some((kind, raw)) = answer {
        lines.push((kind, format!("{} bytes; --json shows them", raw.get().len())));
    }
    pairs(&lines)
}

fn canceled(one: &DeferralView) -> String {
    let DeferralView { id, status, .. } = one;
    match State::parse(status) {
        Some(State::Canceled) => format!("{id} is canceled."),
        Some(state) if state.is_final() => format!("{id} is final already, {status}: nothing has changed."),
        _ => format!("{id} is {status}: it is canceled unless the provider has answered it by then."),
    }
}

fn or_dash(text: Option<&String>) -> String {
    text.map_or("-", String::as_str).to_owned()
}

fn id(text: &str) -> Result<DeferralId, String> {
    DeferralId::parse(text).ok_or_else(|| "an id is dfr_ and 32 hex digits".to_owned())
}

/// The grammar of the headers that name workloads and groups.
fn name(text: &str) -> Result<String, String> {
    if is_name(text) { Ok(text.to_owned()) } else { Err("a name is 1 to 64 of A-Z a-z 0-9 . _ -".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "dfr_00000000000000000000000000000000";

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        list: List,
    }

    fn asked(arguments: &[&str]) -> Result<String, clap::error::ErrorKind> {
        let line = Line::try_parse_from(["list"].iter().chain(arguments)).map_err(|error| error.kind())?;
        Ok(query(&line.list))
    }

    fn deferral(changes: Value) -> DeferralView {
        let mut value = json!({
            "id": ID, "status": "queued", "model": "m", "workload": null, "ref": null, "group": null,
            "created_at": "then", "deadline": "later", "completed_at": null, "cancel_requested": false,
            "batch_id": null, "attempts": 0, "served_by": null, "message": null, "error": null, "cost": null,
        });
        value.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_str(&value.to_string()).unwrap()
    }

    #[test]
    fn filters_become_a_query() {
        assert_eq!(asked(&[]).as_deref(), Ok(""));
        let all = ["--status", "queued", "--workload", "w.1", "--group", "g", "--limit", "5", "--after-id", ID];
        let expected = format!("?status=queued&workload=w.1&group=g&limit=5&after_id={ID}");
        assert_eq!(asked(&all), Ok(expected));
    }

    #[test]
    fn a_filter_that_is_none_is_wrong_use() {
        for wrong in
            [["--status", "done"], ["--workload", "a&b"], ["--group", ""], ["--limit", "0"], ["--after-id", "dfr_1"]]
        {
            assert!(asked(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_page_is_a_table_that_says_how_to_go_on() {
        let cost = json!({"currency": "USD", "paid": 0.0123, "live_price": 0.0246});
        let done = json!({"status": "succeeded", "workload": "digests", "ref": "r-1", "cost": cost});
        let page =
            PageView { data: vec![deferral(done), deferral(json!({}))], has_more: true, last_id: Some(ID.to_owned()) };
        insta::assert_snapshot!(listed(&page), @r"
        id                                    status     model  workload  ref  created       paid
        dfr_00000000000000000000000000000000  succeeded  m      digests   r-1  then     $0.012300
        dfr_00000000000000000000000000000000  queued     m      -         -    then             -

        There are more: --after-id dfr_00000000000000000000000000000000
        ");
        assert_eq!(listed(&PageView { data: vec![], has_more: false, last_id: None }), "There are no such deferrals.");
    }

    #[test]
    fn one_is_shown_without_its_answer() {
        let done = deferral(json!({
            "status": "failed", "completed_at": "now", "served_by": "batch", "attempts": 2,
            "error": {"type": "error", "error": {"type": "api_error", "message": "a private matter"}},
        }));
        let text = shown(&done);
        assert!(text.contains("status     failed\n") && text.contains("attempts   2\n"), "{text}");
        assert!(text.contains("--json shows them") && !text.contains("a private matter"), "{text}");
    }

    #[test]
    fn what_became_of_the_wish_to_cancel_is_said() {
        for (status, words) in
            [("canceled", "is canceled"), ("batched", "unless"), ("succeeded", "nothing has changed")]
        {
            assert!(canceled(&deferral(json!({"status": status}))).contains(words), "{status}");
        }
    }
}
