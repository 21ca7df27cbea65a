//! Charts as inline SVG, drawn in whole numbers; each says in words what it shows, and each bar its figures.

use std::fmt::Write as _;

use super::super::amounts::Dollars;
use super::super::figures::Figures;
use super::super::report::Row;
use super::{escaped, length};
use crate::domain::money::NanoUsd;

/// The width of every chart; what it is shown at is the page's business.
const WIDTH: i64 = 960;

/// Room for the names of bars, and for their amounts.
const NAMES: i64 = 230;
const AMOUNTS: i64 = 190;

/// The height of a bar with its gap, and of the bar alone.
const BAR: i64 = 30;
const BAR_BODY: i64 = 20;

/// Bars of a chart; the tables have the rest.
const BARS_MAX: usize = 12;

/// The chart of days: its height, and the room for its scales.
const DAYS_HEIGHT: i64 = 260;
const SCALE_LEFT: i64 = 92;
const SCALE_BELOW: i64 = 28;
const SCALE_ABOVE: i64 = 12;

/// About so many days are written beneath it.
const DAY_NAMES: usize = 8;

/// The steps from the price without caching to what was paid.
pub(super) fn steps(total: &Figures, dollars: Dollars) -> String {
    let largest = [total.uncached, total.baseline, total.paid, total.baseline + total.paid_twice];
    let largest = largest.into_iter().max().unwrap_or_default();
    let after_batches = total.baseline - total.saved_by_batch;
    let steps = [
        ("live, without caching", NanoUsd::ZERO, total.uncached, "plain"),
        ("saved by caching", total.uncached, total.baseline, "step"),
        ("baseline", NanoUsd::ZERO, total.baseline, "plain"),
        ("saved by batches", total.baseline, after_batches, "step"),
        ("paid twice", after_batches, total.paid, "step"),
        ("paid", NanoUsd::ZERO, total.paid, "paid"),
    ];
    let mut bars = String::new();
    let room = WIDTH - NAMES - AMOUNTS;
    for (index, (name, from, to, class)) in (0i64..).zip(steps) {
        // A step down is saved, a step up is lost.
        let class = match class {
            "step" if to <= from => "saved",
            "step" => "lost",
            other => other,
        };
        let (start, end) = (length(from.min(to), largest, room), length(from.max(to), largest, room));
        let y = index * BAR + (BAR - BAR_BODY) / 2;
        let shown = dollars.show(to - from);
        // Writing to a string does not fail.
        let _ = write!(
            bars,
            "<text class=\"name\" x=\"{}\" y=\"{}\">{name}</text><rect class=\"{class}\" x=\"{}\" y=\"{y}\" width=\"{}\" \
             height=\"{BAR_BODY}\"><title>{name}: {shown}</title></rect><text x=\"{}\" y=\"{}\">{shown}</text>",
            NAMES - 12,
            y + 15,
            NAMES + start,
            (end - start).max(1),
            NAMES + end + 8,
            y + 15,
        );
    }
    let said = format!("{} paid instead of {}", dollars.show(total.paid), dollars.show(total.baseline));
    figure("From the list price to what was paid, step by step", &said, 6 * BAR, &bars, "")
}

/// Paid and saved, day by day.
pub(super) fn days(days: &[Row], dollars: Dollars) -> String {
    let largest = days.iter().map(|day| top(&day.figures)).max().unwrap_or_default();
    let step = nice_step(largest);
    let scale = NanoUsd(step.0.saturating_mul(4));
    let (height, room) = (DAYS_HEIGHT - SCALE_BELOW - SCALE_ABOVE, WIDTH - SCALE_LEFT);
    let mut drawn = String::new();
    for line in 0..=4 {
        let amount = NanoUsd(step.0 * line);
        let y = SCALE_ABOVE + height - length(amount, scale, height);
        let _ = write!(
            drawn,
            "<line class=\"scale\" x1=\"{SCALE_LEFT}\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\"/>\
             <text class=\"name\" x=\"{}\" y=\"{}\">{}</text>",
            SCALE_LEFT - 8,
            y + 4,
            dollars.show(amount),
        );
    }
    let count = i64::try_from(days.len()).unwrap_or(1).max(1);
    let named = days.len().div_ceil(DAY_NAMES).max(1);
    for (index, day) in days.iter().enumerate() {
        let at = i64::try_from(index).unwrap_or(0);
        let (x, next) = (SCALE_LEFT + at * room / count, SCALE_LEFT + (at + 1) * room / count);
        let gap = if next - x > 4 { 2 } else { 0 };
        let of = &day.figures;
        let paid = length(of.paid, scale, height);
        let all = length(top(of), scale, height);
        let bottom = SCALE_ABOVE + height;
        let name = day.name.as_deref().unwrap_or_default();
        let _ = write!(
            drawn,
            "<g><title>{}: {} paid, {} saved</title><rect class=\"paid\" x=\"{x}\" y=\"{}\" width=\"{width}\" height=\"{paid}\"/>\
             <rect class=\"saved\" x=\"{x}\" y=\"{}\" width=\"{width}\" height=\"{}\"/></g>",
            escaped(name),
            dollars.show(of.paid),
            dollars.show(of.saved),
            bottom - paid,
            bottom - all,
            all - paid,
            width = (next - x - gap).max(1),
        );
        if index % named == 0 {
            let middle = (x + next) / 2;
            let short = name.get(5..).unwrap_or(name);
            let _ =
                write!(drawn, "<text class=\"day\" x=\"{middle}\" y=\"{}\">{}</text>", DAYS_HEIGHT - 8, escaped(short));
        }
    }
    figure("Paid and saved by day", "what was paid and saved each day", DAYS_HEIGHT, &drawn, LEGEND)
}

/// Paid and saved, name by name.
pub(super) fn bars(what: &str, rows: &[Row], dollars: Dollars) -> String {
    let rows = rows.get(..BARS_MAX).unwrap_or(rows);
    let largest = rows.iter().map(|row| top(&row.figures)).max().unwrap_or_default();
    let room = WIDTH - NAMES - AMOUNTS;
    let mut drawn = String::new();
    for (index, row) in (0i64..).zip(rows) {
        let of = &row.figures;
        let (paid, all) = (length(of.paid, largest, room), length(top(of), largest, room));
        let y = index * BAR + (BAR - BAR_BODY) / 2;
        let name = escaped(&short(row.name.as_deref().unwrap_or("(none)")));
        let _ = write!(
            drawn,
            "<text class=\"name\" x=\"{}\" y=\"{}\">{name}</text><g><title>{name}: {} paid, {} saved</title>\
             <rect class=\"paid\" x=\"{NAMES}\" y=\"{y}\" width=\"{paid}\" height=\"{BAR_BODY}\"/>\
             <rect class=\"saved\" x=\"{}\" y=\"{y}\" width=\"{}\" height=\"{BAR_BODY}\"/></g>\
             <text x=\"{}\" y=\"{}\">{} of {}</text>",
            NAMES - 12,
            y + 15,
            dollars.show(of.paid),
            dollars.show(of.saved),
            NAMES + paid,
            all - paid,
            NAMES + all + 8,
            y + 15,
            dollars.show(of.paid),
            dollars.show(of.baseline),
        );
    }
    let height = BAR * i64::try_from(rows.len()).unwrap_or(0);
    figure(&format!("Paid and saved by {what}"), "those that cost most first", height, &drawn, LEGEND)
}

const LEGEND: &str =
    "<p class=\"legend\"><span class=\"key paid\"></span>paid <span class=\"key saved\"></span>saved</p>";

fn figure(title: &str, said: &str, height: i64, drawn: &str, legend: &str) -> String {
    let (title, said) = (escaped(title), escaped(said));
    format!(
        "<section class=\"chart\">\n<h2>{title}</h2>\n{legend}<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{title}: {said}\">{drawn}</svg>\n</section>\n"
    )
}

/// How high a bar is: what was paid, and on it what was saved.
fn top(figures: &Figures) -> NanoUsd {
    figures.paid.max(figures.baseline)
}

/// A round amount, four of which reach as high as `largest`: 1, 2, 2.5 or 5 times a power of ten.
fn nice_step(largest: NanoUsd) -> NanoUsd {
    let least = largest.0.max(1).saturating_add(3) / 4;
    let mut power = 10;
    loop {
        for tenths in [10, 20, 25, 50] {
            let step = power / 10 * tenths;
            if step >= least {
                return NanoUsd(step);
            }
        }
        match i64::checked_mul(power, 10) {
            Some(next) if next <= i64::MAX / 500 => power = next,
            _ => return NanoUsd(least),
        }
    }
}

/// A name that fits before its bar.
fn short(name: &str) -> String {
    const LETTERS: usize = 28;
    if name.chars().count() <= LETTERS {
        return name.to_owned();
    }
    name.chars().take(LETTERS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_have_round_steps() {
        let step = |largest| nice_step(NanoUsd(largest)).0;
        assert_eq!([step(0), step(40), step(41), step(81), step(101), step(1_000)], [10, 10, 20, 25, 50, 250]);
        assert!(nice_step(NanoUsd(i64::MAX)).0 > 0);
    }

    #[test]
    fn long_names_are_cut_between_letters() {
        assert_eq!(short("nightly"), "nightly");
        assert_eq!(short(&"ü".repeat(40)), format!("{}…", "ü".repeat(27)));
    }
}
