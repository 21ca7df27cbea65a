//! `offpeak deliveries`: lists the webhooks of a running gateway, and has some of them sent once more.

use serde::Deserialize;

use super::admin::AdminArgs;
use super::table::{Align, Table};
use crate::domain::delivery::DeliveryState;
use crate::domain::id::DeliveryId;

/// What to do with which deliveries.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List deliveries, newest first
    List(List),
    /// Send some once more, whether they were delivered or given up; all attempts are before them again
    Replay(Replay),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those in this state
    #[arg(long, value_parser = DeliveryState::ALL.map(DeliveryState::as_str))]
    status: Option<String>,
    /// Only those to this receiver: its name, or the origin of a callback's URL
    #[arg(long, value_name = "NAME", value_parser = receiver)]
    receiver: Option<String>,
    /// At most so many [default: 20]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: Option<u32>,
    /// Go on after this one, the last of the page before
    #[arg(long, value_name = "ID", value_parser = id)]
    after_id: Option<DeliveryId>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, clap::Args)]
struct Replay {
    /// The deliveries
    #[arg(value_name = "ID", required = true, value_parser = id)]
    ids: Vec<DeliveryId>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Deserialize)]
struct PageView {
    data: Vec<DeliveryView>,
    has_more: bool,
    last_id: Option<String>,
}

#[derive(Deserialize)]
struct DeliveryView {
    id: String,
    event: String,
    status: String,
    receiver: String,
    attempts: u32,
    created_at: String,
    due_at: Option<String>,
    last_attempt: Option<AttemptView>,
}

#[derive(Deserialize)]
struct AttemptView {
    status: Option<u16>,
    failure: Option<String>,
}

/// Asks the gateway, and prints the answer.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::List(list) => {
            let path = format!("/api/deliveries{}", query(&list));
            list.admin.open()?.get(&path, listed).await
        }
        Command::Replay(Replay { ids, admin }) => {
            let admin = admin.open()?;
            for id in ids {
                admin.post(&format!("/api/deliveries/{id}/replay"), replayed).await?;
            }
            Ok(())
        }
    }
}

/// The filters as a query. None of the values has a character that would have to be escaped.
fn query(list: &List) -> String {
    let given = [
        ("status", list.status.clone()),
        ("receiver", list.receiver.clone()),
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
        return "There are no such deliveries.".to_owned();
    }
    let left = ["id", "event", "status", "receiver", "created", "next attempt"].map(|name| (name, Align::Left));
    let [id, event, status, receiver, created, next] = left;
    let (attempts, last) = (("attempts", Align::Right), ("last answer", Align::Left));
    let mut table = Table::new([id, event, status, receiver, created, attempts, last, next]);
    for one in &page.data {
        table.row([
            one.id.clone(),
            one.event.clone(),
            one.status.clone(),
            one.receiver.clone(),
            one.created_at.clone(),
            one.attempts.to_string(),
            answer(one.last_attempt.as_ref()),
            one.due_at.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    match &page.last_id {
        Some(last) if page.has_more => format!("{table}\n\nThere are more: --after-id {last}"),
        _ => table.to_string(),
    }
}

/// The receiver's status, or in a word why there is none.
fn answer(attempt: Option<&AttemptView>) -> String {
    let word = |attempt: &AttemptView| attempt.status.map(|status| status.to_string()).or(attempt.failure.clone());
    attempt.and_then(word).unwrap_or_else(|| "-".to_owned())
}

fn replayed(one: &DeliveryView) -> String {
    let DeliveryView { id, event, receiver, .. } = one;
    format!("{id} ({event}) is sent to {receiver} once more.")
}

fn id(text: &str) -> Result<DeliveryId, String> {
    DeliveryId::parse(text).ok_or_else(|| "an id is dlv_ and 32 hex digits".to_owned())
}

/// A receiver's name, or an origin: neither has a character that means something in a query.
fn receiver(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/[]".contains(&byte);
    if !text.is_empty() && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("a receiver's name, or an origin such as https://hooks.example is wanted".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "dlv_00000000000000000000000000000000";

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        list: List,
    }

    fn asked(arguments: &[&str]) -> Result<String, clap::error::ErrorKind> {
        let line = Line::try_parse_from(["list"].iter().chain(arguments)).map_err(|error| error.kind())?;
        Ok(query(&line.list))
    }

    fn delivery(changes: Value) -> DeliveryView {
        let mut value = json!({
            "id": ID, "event": "deferral.succeeded", "status": "due", "receiver": "warehouse", "attempts": 0,
            "created_at": "then", "due_at": "soon", "last_attempt": null,
        });
        value.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_str(&value.to_string()).unwrap()
    }

    #[test]
    fn filters_become_a_query() {
        assert_eq!(asked(&[]).as_deref(), Ok(""));
        let all = ["--status", "dead", "--receiver", "https://a.b:81", "--limit", "5", "--after-id", ID];
        let expected = format!("?status=dead&receiver=https://a.b:81&limit=5&after_id={ID}");
        assert_eq!(asked(&all), Ok(expected));
    }

    #[test]
    fn a_filter_that_is_none_is_wrong_use() {
        for wrong in [
            ["--status", "queued"],
            ["--receiver", "a&b"],
            ["--receiver", ""],
            ["--limit", "0"],
            ["--after-id", "dfr_1"],
        ] {
            assert!(asked(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_page_is_a_table_that_says_how_to_go_on() {
        let failed = json!({"attempts": 3, "due_at": "later", "last_attempt": {"status": null, "failure": "timeout"}});
        let done = json!({
            "status": "delivered", "receiver": "https://a.example", "attempts": 1, "due_at": null,
            "last_attempt": {"status": 204, "failure": null},
        });
        let data = vec![delivery(failed), delivery(done), delivery(json!({}))];
        let page = PageView { data, has_more: true, last_id: Some(ID.to_owned()) };
        insta::assert_snapshot!(listed(&page), @r"
        id                                    event               status     receiver           created  attempts  last answer  next attempt
        dlv_00000000000000000000000000000000  deferral.succeeded  due        warehouse          then            3  timeout      later
        dlv_00000000000000000000000000000000  deferral.succeeded  delivered  https://a.example  then            1  204          -
        dlv_00000000000000000000000000000000  deferral.succeeded  due        warehouse          then            0  -            soon

        There are more: --after-id dlv_00000000000000000000000000000000
        ");
        let none = PageView { data: vec![], has_more: false, last_id: None };
        assert_eq!(listed(&none), "There are no such deliveries.");
    }
}
