//! The table: contenders side by side, with medians and their ratio to the first of them.

use std::io::Write as _;

use serde_json::json;

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A time: less is better.
    Seconds,
    /// A short time: less is better.
    Microseconds,
    /// So many in a second: more is better, so that the ratio is turned around.
    PerSecond,
    /// Memory, of which the difference to the first contender counts.
    Megabytes,
}

/// One row: what several contenders took for the same.
pub(crate) struct Comparison {
    name: String,
    unit: Unit,
    /// What the ratio, or the difference, to the first contender may be at most.
    limit: Option<f64>,
    contenders: Vec<(&'static str, Vec<f64>)>,
}

impl Comparison {
    pub(crate) fn new(name: String, unit: Unit) -> Self {
        Self { name, unit, limit: None, contenders: Vec::new() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The same with what contender `offpeak` may take at most.
    pub(crate) fn at_most(self, limit: f64) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Notes one round of a contender; the one that is noted first is the reference.
    pub(crate) fn note(&mut self, contender: &'static str, figure: f64) {
        match self.contenders.iter_mut().find(|(name, _)| *name == contender) {
            Some((_, figures)) => figures.push(figure),
            None => self.contenders.push((contender, vec![figure])),
        }
    }

    /// How a contender stands to the reference: 2 is twice as slow, or so many megabytes more.
    fn against_reference(&self, figures: &[f64]) -> f64 {
        let (own, reference) = (median(figures), self.contenders.first().map_or(0.0, |(_, first)| median(first)));
        match self.unit {
            Unit::Seconds | Unit::Microseconds => own / reference,
            Unit::PerSecond => reference / own,
            Unit::Megabytes => own - reference,
        }
    }

    fn lines(&self) -> String {
        let mut text = format!("{}\n", self.name);
        for (name, figures) in &self.contenders {
            let (least, most) = figures.iter().fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
            let against = self.against_reference(figures);
            let verdict = match self.limit.filter(|_| name.starts_with(OFFPEAK)) {
                Some(limit) if against <= limit => format!("  (at most {limit})"),
                Some(limit) => format!("  OVER (at most {limit})"),
                None => String::new(),
            };
            let against =
                if self.unit == Unit::Megabytes { format!("{against:+.1} MB") } else { format!("{against:.2} x") };
            let range = format!("{} .. {}", self.show(least), self.show(most));
            text += &format!("  {name:<34} {:>11}   {range:<25} {against:>9}{verdict}\n", self.show(median(figures)));
        }
        text
    }

    fn show(&self, figure: f64) -> String {
        match self.unit {
            Unit::Seconds => format!("{figure:.3} s"),
            Unit::Microseconds => format!("{figure:.1} us"),
            Unit::PerSecond => format!("{figure:.0}/s"),
            Unit::Megabytes => format!("{figure:.1} MB"),
        }
    }

    fn json(&self) -> serde_json::Value {
        let unit = match self.unit {
            Unit::Seconds => "seconds",
            Unit::Microseconds => "microseconds",
            Unit::PerSecond => "per_second",
            Unit::Megabytes => "megabytes",
        };
        let contenders: Vec<_> = self
            .contenders
            .iter()
            .map(|(name, figures)| {
                let against = self.against_reference(figures);
                json!({"name": name, "median": median(figures), "rounds": figures, "against_reference": against})
            })
            .collect();
        json!({"name": self.name, "unit": unit, "limit": self.limit, "contenders": contenders})
    }
}

/// What the names of contenders begin with for whom a limit holds.
pub(crate) const OFFPEAK: &str = "offpeak";

/// All rows; each is printed as soon as it is complete.
pub(crate) struct Report {
    only: Option<String>,
    rows: Vec<Comparison>,
}

impl Report {
    pub(crate) fn new(only: Option<String>) -> Self {
        Self { only, rows: Vec::new() }
    }

    /// Whether a row of this name is to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    pub(crate) fn add(&mut self, row: Comparison) {
        say(&row.lines());
        self.rows.push(row);
    }

    pub(crate) fn json(&self) -> String {
        json!({"rows": self.rows.iter().map(Comparison::json).collect::<Vec<_>>()}).to_string()
    }
}

/// Prints a line; a reader that has gone away has seen enough.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a line for people to standard error.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.as_slice() {
        [] => 0.0,
        all if all.len() % 2 == 1 => all[middle],
        all => f64::midpoint(all[middle - 1], all[middle]),
    }
}
