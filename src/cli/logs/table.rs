//! Aligned columns: numbers to the right, texts to the left, widths as a terminal shows them.

use unicode_width::UnicodeWidthStr;

use super::output::BOLD;

/// Longest text column that others are aligned behind.
const WIDEST: usize = 60;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Rows of cells; a cell is safe to print and may carry one style around all of it.
pub(super) struct Table {
    columns: Vec<(String, Side)>,
    rows: Vec<Vec<Cell>>,
}

/// A text with the style that it is printed in.
pub(super) struct Cell {
    text: String,
    style: anstyle::Style,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, style: anstyle::Style::new() }
    }
}

impl Cell {
    pub(super) fn styled(text: String, style: anstyle::Style) -> Self {
        Self { text, style }
    }
}

impl Table {
    pub(super) fn new(columns: &[(&str, Side)]) -> Self {
        Self {
            columns: columns.iter().map(|(name, side)| ((*name).to_owned(), *side)).collect(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The heading and all rows, each without a line feed.
    pub(super) fn lines(&self) -> Vec<String> {
        let widths: Vec<usize> = (0..self.columns.len()).map(|at| self.width(at)).collect();
        let heading =
            self.columns.iter().map(|(name, _)| Cell::styled(name.clone(), BOLD)).collect::<Vec<_>>();
        std::iter::once(&heading).chain(&self.rows).map(|row| self.line(row, &widths)).collect()
    }

    fn width(&self, at: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.text.width());
        cells.chain([self.columns[at].0.width()]).max().unwrap_or(0).min(WIDEST)
    }

    fn line(&self, row: &[Cell], widths: &[usize]) -> String {
        let mut line = String::new();
        for (at, ((cell, (_, side)), width)) in row.iter().zip(&self.columns).zip(widths).enumerate() {
            let Cell { text, style } = cell;
            let space = " ".repeat(width.saturating_sub(text.width()));
            line.push_str(if at == 0 { "" } else { "  " });
            let is_last = at + 1 == self.columns.len();
            if text.is_empty() {
                line.push_str(&space);
                continue;
            }
            line.push_str(&match side {
                Side::Right => format!("{space}{style}{text}{style:#}"),
                Side::Left if is_last => format!("{style}{text}{style:#}"),
                Side::Left => format!("{style}{text}{style:#}{space}"),
            });
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;

    #[test]
    fn columns_stand_under_each_other_whatever_their_letters() {
        let mut table = Table::new(&[("count", Side::Right), ("host", Side::Left), ("path", Side::Left)]);
        table.row(vec!["1".to_owned().into(), "猫.example".to_owned().into(), "/".to_owned().into()]);
        table.row(vec!["1 204".to_owned().into(), "a".to_owned().into(), "/b".to_owned().into()]);
        let lines: Vec<String> = table.lines().iter().map(|line| strip_str(line).to_string()).collect();
        assert_eq!(lines, ["count  host        path", "    1  猫.example  /", "1 204  a           /b"]);
    }
}
