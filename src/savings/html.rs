//! A report as one HTML file without any part from outside: it prints well, and is light or dark as its reader is.

mod chart;

use std::fmt::Write as _;

use super::amounts::{Dollars, counted, percent};
use super::report::Report;
use super::sheet::{Align, Section, Sheet};
use crate::domain::money::NanoUsd;

const STYLE: &str = include_str!("html/style.css");

/// Writes a report, with its charts.
pub fn report(report: &Report) -> String {
    let dollars = Dollars::for_largest(report.total.uncached.max(report.total.paid));
    let days = (report.days.len() > 1).then(|| chart::days(&report.days, dollars));
    let workloads = (report.workloads.len() > 1).then(|| chart::bars("workload", &report.workloads, dollars));
    let charts: Vec<String> =
        [Some(chart::steps(&report.total, dollars)), days, workloads].into_iter().flatten().collect();
    page(&Sheet::of(report), &tiles(report, dollars), &charts)
}

/// Writes a sheet alone.
pub fn sheet(sheet: &Sheet) -> String {
    page(sheet, "", &[])
}

fn page(sheet: &Sheet, tiles: &str, charts: &[String]) -> String {
    let title = escaped(&sheet.title);
    let summary: String = sheet.summary.iter().map(|said| format!("<p>{}</p>", escaped(said))).collect();
    let sections: String = sheet.sections.iter().map(section).collect();
    let charts = charts.concat();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<header>\n<h1>{title}</h1>\n<div class=\"summary\">{summary}</div>\n</header>\n<main>\n{tiles}{charts}{sections}\
         </main>\n<footer>Made by Offpeak. Amounts are in US dollars.</footer>\n</body>\n</html>\n"
    )
}

/// The few figures that a reader in a hurry wants.
fn tiles(report: &Report, dollars: Dollars) -> String {
    let total = &report.total;
    let mut tiles = vec![
        ("baseline", dollars.show(total.baseline), "live, with the caching it had".to_owned()),
        ("paid", dollars.show(total.paid), counted(total.calls, "call")),
        (
            "saved",
            dollars.show(total.saved),
            format!("{} of the baseline", percent(total.saved.permille_of(total.baseline))),
        ),
    ];
    if let Some(month) = &report.month {
        let spread = match (month.paid.low, month.paid.high) {
            (Some(low), Some(high)) => format!("{} to {} by week", dollars.show(low), dollars.show(high)),
            _ => format!("by {}", counted(month.full_days, "full day")),
        };
        tiles.push(("paid a month", dollars.show(month.paid.month), spread));
    }
    let tile = |(name, amount, note): (&str, String, String)| {
        format!("<div class=\"tile\"><h2>{name}</h2><strong>{amount}</strong><span>{note}</span></div>")
    };
    format!("<div class=\"tiles\">{}</div>\n", tiles.into_iter().map(tile).collect::<String>())
}

fn section(section: &Section) -> String {
    let mut out = format!("<section>\n<h2>{}</h2>\n", escaped(&section.title));
    for note in &section.notes {
        // Writing to a string does not fail.
        let _ = writeln!(out, "<p class=\"note\">{}</p>", marked(note));
    }
    let names: Vec<String> = section.columns.iter().map(|(name, _)| name.clone()).collect();
    let _ = writeln!(out, "<div class=\"wide\"><table>\n<thead>{}</thead>\n<tbody>", row("th", &names, section));
    for cells in &section.rows {
        let _ = writeln!(out, "{}", row("td", cells, section));
    }
    out.push_str("</tbody>\n");
    if let Some(total) = &section.total {
        let _ = writeln!(out, "<tfoot>{}</tfoot>", row("td", total, section));
    }
    out.push_str("</table></div>\n</section>\n");
    out
}

fn row(tag: &str, cells: &[String], section: &Section) -> String {
    let cells = cells.iter().zip(&section.columns).map(|(cell, (_, align))| {
        let class = if *align == Align::Right { " class=\"number\"" } else { "" };
        format!("<{tag}{class}>{}</{tag}>", escaped(cell))
    });
    format!("<tr>{}</tr>", cells.collect::<String>())
}

/// Our own words, with what stands between backticks as code.
fn marked(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(index, part)| if index % 2 == 0 { escaped(part) } else { format!("<code>{}</code>", escaped(part)) })
        .collect()
}

/// A caller's own word stays text.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A length that is to the whole `of` as the amount is to `largest`.
fn length(amount: NanoUsd, largest: NanoUsd, of: i64) -> i64 {
    NanoUsd(of).times(amount.0.max(0), largest.0.max(1)).0
}
