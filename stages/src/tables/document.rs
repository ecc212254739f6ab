//! A small document of headings, notes and grids, and its text as Markdown (aligned for a terminal) and as LaTeX.
//!
//! All text from outside is escaped here and only here. Knows nothing of what the numbers mean.

use std::fmt::Write;

use super::statistics::Mean;

/// What a table stage prints.
pub(super) struct Document {
    pub title: String,
    pub parts: Vec<Part>,
}

/// A piece of a document.
pub(super) enum Part {
    Heading(String),
    Note(String),
    Grid(Grid),
}

/// A table; every row has as many entries as the header.
pub(super) struct Grid {
    pub caption: String,
    pub header: Vec<Entry>,
    pub rows: Vec<Vec<Entry>>,
}

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Entry {
    Text(String),
    /// A symbol of ours, once for plain text and once for LaTeX.
    Symbol {
        plain: String,
        latex: String,
    },
    /// A number with two decimals, perhaps with its interval.
    Number(Mean),
    /// No value.
    Missing,
}

impl Entry {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn number(value: Option<f64>) -> Self {
        Self::mean(value.map(|value| Mean { value, half_width: None }))
    }

    pub(super) fn mean(mean: Option<Mean>) -> Self {
        mean.map_or(Self::Missing, Self::Number)
    }

    /// As [`Self::mean`], for parts of one that are shown in percent.
    pub(super) fn percent(mean: Option<Mean>) -> Self {
        Self::mean(mean.map(|Mean { value, half_width }| Mean {
            value: value * 100.0,
            half_width: half_width.map(|half| half * 100.0),
        }))
    }

    fn markdown(&self) -> String {
        match self {
            Self::Text(text) => escape_markdown(text),
            Self::Symbol { plain, .. } => plain.clone(),
            Self::Number(Mean { value, half_width: None }) => decimals(*value),
            Self::Number(Mean { value, half_width: Some(half) }) => {
                format!("{} ± {}", decimals(*value), decimals(*half))
            }
            Self::Missing => "-".to_owned(),
        }
    }

    fn latex(&self) -> String {
        match self {
            Self::Text(text) => escape_latex(text),
            Self::Symbol { latex, .. } => latex.clone(),
            Self::Number(Mean { value, half_width: None }) => format!("${}$", decimals(*value)),
            Self::Number(Mean { value, half_width: Some(half) }) => {
                format!("${} \\pm {}$", decimals(*value), decimals(*half))
            }
            Self::Missing => "--".to_owned(),
        }
    }
}

/// Two decimals; never `-0.00`.
pub(super) fn decimals(value: f64) -> String {
    let text = format!("{value:.2}");
    if text == "-0.00" { "0.00".to_owned() } else { text }
}

impl Document {
    /// GitHub's Markdown, with the columns of every table aligned.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("# {}\n", escape_markdown(&self.title));
        for part in &self.parts {
            text.push('\n');
            match part {
                Part::Heading(heading) => _ = writeln!(text, "## {}", escape_markdown(heading)),
                Part::Note(note) => _ = writeln!(text, "{}", escape_markdown(note)),
                Part::Grid(grid) => text.push_str(&grid.markdown()),
            }
        }
        text
    }

    /// Tables for the package booktabs, with the notes between them.
    pub(super) fn latex(&self) -> String {
        let mut text = String::from("% Needs \\usepackage{booktabs}.\n");
        _ = writeln!(text, "\\section*{{{}}}", escape_latex(&self.title));
        for part in &self.parts {
            text.push('\n');
            match part {
                Part::Heading(heading) => _ = writeln!(text, "\\subsection*{{{}}}", escape_latex(heading)),
                Part::Note(note) => _ = writeln!(text, "{}", escape_latex(note)),
                Part::Grid(grid) => text.push_str(&grid.latex()),
            }
        }
        text
    }
}

impl Grid {
    fn markdown(&self) -> String {
        let lines: Vec<Vec<String>> = std::iter::once(&self.header)
            .chain(&self.rows)
            .map(|row| row.iter().map(Entry::markdown).collect())
            .collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(3);
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let mut text = String::new();
        if !self.caption.is_empty() {
            _ = writeln!(text, "{}:\n", escape_markdown(&self.caption));
        }
        for (place, line) in lines.iter().enumerate() {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                if column == 0 { format!(" {cell:<width$} ") } else { format!(" {cell:>width$} ") }
            });
            _ = writeln!(text, "|{}|", cells.collect::<Vec<_>>().join("|"));
            if place == 0 {
                let rule = widths.iter().enumerate().map(|(column, &width)| {
                    let dashes = "-".repeat(width + 1);
                    if column == 0 { format!(":{dashes}") } else { format!("{dashes}:") }
                });
                _ = writeln!(text, "|{}|", rule.collect::<Vec<_>>().join("|"));
            }
        }
        text
    }

    fn latex(&self) -> String {
        let mut text = String::from("\\begin{table}[ht]\n  \\centering\n");
        if !self.caption.is_empty() {
            _ = writeln!(text, "  \\caption{{{}}}", escape_latex(&self.caption));
        }
        _ = writeln!(
            text,
            "  \\begin{{tabular}}{{l{}}}\n    \\toprule",
            "r".repeat(self.header.len().saturating_sub(1))
        );
        for (place, row) in std::iter::once(&self.header).chain(&self.rows).enumerate() {
            _ = writeln!(text, "    {} \\\\", row.iter().map(Entry::latex).collect::<Vec<_>>().join(" & "));
            if place == 0 {
                text.push_str("    \\midrule\n");
            }
        }
        text.push_str("    \\bottomrule\n  \\end{tabular}\n\\end{table}\n");
        text
    }
}

/// Control characters could move a terminal's cursor, marks of direction turn a line round, and line breaks end a row.
fn without_controls(text: &str) -> impl Iterator<Item = char> {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(move |c| if c.is_control() || turns(c) { ' ' } else { c })
}

fn escape_markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in without_controls(text) {
        if matches!(c, '\\' | '|' | '<' | '`' | '*' | '[' | ']') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn escape_latex(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in without_controls(text) {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '<' => escaped.push_str("\\textless{}"),
            '>' => escaped.push_str("\\textgreater{}"),
            '|' => escaped.push_str("\\textbar{}"),
            '±' => escaped.push_str("$\\pm$"),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text_in_both_formats() {
        assert_eq!(
            escape_latex("a_b & 5% $x$ #1 {~^\\input}"),
            "a\\_b \\& 5\\% \\$x\\$ \\#1 \\{\\textasciitilde{}\\textasciicircum{}\\textbackslash{}input\\}"
        );
        assert_eq!(escape_markdown("a|b\nc\u{1b}[2J <i>"), "a\\|b c \\[2J \\<i>");
    }

    #[test]
    fn rows_stay_aligned_and_tiny_negatives_lose_their_sign() {
        let grid = Grid {
            caption: String::new(),
            header: vec![Entry::text("%"), Entry::text("PRU")],
            rows: vec![vec![Entry::text("A_f"), Entry::number(Some(-0.001))], vec![Entry::text("A_r"), Entry::Missing]],
        };
        assert_eq!(grid.markdown(), "| %   |  PRU |\n|:----|-----:|\n| A_f | 0.00 |\n| A_r |    - |\n");
    }
}
