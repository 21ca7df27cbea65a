//! The sample traffic: workloads of two imaginary tenants, and what their calls say.

use serde_json::{Value, json};

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Live, as a stream: somebody reads along.
    Stream,
    /// Live, in one piece.
    Plain,
    /// Deferred, with this value of `x-defer`.
    Deferred(&'static str),
}

/// Calls that do one job.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    /// Whose it is. Any key will do for the simulator.
    pub(super) key: &'static str,
    pub(super) model: &'static str,
    pub(super) way: Way,
    pub(super) calls: usize,
    system: &'static str,
    prompt: fn(usize) -> String,
}

const SHOP: &str = "demo-shop-1";
const ESTATES: &str = "demo-estates-1";

/// All of them.
pub(super) static WORKLOADS: [Workload; 5] = [
    Workload {
        name: "chat",
        key: SHOP,
        model: "claude-sonnet-5-5",
        way: Way::Stream,
        calls: 8,
        system: "You help the customers of a shop for garden furniture. Be friendly and brief.",
        prompt: |n| format!("{} What can I do? [long:90]", pick(&COMPLAINTS, n)),
    },
    Workload {
        name: "search",
        key: SHOP,
        model: "claude-haiku-5-5",
        way: Way::Plain,
        calls: 6,
        system: "Turn what a customer types into the filters of our catalogue, as JSON.",
        prompt: |n| format!("{}, not too expensive [json]", pick(&PRODUCTS, n)),
    },
    Workload {
        name: "digests",
        key: SHOP,
        model: "claude-sonnet-5-5",
        way: Way::Deferred("batch"),
        calls: 24,
        system: "Summarise a support conversation for the morning meeting: what went wrong, what was promised, by when.",
        prompt: |n| format!("Ticket {}\n\n{}\n\n[long:160]", 4_100 + n, conversation(n)),
    },
    Workload {
        name: "tagging",
        key: SHOP,
        model: "claude-haiku-5-5",
        way: Way::Deferred("6h"),
        calls: 30,
        system: "Classify a product of the catalogue: material, season, room, and a score for each, as JSON.",
        prompt: |n| format!("Article {}: {}. {} [json]", 70_000 + 7 * n, pick(&PRODUCTS, n), pick(&REMARKS, n / 5)),
    },
    Workload {
        name: "reviews",
        key: ESTATES,
        model: "claude-opus-5-5",
        way: Way::Deferred("1d"),
        calls: 8,
        system: "You review leases for a property manager. List every clause that departs from our standard, with its risk.",
        prompt: |n| format!("Lease {}\n\n{}\n\n[long:420]", 900 + n, lease(n)),
    },
];

impl Workload {
    /// The body of a call. Words in brackets tell the simulator how long and in what form to answer.
    pub(super) fn body(&self, number: usize) -> Value {
        let mut body = self.prompt(number);
        body["max_tokens"] = 1_024.into();
        if self.way == Way::Stream {
            body["stream"] = true.into();
        }
        body
    }

    /// The part of a call whose tokens can be counted.
    pub(super) fn prompt(&self, number: usize) -> Value {
        json!({
            "model": self.model,
            "system": self.system,
            "messages": [{"role": "user", "content": (self.prompt)(number)}],
        })
    }

    pub(super) fn is_deferred(&self) -> bool {
        matches!(self.way, Way::Deferred(_))
    }
}

const COMPLAINTS: [&str; 6] = [
    "The parasol I ordered two weeks ago has not arrived, and the tracking page says nothing.",
    "One of the four chairs came with a bent leg; the other three are fine.",
    "I was charged twice for the same teak table on the same day.",
    "The cushions fade after one week in the sun although the page calls them weatherproof.",
    "I want to return the bench, but the form does not accept my order number.",
    "The delivery was left at a neighbour's whom I do not know.",
];

const REPLIES: [&str; 5] = [
    "I am sorry about that. I have asked the carrier and will write to you by Thursday noon.",
    "Thank you for the photograph. A replacement leaves our warehouse tomorrow, at no cost.",
    "I see both charges. The second one is refunded today and shows up within five working days.",
    "That should not happen. Please keep the set; we refund a third of the price.",
    "I have corrected the number in our records. The form will take it now.",
];

const PRODUCTS: [&str; 6] = [
    "Folding bistro set, powder-coated steel, sage green, two chairs and a round table",
    "Extending dining table, oiled teak, seats eight, stainless steel fittings",
    "Hanging chair of woven rope with a seat cushion, for covered terraces",
    "Storage bench, acacia, water-resistant lining, 280 litres",
    "Cantilever parasol, three metres, tilting, with a cross base for four slabs",
    "Outdoor rug made of recycled bottles, 160 by 230 centimetres, reversible",
];

const REMARKS: [&str; 6] = [
    "Customers praise how quickly it is assembled.",
    "Often bought together with the matching cushions.",
    "Returned in one case of forty, mostly because of the colour.",
    "Out of stock every May.",
    "The manufacturer gives ten years on the frame.",
    "New this season.",
];

const CLAUSES: [&str; 5] = [
    "The tenant bears the cost of all repairs to heating, water and electrical installations, whatever their cause and without an upper limit, and has them done by a company that the landlord names.",
    "The rent rises each January by the change of the consumer price index, but by no less than four percent; a fall of the index does not lower it.",
    "The landlord may enter the premises at any time for inspection, valuation or viewing by buyers, and need not announce it.",
    "On leaving, the tenant removes all fixtures, including those taken over from the tenant before, and restores the state of the first letting.",
    "The deposit amounts to six months' rent, bears no interest, and is repaid within twelve months after the end of the lease.",
];

fn conversation(n: usize) -> String {
    let customer = |turn| pick(&COMPLAINTS, n + turn);
    let agent = |turn| pick(&REPLIES, n + 2 * turn);
    let turns = (0..3).map(|turn| format!("Customer: {}\nAgent: {}", customer(turn), agent(turn)));
    turns.collect::<Vec<_>>().join("\n")
}

fn lease(n: usize) -> String {
    let clauses = (0..12).map(|number| format!("§ {}  {}", number + 1, pick(&CLAUSES, n + number)));
    clauses.collect::<Vec<_>>().join("\n")
}

fn pick(list: &[&'static str], n: usize) -> &'static str {
    list[n % list.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_deferred_calls_are_the_same() {
        let deferred = WORKLOADS.iter().filter(|workload| workload.is_deferred());
        let bodies: Vec<_> =
            deferred.flat_map(|workload| (0..workload.calls).map(|n| workload.body(n).to_string())).collect();
        assert!(bodies.len() >= 48);
        assert_eq!(bodies.iter().collect::<HashSet<_>>().len(), bodies.len());
    }

    #[test]
    fn two_tenants_use_several_models() {
        let distinct = |of: fn(&Workload) -> &'static str| WORKLOADS.iter().map(of).collect::<HashSet<_>>().len();
        assert_eq!((distinct(|it| it.key), distinct(|it| it.model), distinct(|it| it.name)), (2, 3, 5));
    }
}
