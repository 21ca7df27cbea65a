//! What the demo shows in the end: a row per workload, the sums, and what to do next.

use std::collections::HashSet;

use serde::Serialize;

use super::traffic::Served;
use super::workloads::{WORKLOADS, Workload};
use crate::cli::table::{Align, Table};
use crate::cli::view::dollars;
use crate::domain::money::NanoUsd;

/// What happened, all of it read from answers.
#[derive(Serialize)]
pub(super) struct Report {
    #[serde(rename = "type")]
    kind: &'static str,
    gateway: String,
    admin: String,
    token_counts: usize,
    /// The provider's batches that the deferred calls went out in.
    batches: usize,
    failed: usize,
    data: Vec<Row>,
    deferred: Sum,
    total: Sum,
}

#[derive(Serialize)]
struct Row {
    workload: &'static str,
    model: &'static str,
    served_by: &'static str,
    #[serde(flatten)]
    sum: Sum,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Sum {
    calls: u64,
    input_tokens: u64,
    output_tokens: u64,
    live_price: NanoUsd,
    paid: NanoUsd,
    saved: NanoUsd,
}

impl Report {
    /// Adds up what was served by the gateway at these URLs.
    pub(super) fn new(gateway: String, admin: String, token_counts: usize, served: &[Served], failed: usize) -> Self {
        let batches: HashSet<_> = served.iter().filter_map(|one| one.batch.as_deref()).collect();
        Self {
            kind: "demo",
            gateway,
            admin,
            token_counts,
            batches: batches.len(),
            failed,
            data: WORKLOADS.iter().map(|workload| Row::new(workload, served)).collect(),
            deferred: Sum::of(served.iter().filter(|one| one.workload.is_deferred())),
            total: Sum::of(served),
        }
    }

    /// The rows and the sums as a table, and what they come to in a sentence.
    pub(super) fn table(&self) -> String {
        use Align::{Left, Right};
        let numbers = ["calls", "tokens", "live price", "paid", "saved"].map(|name| (name, Right));
        let [calls, tokens, live_price, paid, saved] = numbers;
        let words = ["workload", "via", "model"].map(|name| (name, Left));
        let [workload, via, model] = words;
        let mut table = Table::new([workload, via, model, calls, tokens, live_price, paid, saved]);
        for Row { workload, model, served_by, sum } in &self.data {
            table.row(cells([workload, served_by, model], sum));
        }
        table.rule();
        table.row(cells(["total", "", ""], &self.total));
        format!("{table}\n\n{}", self.sentence())
    }

    fn sentence(&self) -> String {
        let Sum { calls, paid, live_price, .. } = self.deferred;
        format!(
            "{calls} deferred calls went out in {} batches and cost {} instead of {}: {}% less.\n\
             {} live calls and {} token counts passed straight through.",
            self.batches,
            dollars(paid),
            dollars(live_price),
            self.deferred.saved_percent(),
            self.total.calls - calls,
            self.token_counts,
        )
    }

    /// How to go on from here, with commands that can be pasted.
    pub(super) fn next_steps(&self) -> String {
        let Self { gateway, admin, .. } = self;
        let program = std::env::args().next().unwrap_or_else(|| "offpeak".to_owned());
        format!(
            r#"What to do next

1. Defer a call of your own; the answer is a ticket with an "id" (any key will do for the simulator):

   curl -s {gateway}/v1/messages -H 'x-defer: batch' \
     -H 'x-api-key: demo' -H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' \
     -d '{{"model":"claude-haiku-5-5","max_tokens":200,"messages":[{{"role":"user","content":"Hello"}}]}}'

2. Fetch its result by that id:

   curl -s '{gateway}/deferred/ID/message?wait=60' -H 'x-api-key: demo'

3. The same with the Python SDK:

   client = anthropic.Anthropic(base_url="{gateway}", api_key="demo")
   ticket = client.messages.create(
       model="claude-haiku-5-5", max_tokens=200, messages=[{{"role": "user", "content": "Hello"}}],
       extra_headers={{"x-defer": "batch"}},
   )
   message = client.get(f"/deferred/{{ticket.id}}/message?wait=60", cast_to=anthropic.types.Message)

4. Look at what was deferred:

   {program} deferrals list --admin {admin}

5. Do it for real, with your provider key in the calls:

   {program} serve"#
        )
    }
}

fn cells(words: [&str; 3], sum: &Sum) -> [String; 8] {
    let [workload, via, model] = words.map(str::to_owned);
    let [calls, tokens] = [sum.calls, sum.input_tokens + sum.output_tokens].map(|count| count.to_string());
    let [live_price, paid, saved] = [sum.live_price, sum.paid, sum.saved].map(dollars);
    [workload, via, model, calls, tokens, live_price, paid, saved]
}

impl Row {
    fn new(workload: &Workload, served: &[Served]) -> Self {
        Self {
            workload: workload.name,
            model: workload.model,
            served_by: if workload.is_deferred() { "batch" } else { "live" },
            sum: Sum::of(served.iter().filter(|one| one.workload.name == workload.name)),
        }
    }
}

impl Sum {
    fn of<'a>(served: impl IntoIterator<Item = &'a Served>) -> Self {
        served.into_iter().fold(Self::default(), |sum, one| Self {
            calls: sum.calls + 1,
            input_tokens: sum.input_tokens + one.tokens.prompt(),
            output_tokens: sum.output_tokens + one.tokens.output,
            live_price: sum.live_price + one.live_price,
            paid: sum.paid + one.paid,
            saved: sum.saved + (one.live_price - one.paid),
        })
    }

    fn saved_percent(&self) -> i64 {
        // Nothing was saved of nothing.
        (self.saved.0 * 100).checked_div(self.live_price.0).unwrap_or(0)
    }
}
