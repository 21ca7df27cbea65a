//! Running a batch: from its items to their outcomes, and from those to the lines of its results.

use serde::Serialize;
use serde_json::value::RawValue;

use super::answer::{self, Tier};
use super::auth::Caller;
use super::batch::{Due, Outcome, Results};
use super::books::Item;
use super::cache::{self, CacheUsage, Plan};
use super::call::Fields;
use super::digest::hex_of;
use super::error::{ApiError, json};
use super::fault::ItemEnd;
use super::validate::{self, Facts};
use super::world::World;

/// Runs the items of a batch that has come to its end.
pub(super) fn run(world: &World, due: &Due) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(due.items.len());
    let mut visits = Vec::new();
    for (index, item) in due.items.iter().enumerate() {
        let outcome = match world.item_fault(item) {
            Some(end) => ended_by(end),
            None if index >= due.done => due.rest.clone(),
            None => match judge(item, &due.caller) {
                Err(error) => Outcome::Errored(Box::new(error)),
                Ok(None) => Outcome::Succeeded(CacheUsage::default()),
                Ok(Some(plan)) => {
                    let visit = world.cache().visit(&plan, due.ended_at);
                    let usage = visit.usage;
                    visits.push(visit);
                    Outcome::Succeeded(usage)
                }
            },
        };
        outcomes.push(outcome);
    }
    // Items run side by side: only when all have looked do their writes appear.
    let mut cache = world.cache();
    visits.into_iter().for_each(|visit| cache.keep(visit, due.ended_at));
    outcomes
}

/// Whether an item succeeds, and how it would use the cache.
fn judge(item: &Item, caller: &Caller) -> Result<Option<Plan>, ApiError> {
    let call = Fields::parse(&item.params)?;
    let facts = validate::item(&call, caller)?;
    match answer::failure(&facts) {
        Some(error) => Err(error),
        None => cache::plan(&call, &caller.workspace, Tier::Batch),
    }
}

fn ended_by(end: ItemEnd) -> Outcome {
    match end {
        ItemEnd::Errored(kind) => Outcome::Errored(Box::new(ApiError::of(kind, "The simulator was asked to fail"))),
        ItemEnd::Expired => Outcome::Expired,
        ItemEnd::Canceled => Outcome::Canceled,
    }
}

impl Results {
    /// How many lines there are.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// The `nth` line. The order is not that of the items: it goes round them in a stride, from the middle.
    pub(super) fn line(&self, nth: usize) -> String {
        let count = self.len();
        let index = (nth * stride(count) + count / 2) % count;
        line(&self.items[index].custom_id, &result(&self.items[index], &self.outcomes[index], &self.caller))
    }

    /// The result of some item under an id that is not in the batch.
    pub(super) fn foreign_line(&self, nth: usize) -> String {
        let item = &self.items[nth % self.len()];
        line(&format!("foreign-{nth}"), &result(item, &Outcome::Expired, &self.caller))
    }
}

/// About the golden section of the whole, so that neighbours part; without a common divisor, so that all have their turn.
fn stride(count: usize) -> usize {
    let coprime = |step: &usize| {
        let (mut a, mut b) = (*step, count);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    (count * 618 / 1_000 + 1..).find(coprime).unwrap_or(1)
}

fn line(custom_id: &str, result: &str) -> String {
    format!("{{\"custom_id\":{},\"result\":{result}}}\n", json(custom_id))
}

fn result(item: &Item, outcome: &Outcome, caller: &Caller) -> String {
    let error = match outcome {
        Outcome::Canceled => return r#"{"type":"canceled"}"#.into(),
        Outcome::Expired => return r#"{"type":"expired"}"#.into(),
        Outcome::Errored(error) => (**error).clone(),
        Outcome::Succeeded(usage) => match answered(item, *usage, caller) {
            Ok(message) => return json(&Succeeded { kind: "succeeded", message }),
            Err(error) => error,
        },
    };
    let request_id = format!("req_{}", &hex_of(&item.custom_id)[..24]);
    format!(r#"{{"type":"errored","error":{}}}"#, error.body(&request_id))
}

/// The answer to an item that was found to be valid when it was run.
fn answered(item: &Item, usage: CacheUsage, caller: &Caller) -> Result<Box<RawValue>, ApiError> {
    let call = Fields::parse(&item.params)?;
    let facts: Facts = validate::item(&call, caller)?;
    let message = answer::answer(&call, &facts, Tier::Batch, usage);
    serde_json::value::to_raw_value(&message).map_err(|_| ApiError::of("api_error", "Internal server error"))
}

#[derive(Serialize)]
struct Succeeded {
    #[serde(rename = "type")]
    kind: &'static str,
    message: Box<RawValue>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::super::auth::Version;
    use super::*;

    fn results(count: usize, outcome: &Outcome) -> Results {
        let params = Bytes::from_static(
            br#"{"model":"claude-opus-5","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#,
        );
        let item = |n: usize| Item { custom_id: n.to_string().into(), params: params.clone() };
        let caller =
            Caller { workspace: "w".into(), version: Version::V2023, betas: Default::default(), user_profile: None };
        Results {
            caller: Arc::new(caller),
            items: (0..count).map(item).collect(),
            outcomes: vec![outcome.clone(); count].into(),
        }
    }

    fn order(count: usize) -> Vec<usize> {
        let results = results(count, &Outcome::Canceled);
        let id = |nth| serde_json::from_str::<serde_json::Value>(&results.line(nth)).unwrap()["custom_id"].clone();
        (0..count).map(|nth| id(nth).as_str().unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn every_item_has_its_line_but_not_in_order() {
        for count in [2, 3, 10, 97, 100] {
            let shuffled = order(count);
            let mut sorted = shuffled.clone();
            sorted.sort_unstable();
            let straight: Vec<_> = (0..count).collect();
            assert_eq!(sorted, straight, "{count}");
            assert_ne!(shuffled, straight, "{count}");
        }
        assert_eq!(order(1), [0]);
    }

    #[test]
    fn lines_have_the_providers_shape() {
        assert_eq!(results(1, &Outcome::Expired).line(0), "{\"custom_id\":\"0\",\"result\":{\"type\":\"expired\"}}\n");
        let errored = Outcome::Errored(Box::new(ApiError::of("overloaded_error", "Overloaded")));
        let errored: serde_json::Value = serde_json::from_str(&results(1, &errored).line(0)).unwrap();
        assert_eq!(errored["result"]["error"]["error"]["type"], "overloaded_error");
        assert_eq!(errored["result"]["error"]["type"], "error");
        let succeeded = Outcome::Succeeded(CacheUsage::default());
        let succeeded: serde_json::Value = serde_json::from_str(&results(1, &succeeded).line(0)).unwrap();
        assert_eq!(succeeded["result"]["message"]["usage"]["service_tier"], "batch");
    }
}
