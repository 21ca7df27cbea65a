//! A workload as the inventory has it: its looks, its sums, the hours of its calls, and a sample of them.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::domain::money::NanoUsd;
use crate::domain::usage::Tokens;
use crate::inventory::sample::Sample;

/// Everything that [`crate::inventory::assess`] looks at.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What it looks like.
    pub profile: Profile,
    /// The time that was looked at. All workloads of one inventory share it.
    pub window: Window,
    /// What its calls add up to.
    pub sums: Sums,
    /// The hours that had calls, in order.
    pub hours: Vec<Hour>,
    /// Some of its calls.
    pub sample: Sample,
}

/// How a workload can be recognised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// Its name, or its fingerprint (`wkl_` and 16 hex digits).
    pub workload: String,
    /// Who calls, most calls first.
    pub tenants: Vec<Share>,
    /// The models that were asked for, most calls first.
    pub models: Vec<Share>,
    /// What calls (`user-agent`), most calls first.
    pub clients: Vec<Share>,
    /// The beginning of its system prompt as far as it is kept; none if it has none or none is kept.
    pub system_prefix: Option<String>,
    /// The fewest and the most tools that a call offered.
    pub tools: (u32, u32),
    /// Whether another program recorded it, which has names of its own for everything.
    pub is_imported: bool,
}

/// One value, and how many calls had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The value.
    pub name: String,
    /// The calls.
    pub calls: u64,
}

/// A stretch of time, its end not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// Its first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
}

/// What a workload's calls add up to over the window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// All of them.
    pub calls: u64,
    /// Those that had no answer that is one: a status of 400 or more, or none at all.
    pub failed: u64,
    /// Those that batches served, which have nothing left to save.
    pub batched: u64,
    /// Tokens of all.
    pub tokens: Tokens,
    /// The same by model, where it is known; most calls first.
    pub models: Vec<ModelSums>,
    /// What was paid for all.
    pub paid: NanoUsd,
    /// What all would have cost live.
    pub live_price: NanoUsd,
    /// The part of `live_price` that was served live or rescued, blocked calls with it.
    pub served_live_price: NanoUsd,
    /// The part of that which no batch lowers, without that of blocked calls.
    pub fees: NanoUsd,
    /// Calls whose price is not known.
    pub unpriced: u64,
    /// Calls that the Batches API could not take, by what is in the way.
    pub blocked: Vec<Blocked>,
    /// Calls that asked for a stream.
    pub streamed: u64,
    /// Calls whose client left before the answer's end.
    pub hung_up: u64,
    /// Calls that say that they have been tried before.
    pub retried: u64,
    /// Turns within a tool loop.
    pub tool_turns: u64,
    /// Answers that stopped to use a tool.
    pub tool_stops: u64,
    /// Calls during which the answer stood still because its reader did not take it.
    pub slowly_read: u64,
    /// How long answers stood still for that, in milliseconds.
    pub reader_wait_ms: u64,
    /// From arrival to the end of the answer, in milliseconds.
    pub duration_ms: u64,
}

/// What calls to one model add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSums {
    /// The model.
    pub model: String,
    /// Its calls.
    pub calls: u64,
    /// Their tokens.
    pub tokens: Tokens,
}

/// Calls that the Batches API could not take, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The word that `blocked-by` has for it.
    pub reason: String,
    /// The calls.
    pub calls: u64,
    /// What they would cost live.
    pub live_price: NanoUsd,
}

/// The calls of one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hour {
    /// When it began.
    pub at: Timestamp,
    /// The calls that arrived within it.
    pub calls: u64,
}

/// How a fingerprint begins, which takes the place of a name.
const FINGERPRINT: &str = "wkl_";

impl Profile {
    /// Whether a header or a rule named it, rather than its shape.
    pub fn is_named(&self) -> bool {
        !self.workload.starts_with(FINGERPRINT)
    }
}

impl Workload {
    /// Whether the calls' message lists are known. Exports of other programs do not have them.
    pub fn knows_messages(&self) -> bool {
        self.sample.calls().any(|call| call.messages > 0)
    }

    /// Whether it is known which calls asked for a stream.
    pub fn knows_streams(&self) -> bool {
        self.sums.streamed > 0 || self.knows_messages() || self.sample.calls().any(|call| call.first_byte_ms > 0)
    }
}
