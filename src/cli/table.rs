//! Tables in plain text: columns as wide as their widest cell.

use std::fmt;

/// What stands between two columns.
const GAP: &str = "  ";

/// Where the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table with a head.
pub(super) struct Table<const N: usize> {
    columns: [(&'static str, Align); N],
    lines: Vec<Line<N>>,
}

enum Line<const N: usize> {
    Row([String; N]),
    Rule,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(columns: [(&'static str, Align); N]) -> Self {
        Self { columns, lines: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: [String; N]) {
        self.lines.push(Line::Row(cells));
    }

    /// A line across, before a sum.
    pub(super) fn rule(&mut self) {
        self.lines.push(Line::Rule);
    }

    fn widths(&self) -> [usize; N] {
        let mut widths = self.columns.map(|(name, _)| name.chars().count());
        for line in &self.lines {
            let Line::Row(cells) = line else { continue };
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.chars().count().max(*width);
            }
        }
        widths
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let line = |cells: &[&str; N]| {
            let padded = cells.iter().zip(widths).zip(self.columns).map(|((cell, width), (_, align))| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            padded.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
        };
        f.write_str(&line(&self.columns.map(|(name, _)| name)))?;
        for row in &self.lines {
            match row {
                Line::Row(cells) => write!(f, "\n{}", line(&cells.each_ref().map(String::as_str)))?,
                Line::Rule => {
                    let width = widths.iter().sum::<usize>() + GAP.len() * N.saturating_sub(1);
                    write!(f, "\n{}", "-".repeat(width))?;
                }
            }
        }
        Ok(())
    }
}

/// One thing and what is known of it, a line each.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: Vec<_> = pairs.iter().map(|(name, value)| format!("{name:width$}{GAP}{value}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must() {
        let mut table = Table::new([("name", Align::Left), ("calls", Align::Right), ("note", Align::Left)]);
        table.row(["digests".into(), "9".into(), String::new()]);
        table.row(["ü".into(), "123456".into(), "x".into()]);
        table.rule();
        table.row(["total".into(), "123465".into(), String::new()]);
        insta::assert_snapshot!(table.to_string(), @r"
        name      calls  note
        digests       9
        ü        123456  x
        ---------------------
        total    123465
        ");
    }

    #[test]
    fn pairs_are_lined_up() {
        assert_eq!(pairs(&[("id", "1".into()), ("status", "queued".into())]), "id      1\nstatus  queued");
    }
}
