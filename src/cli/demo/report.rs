//! What the demo shows in the end: a row per workload, the sums, and what to do next.

use std::collections::HashSet;

use serde::Serialize;

use super::traffic::Served;
use super::workloads::{WORKLOADS, Workload};
use crate::cli::table::{Align, Table};
use crate::cli::view::{dollars, rounded};
use crate::domain::money::NanoUsd;

/// Who serves a workload's calls.
const LIVE: &str = "live";
const BATCH: &str = "batch";

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

    /// The rows and their sum as a table, and what they come to in a sentence.
    pub(super) fn table(&self) -> String {
        use Align::{Left, Right};
        let [workload, model, calls] = ["workload", "model", "calls"].map(|name| (name, Left));
        let [tokens, live_price, paid, saved] = ["tokens", "live price", "paid", "saved"].map(|name| (name, Right));
        let mut table = Table::new([workload, model, calls, tokens, live_price, paid, saved]);
        for Row { workload, model, served_by, sum } in &self.data {
            table.row(cells([workload, model, &format!("{} {served_by}", sum.calls)], &sum.shown()));
        }
        let total = self.shown(|_| true);
        table.rule();
        table.row(cells(["total", "", &total.calls.to_string()], &total));
        format!("{table}\n\n{}", self.sentence())
    }

    fn sentence(&self) -> String {
        let Sum { calls, paid, live_price, .. } = self.shown(|row| row.served_by == BATCH);
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

    /// The sum of what is shown, so that whoever adds up a column comes to the same.
    fn shown(&self, which: impl Fn(&Row) -> bool) -> Sum {
        self.data.iter().filter(|row| which(row)).fold(Sum::default(), |sum, row| sum.and(&row.sum.shown()))
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

fn cells(words: [&str; 3], sum: &Sum) -> [String; 7] {
    let [workload, model, calls] = words.map(str::to_owned);
    let tokens = (sum.input_tokens + sum.output_tokens).to_string();
    let [live_price, paid, saved] = [sum.live_price, sum.paid, sum.saved].map(dollars);
    [workload, model, calls, tokens, live_price, paid, saved]
}

impl Row {
    fn new(workload: &Workload, served: &[Served]) -> Self {
        Self {
            workload: workload.name,
            model: workload.model,
            served_by: if workload.is_deferred() { BATCH } else { LIVE },
            sum: Sum::of(served.iter().filter(|one| one.workload.name == workload.name)),
        }
    }
}

impl Sum {
    fn of<'a>(served: impl IntoIterator<Item = &'a Served>) -> Self {
        served.into_iter().fold(Self::default(), |sum, one| {
            sum.and(&Self {
                calls: 1,
                input_tokens: one.tokens.prompt(),
                output_tokens: one.tokens.output,
                live_price: one.live_price,
                paid: one.paid,
                saved: one.live_price - one.paid,
            })
        })
    }

    fn and(self, other: &Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            input_tokens: self.input_tokens + other.input_tokens,
            output_tokens: self.output_tokens + other.output_tokens,
            live_price: self.live_price + other.live_price,
            paid: self.paid + other.paid,
            saved: self.saved + other.saved,
        }
    }

    /// The same, with amounts as they are shown.
    fn shown(&self) -> Self {
        let (live_price, paid) = (rounded(self.live_price), rounded(self.paid));
        Self { live_price, paid, saved: live_price - paid, ..*self }
    }

    fn saved_percent(&self) -> i64 {
        // Nothing was saved of nothing.
        (self.saved.0 * 100).checked_div(self.live_price.0).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::Tokens;

    fn served(workload: usize, live_price: i64, paid: i64, batch: Option<&str>) -> Served {
        Served {
            workload: &WORKLOADS[workload],
            tokens: Tokens { input: 10, output: 5, cache_read: 1, ..Tokens::default() },
            live_price: NanoUsd(live_price),
            paid: NanoUsd(paid),
            batch: batch.map(str::to_owned),
        }
    }

    fn report() -> Report {
        let all = [
            served(0, 1_400, 1_400, None),
            served(2, 2_801, 1_400, Some("one")),
            served(2, 2_801, 1_400, Some("one")),
            served(4, 8_400, 4_200, Some("two")),
        ];
        Report::new("http://gw".into(), "http://ops".into(), 1, &all, 0)
    }

    #[test]
    fn what_was_served_is_added_up() {
        let Report { batches, deferred, total, data, .. } = report();
        assert_eq!((batches, deferred.calls, total.calls), (2, 3, 4));
        assert_eq!((total.input_tokens, total.output_tokens), (44, 20));
        let amounts = |sum: &Sum| [sum.live_price, sum.paid, sum.saved].map(|amount| amount.0);
        assert_eq!(amounts(&deferred), [14_002, 7_000, 7_002]);
        assert_eq!(amounts(&total), [15_402, 8_400, 7_002]);
        assert_eq!(deferred.saved_percent(), 50);
        assert_eq!((data[2].workload, data[2].sum.calls, data[3].sum.calls), ("digests", 2, 0));
    }

    #[test]
    fn the_columns_that_are_shown_add_up_although_they_are_rounded() {
        insta::assert_snapshot!(report().table(), @r"
        workload  model              calls    tokens  live price       paid      saved
        chat      claude-sonnet-5-5  1 live       16   $0.000001  $0.000001  $0.000000
        search    claude-haiku-5-5   0 live        0   $0.000000  $0.000000  $0.000000
        digests   claude-sonnet-5-5  2 batch      32   $0.000006  $0.000003  $0.000003
        tagging   claude-haiku-5-5   0 batch       0   $0.000000  $0.000000  $0.000000
        reviews   claude-opus-5-5    1 batch      16   $0.000008  $0.000004  $0.000004
        ------------------------------------------------------------------------------
        total                        4            64   $0.000015  $0.000008  $0.000007

        3 deferred calls went out in 2 batches and cost $0.000007 instead of $0.000014: 50% less.
        1 live calls and 1 token counts passed straight through.
        ");
    }

    #[test]
    fn json_has_exact_amounts() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["data"][2]["saved"].to_string(), "2.802e-6");
        assert_eq!((&json["data"][2]["served_by"], &json["total"]["calls"]), (&"batch".into(), &4.into()));
    }
}
