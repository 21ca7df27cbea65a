//! A sheet as Markdown, with tables as GitHub has them.

use std::fmt::Write as _;

use super::sheet::{Align, Section, Sheet};

/// Writes it.
pub fn markdown(sheet: &Sheet) -> String {
    let mut out = format!("# {}\n\n{}\n", sheet.title, sheet.summary.join("\n"));
    for section in &sheet.sections {
        // Writing to a string does not fail.
        let _ = write!(out, "\n## {}\n\n", section.title);
        if !section.notes.is_empty() {
            let _ = write!(out, "{}\n\n", section.notes.join("\n"));
        }
        table(&mut out, section);
    }
    out
}

fn table(out: &mut String, section: &Section) {
    row(out, section.columns.iter().map(|(name, _)| escaped(name)));
    let rules = section.columns.iter().map(|(_, align)| if *align == Align::Left { "---" } else { "---:" });
    row(out, rules.map(str::to_owned));
    for cells in &section.rows {
        row(out, cells.iter().map(|cell| escaped(cell)));
    }
    if let Some(total) = &section.total {
        // Nothing cannot be set in bold.
        let bold = |cell: &String| if cell.is_empty() { String::new() } else { format!("**{}**", escaped(cell)) };
        row(out, total.iter().map(bold));
    }
}

fn row(out: &mut String, cells: impl Iterator<Item = String>) {
    let _ = writeln!(out, "| {} |", cells.collect::<Vec<_>>().join(" | "));
}

/// A caller's own word must not end its cell, nor become anything but text.
fn escaped(cell: &str) -> String {
    let mut out = String::with_capacity(cell.len());
    for letter in cell.chars() {
        match letter {
            '\\' | '|' | '*' | '`' | '<' | '[' | '_' => out.extend(['\\', letter]),
            control if control.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}
