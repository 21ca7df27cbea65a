//! Sends the sample traffic as an SDK would, live and deferred at the same time, and fetches every result by its id.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use serde_json::value::RawValue;

use super::events;
use super::progress::{Progress, Step};
use super::workloads::{WORKLOADS, Way, Workload};
use crate::cli::client::{Client, Reply};
use crate::cli::view::DeferralView;
use crate::clock::Clock;
use crate::domain::money::NanoUsd;
use crate::domain::price::{PriceTable, Tier};
use crate::domain::usage::{Billed, Tokens};

/// Calls under way at a time, live ones and deferred ones each.
const CONCURRENCY: usize = 8;

/// Results waited for at a time.
const WAITING: usize = 16;

/// How long a result may take in all: a setting of the environment may make batches wait long.
const RESULT_LIMIT: Duration = Duration::from_secs(10 * 60);

/// What became of the traffic.
pub(super) struct Happened {
    pub(super) served: Vec<Served>,
    /// What went wrong, a line each.
    pub(super) failures: Vec<String>,
    pub(super) token_counts: usize,
}

/// A call that was answered.
pub(super) struct Served {
    pub(super) workload: &'static Workload,
    pub(super) tokens: Tokens,
    pub(super) live_price: NanoUsd,
    pub(super) paid: NanoUsd,
    /// The provider's batch, if it was in one.
    pub(super) batch: Option<String>,
}

/// One call of the traffic.
#[derive(Clone, Copy)]
struct Call {
    workload: &'static Workload,
    number: usize,
}

/// Sends everything and waits for every answer.
pub(super) async fn send(gateway: &str, progress: &Progress) -> anyhow::Result<Happened> {
    let sender = Sender::new(gateway, progress)?;
    let calls = WORKLOADS.iter().flat_map(|workload| (0..workload.calls).map(move |number| Call { workload, number }));
    let (deferred, live): (Vec<_>, Vec<_>) = calls.partition(|call| call.workload.is_deferred());
    progress.expect(Step::Live, live.len());
    progress.expect(Step::Queued, deferred.len());
    progress.expect(Step::Result, deferred.len());

    let to_count = live.iter().filter(|call| call.number == 0).copied();
    let counting = stream::iter(to_count).then(|call| sender.tell(call, None, sender.count(call)));
    let answering = stream::iter(live.clone()).map(|call| sender.tell(call, Some(Step::Live), sender.live(call)));
    let queueing = stream::iter(deferred).map(|call| sender.tell(call, Some(Step::Queued), sender.defer(call)));
    let (counts, answers, tickets) = tokio::join!(
        counting.collect::<Vec<_>>(),
        answering.buffer_unordered(CONCURRENCY).collect::<Vec<_>>(),
        queueing.buffer_unordered(CONCURRENCY).collect::<Vec<_>>(),
    );

    let (tickets, refused) = parted(tickets);
    let fetching =
        stream::iter(tickets).map(|(call, id)| sender.tell(call, Some(Step::Result), sender.result(call, id)));
    let results = fetching.buffer_unordered(WAITING).collect::<Vec<_>>().await;
    progress.end();

    let (counts, uncounted) = parted(counts);
    let (served, unanswered) = parted(answers.into_iter().chain(results).collect());
    let failures = [uncounted, refused, unanswered].concat();
    Ok(Happened { served, failures, token_counts: counts.len() })
}

/// What went well, and what did not.
fn parted<T>(outcomes: Vec<Result<T, String>>) -> (Vec<T>, Vec<String>) {
    let mut failures = Vec::new();
    let fine = outcomes.into_iter().filter_map(|outcome| outcome.map_err(|failure| failures.push(failure)).ok());
    (fine.collect(), failures)
}

/// Sends calls, each with its tenant's key.
struct Sender<'a> {
    clients: HashMap<&'static str, Client>,
    prices: PriceTable,
    clock: Clock,
    progress: &'a Progress,
}

impl<'a> Sender<'a> {
    fn new(gateway: &str, progress: &'a Progress) -> anyhow::Result<Self> {
        let client = |key: &'static str| {
            let headers =
                [("x-api-key", key), ("anthropic-version", "2023-06-01"), ("content-type", "application/json")];
            let headers = headers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            Ok((key, Client::new(gateway, HeaderMap::from_iter(headers))?))
        };
        Ok(Self {
            clients: WORKLOADS.iter().map(|workload| client(workload.key)).collect::<anyhow::Result<_>>()?,
            prices: PriceTable::built_in()?,
            clock: Clock::system(),
            progress,
        })
    }

    /// Does one thing for a call and shows that it is done; a failure becomes a line that names the call.
    async fn tell<T>(
        &self,
        call: Call,
        step: Option<Step>,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> Result<T, String> {
        let outcome = work.await;
        if let Some(step) = step {
            self.progress.advance(step);
        }
        outcome.map_err(|error| format!("{} {}: {error:#}", call.workload.name, call.number))
    }

    /// Has the tokens of a call counted, live.
    async fn count(&self, call: Call) -> anyhow::Result<()> {
        let body = call.workload.prompt(call.number).to_string();
        let reply = self.client(call)?.post("/v1/messages/count_tokens", &[], body).await?;
        let count: Value = json(&reply, StatusCode::OK)?;
        ensure!(count["input_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "no tokens were counted");
        Ok(())
    }

    /// Makes a live call; its price is what its own usage comes to.
    async fn live(&self, call: Call) -> anyhow::Result<Served> {
        let reply = self.call(call, &[("x-defer-workload", call.workload.name)]).await?;
        let decision = decision(&reply);
        ensure!(decision.starts_with("live;"), "a live call was answered with the decision {decision:?}");
        let message: Value = if call.workload.way == Way::Stream {
            ensure!(reply.status == StatusCode::OK, refused(&reply));
            events::message(&reply.body)?
        } else {
            json(&reply, StatusCode::OK)?
        };
        let billed = bill(&message.to_string())?;
        let price = self.prices.cost(&billed, Tier::Live, self.clock.now()).context("the model has no price")?;
        let tokens = billed.tokens();
        Ok(Served { workload: call.workload, tokens, live_price: price, paid: price, batch: None })
    }

    /// Makes a deferred call, which is answered with the id to ask for.
    async fn defer(&self, call: Call) -> anyhow::Result<(Call, String)> {
        let Way::Deferred(within) = call.workload.way else { bail!("a live call cannot be deferred") };
        let reference = call.reference();
        let tags = [("x-defer", within), ("x-defer-workload", call.workload.name), ("x-defer-ref", &reference)];
        let reply = self.call(call, &tags).await?;
        let ticket: DeferralView = json(&reply, StatusCode::ACCEPTED)?;
        let (decision, expected) = (decision(&reply), format!("deferred; reason=header; id={}", ticket.id));
        ensure!(decision == expected, "a deferred call was answered with the decision {decision:?}");
        Ok((call, ticket.id))
    }

    /// Waits for the Message of a deferred call; its cost is what the gateway says.
    async fn result(&self, call: Call, id: String) -> anyhow::Result<Served> {
        let message = tokio::time::timeout(RESULT_LIMIT, self.message(call, &id)).await.context("no result")??;
        let deferral: DeferralView = json(&self.client(call)?.get(&format!("/deferred/{id}")).await?, StatusCode::OK)?;
        ensure!(deferral.status == "succeeded", "it {}", deferral.status);
        ensure!(deferral.served_by.as_deref() == Some("batch"), "it was not served by a batch");
        ensure!(deferral.reference == Some(call.reference()), "it belongs to another call");
        let shown = deferral.message.as_deref().map(RawValue::get);
        ensure!(shown == Some(message.as_str()), "its Message differs from the one that was fetched");
        let cost = deferral.cost.context("it has no cost")?;
        Ok(Served {
            workload: call.workload,
            tokens: bill(&message)?.tokens(),
            live_price: cost.live_price,
            paid: cost.paid,
            batch: deferral.batch_id,
        })
    }

    /// Asks for a Message until it is there.
    async fn message(&self, call: Call, id: &str) -> anyhow::Result<String> {
        loop {
            let reply = self.client(call)?.get(&format!("/deferred/{id}/message?wait=60")).await?;
            match reply.status {
                StatusCode::OK => return Ok(reply.body),
                StatusCode::ACCEPTED => {}
                _ => bail!(refused(&reply)),
            }
        }
    }

    async fn call(&self, call: Call, headers: &[(&str, &str)]) -> anyhow::Result<Reply> {
        self.client(call)?.post("/v1/messages", headers, call.workload.body(call.number).to_string()).await
    }

    fn client(&self, call: Call) -> anyhow::Result<&Client> {
        self.clients.get(call.workload.key).context("a tenant without a client")
    }
}

impl Call {
    /// The caller's own name for it.
    fn reference(self) -> String {
        format!("{}-{}", self.workload.name, self.number)
    }
}

fn decision(reply: &Reply) -> &str {
    reply.headers.get("x-defer-decision").and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn bill(message: &str) -> anyhow::Result<Billed> {
    Billed::read(message).context("the answer has no usage")
}

/// The answer, if it has the status that was expected.
fn json<T: serde::de::DeserializeOwned>(reply: &Reply, expected: StatusCode) -> anyhow::Result<T> {
    ensure!(reply.status == expected, refused(reply));
    serde_json::from_str(&reply.body).context("the answer does not read")
}

/// The status and the kind of an error, without its text, which may repeat what was sent.
fn refused(reply: &Reply) -> String {
    let envelope: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    format!("answered with {} {}", reply.status.as_u16(), envelope["error"]["type"].as_str().unwrap_or_default())
}
