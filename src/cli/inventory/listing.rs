//! Workloads as people read them: a line each, with what it costs, what it would save, and why. The same for recorded
//! and for imported calls.

use std::cmp::Reverse;

use serde::Deserialize;

use crate::cli::table::{Align, Table};
use crate::domain::money::NanoUsd;
use crate::inventory::{count, dollars};

/// Names longer than this are cut.
const NAME_MAX: usize = 40;
/// Reasons longer than this are cut; the whole of them is in the JSON.
const REASON_MAX: usize = 72;

/// The verdict on what must not wait.
const KEEP_LIVE: &str = "keep_live";

/// What `/api/workloads` answers.
#[derive(Deserialize)]
pub(super) struct Listing {
    data: Vec<One>,
    /// Suggested rules, where they were asked for: they are all that is shown then.
    rules: Option<String>,
}

#[derive(Deserialize)]
struct One {
    workload: String,
    /// None before it was thought about.
    assessment: Option<Thought>,
}

#[derive(Deserialize)]
struct Thought {
    verdict: String,
    score: u8,
    parts: Vec<Part>,
    signals: Vec<Reason>,
    vetoes: Vec<Reason>,
    savings: Savings,
}

#[derive(Deserialize)]
struct Part {
    points: i32,
    reason: String,
}

#[derive(Deserialize)]
struct Reason {
    evidence: String,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Savings {
    monthly_calls: u64,
    monthly_live: NanoUsd,
    batch: NanoUsd,
    batch_cached: NanoUsd,
    unpriced_calls: u64,
}

impl Listing {
    /// The list, or the rules, for people.
    pub(super) fn shown(&self) -> String {
        match &self.rules {
            Some(rules) => rules.trim_end().to_owned(),
            None if self.data.is_empty() => "No calls have been recorded.".to_owned(),
            None => self.table(),
        }
    }

    fn table(&self) -> String {
        use Align::{Left, Right};
        let mut table = Table::new([
            ("workload", Left),
            ("calls/month", Right),
            ("cost/month", Right),
            ("saved in batches", Right),
            ("cached, up to", Right),
            ("score", Right),
            ("verdict", Left),
            ("because", Left),
        ]);
        let mut ones: Vec<_> = self.data.iter().filter_map(|one| Some((one, one.assessment.as_ref()?))).collect();
        ones.sort_by_key(|(one, thought)| (rank(&thought.verdict), Reverse(thought.savings.batch), &one.workload));
        for (one, thought) in &ones {
            let savings = &thought.savings;
            // What must not wait saves nothing, whatever it would save.
            let saved = |amount| if thought.verdict == KEEP_LIVE { "-".to_owned() } else { dollars(amount) };
            table.row([
                cut(&one.workload, NAME_MAX),
                count(savings.monthly_calls),
                dollars(savings.monthly_live),
                saved(savings.batch),
                saved(savings.batch_cached),
                thought.score.to_string(),
                words(&thought.verdict).to_owned(),
                cut(thought.because(), REASON_MAX),
            ]);
        }
        format!("{table}\n\n{}", conclusion(&ones))
    }
}

impl Thought {
    /// What the verdict rests on most.
    fn because(&self) -> &str {
        let against = self.parts.iter().filter(|part| part.points < 0).min_by_key(|part| part.points);
        let missing = self.parts.iter().find(|part| part.points == 0);
        let found = match self.verdict.as_str() {
            "candidate" => self.signals.first().map(|signal| &signal.evidence),
            "look" => missing.or(against).map(|part| &part.reason),
            _ => self.vetoes.first().map(|veto| &veto.evidence).or(against.map(|part| &part.reason)),
        };
        found.map_or("", String::as_str)
    }
}

/// What it comes to, in sentences. Each sum is of what its rows cost and save in a month.
fn conclusion(ones: &[(&One, &Thought)]) -> String {
    let sum = |verdict: &str| -> (usize, [NanoUsd; 3]) {
        let of: Vec<_> = ones.iter().filter(|(_, thought)| thought.verdict == verdict).collect();
        let total = |part: fn(&Savings) -> NanoUsd| of.iter().map(|(_, thought)| part(&thought.savings)).sum();
        (of.len(), [total(|s| s.monthly_live), total(|s| s.batch), total(|s| s.batch_cached)])
    };
    let all: NanoUsd = ones.iter().map(|(_, thought)| thought.savings.monthly_live).sum();
    let (candidates, [live, batch, cached]) = sum("candidate");
    let mut text = format!(
        "{candidates} of {} workloads look as if nobody waits for their answers. They cost {} of the {} a month; in batches \
         they\nwould cost {} less, and with what their prompts share cached, up to {} less.",
        ones.len(),
        dollars(live),
        dollars(all),
        dollars(batch),
        dollars(cached),
    );
    if let (looks @ 1.., [_, batch, _]) = sum("look") {
        text.push_str(&format!(
            "\n{looks} more {} worth a look by somebody who knows: up to {} a month.",
            if looks == 1 { "is" } else { "are" },
            dollars(batch)
        ));
    }
    let unpriced: u64 = ones.iter().map(|(_, thought)| thought.savings.unpriced_calls).sum();
    if unpriced > 0 {
        text.push_str(&format!(
            "\nModels whose price is not known had {} calls; they are in none of the amounts.",
            count(unpriced)
        ));
    }
    text
}

fn rank(verdict: &str) -> u8 {
    match verdict {
        "candidate" => 0,
        "look" => 1,
        _ => 2,
    }
}

fn words(verdict: &str) -> &str {
    if verdict == KEEP_LIVE { "keep live" } else { verdict }
}

/// A text of so many characters at most, and nothing in it that could move the cursor.
fn cut(text: &str, max: usize) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    match text.chars().count() {
        length if length <= max => plain.collect(),
        _ => plain.take(max - 1).chain(['…']).collect(),
    }
}
