//! Text in columns, for people: as wide as they must be, without trailing blanks. Knows nothing of what stands in them.

use unicode_width::UnicodeWidthStr;

/// Rows of text in columns.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
    indent: usize,
}

impl Columns {
    /// No rows yet, each to be indented by so much.
    #[must_use]
    pub fn indented(indent: usize) -> Self {
        Self { indent, ..Self::default() }
    }

    /// These columns, counted from 0, hold numbers: they are set to the right.
    #[must_use]
    pub fn right(mut self, columns: &[usize]) -> Self {
        self.right = columns.to_vec();
        self
    }

    /// Adds a row; the first may be a heading.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// All rows, a line each.
    #[must_use]
    pub fn text(&self) -> String {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|c| c.width()).max();
        let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = " ".repeat(self.indent);
            for (column, cell) in row.iter().enumerate() {
                let blanks = " ".repeat(widths[column].saturating_sub(cell.width()));
                let (before, after) = if self.right.contains(&column) { (&*blanks, "") } else { ("", &*blanks) };
                let gap = if column == 0 { "" } else { "  " };
                line.push_str(&format!("{gap}{before}{cell}{after}"));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_as_a_reader_sees_it() {
        let mut columns = Columns::indented(1).right(&[1]);
        columns.row(["name", "n", ""]);
        columns.row(["日本", "10", "x"]);
        columns.row(["é"]);
        assert_eq!(columns.text(), " name   n\n 日本  10  x\n é\n");
        assert_eq!(Columns::default().text(), "");
    }
}
