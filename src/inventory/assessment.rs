//! An assessment: what speaks for and against letting a workload wait, and what it would save.

use serde::{Deserialize, Serialize};

use crate::domain::money::NanoUsd;

/// What the inventory thinks of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assessment {
    /// What follows from it all.
    pub verdict: Verdict,
    /// From 0 (somebody waits) to 100 (nobody does): the sum of the parts, held within these bounds.
    pub score: u8,
    /// What the score is made of.
    pub parts: Vec<Part>,
    /// What was seen that speaks for waiting.
    pub signals: Vec<Signal>,
    /// What was seen that rules it out, or asks for a look.
    pub vetoes: Vec<Veto>,
    /// What it would save.
    pub savings: Savings,
}

/// What should become of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It looks as if nobody waits for it.
    Candidate,
    /// The signs do not suffice; somebody who knows it should look.
    Look,
    /// Somebody waits for it, or it cannot go into a batch.
    KeepLive,
}

/// Points for or against, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The points, negative against waiting.
    pub points: i32,
    /// Why, in words.
    pub reason: String,
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signal {
    /// Which.
    pub kind: SignalKind,
    /// How clearly it was seen, in percent.
    pub strength: u8,
    /// How often it happens, of a schedule that repeats by the clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_seconds: Option<u64>,
    /// What was seen, in words and numbers.
    pub evidence: String,
}

/// What can speak for waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalKind {
    /// Calls come by the clock.
    Schedule,
    /// The end of one call starts the next.
    Queue,
    /// Nobody reads answers as they come.
    Unread,
    /// No call goes on from another's answer.
    NoConversation,
    /// No tool waits for the answer.
    NoToolLoop,
    /// Calls come when people sleep.
    AwakeAtNight,
    /// Many calls, day after day.
    Volume,
    /// Calls share a large part of their prompt.
    SharedPrompt,
}

/// One thing that speaks against waiting whatever speaks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Veto {
    /// Which.
    pub kind: VetoKind,
    /// What was seen, in words and numbers.
    pub evidence: String,
}

/// What can rule waiting out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VetoKind {
    /// Calls go on from each other's answers, as people do.
    Conversation,
    /// Each call needs the answer of the one before.
    ToolLoop,
    /// Its callers give up, or try again, when an answer takes long.
    Impatient,
    /// The Batches API cannot take it.
    Blocked,
}

/// What a workload would save in a month of 30 days, if its traffic went on as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Savings {
    /// Calls in a month.
    pub monthly_calls: u64,
    /// What a month costs at live prices.
    pub monthly_live: NanoUsd,
    /// What a month would save in batches.
    pub batch: NanoUsd,
    /// What a month would save in batches with the shared prompt cached, at most; never less than without.
    pub batch_cached: NanoUsd,
    /// What of it cannot go into a batch, by what is in the way.
    pub ineligible: Vec<Ineligible>,
    /// Calls of the window whose price is not known, which are in none of the amounts.
    pub unpriced_calls: u64,
}

/// A part of the month that cannot go into a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ineligible {
    /// The word that `blocked-by` has for it.
    pub reason: String,
    /// The calls in a month.
    pub monthly_calls: u64,
    /// What they cost live in a month.
    pub monthly_live: NanoUsd,
}

impl Verdict {
    /// The words for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Look => "look",
            Self::KeepLive => "keep live",
        }
    }
}

impl Signal {
    /// Whether only machines do this.
    pub fn is_of_a_machine(&self) -> bool {
        matches!(self.kind, SignalKind::Schedule | SignalKind::Queue)
    }
}

impl SignalKind {
    /// The words for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "on a schedule",
            Self::Queue => "queue-like",
            Self::Unread => "nobody reading",
            Self::NoConversation => "not a conversation",
            Self::NoToolLoop => "no tool loop",
            Self::AwakeAtNight => "awake when people sleep",
            Self::Volume => "high and steady volume",
            Self::SharedPrompt => "prompt repeats",
        }
    }
}

impl VetoKind {
    /// The words for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Conversation => "a conversation",
            Self::ToolLoop => "a tool loop",
            Self::Impatient => "somebody waits",
            Self::Blocked => "not for batches",
        }
    }
}
