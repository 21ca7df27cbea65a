//! A sheet as plain text: tables whose columns are as wide as their widest cell.

use std::fmt::Write as _;

use super::sheet::{Align, Section, Sheet};

/// What stands between two columns.
const GAP: &str = "  ";

/// Writes it.
pub fn text(sheet: &Sheet) -> String {
    let mut out = format!("{}\n\n{}\n", sheet.title, sheet.summary.join("\n"));
    for section in &sheet.sections {
        // Writing to a string does not fail.
        let _ = write!(out, "\n{}\n", section.title);
        for note in &section.notes {
            let _ = writeln!(out, "{note}");
        }
        out.push_str(&table(section));
    }
    out
}

fn table(section: &Section) -> String {
    let names: Vec<String> = section.columns.iter().map(|(name, _)| name.clone()).collect();
    let lines = || [&names].into_iter().chain(&section.rows).chain(&section.total);
    let width = |column: usize| {
        lines().filter_map(|cells| cells.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = cells.iter().zip(&widths).zip(&section.columns).map(|((cell, width), (_, align))| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        format!("{}\n", padded.collect::<Vec<_>>().join(GAP).trim_end())
    };
    let mut out = line(&names);
    out.extend(section.rows.iter().map(line));
    if let Some(total) = &section.total {
        out.push_str(&"-".repeat(widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)));
        out.push('\n');
        out.push_str(&line(total));
    }
    out
}
