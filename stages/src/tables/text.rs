//! Text of a document, as Markdown (aligned for a terminal) and as LaTeX (for booktabs).
//!
//! All text from outside is escaped here and only here. A row with figures of the paper becomes three lines: published,
//! ours, difference. What makes a cell not comparable is told once, below, and named by a letter.

use std::fmt::Write;

use super::comparison::{Comparison, Mark};
use super::document::{Cell, DECIMALS, Document, Figure, Grid, Part, Row};

/// The kinds of text there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Markdown,
    Latex,
}

/// A line of a grid, ready but for its padding.
struct Line {
    labels: Vec<String>,
    cells: Vec<String>,
    begins: bool,
}

/// Two decimals; never `-0.00`.
pub(super) fn decimals(value: f64) -> String {
    rounded(value, DECIMALS)
}

/// So many decimals; never a zero with a minus.
fn rounded(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if is_zero(rest) => rest.to_owned(),
        _ => text,
    }
}

fn is_zero(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '0' | '.'))
}

/// As [`rounded`], with its sign.
fn signed(value: f64, decimals: usize) -> String {
    let text = rounded(value, decimals);
    if value > 0.0 && !is_zero(&text) { format!("+{text}") } else { text }
}

/// The reasons for which cells are not comparable, each once, in order.
fn reasons(document: &Document) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    for comparison in document.grids().flat_map(Grid::figures).filter_map(|figure| figure.comparison.as_ref()) {
        if comparison.mark == Some(Mark::NotComparable) && !found.contains(&comparison.reason.as_str()) {
            found.push(&comparison.reason);
        }
    }
    found
}

/// a, b, ..., z, aa, ab, ...
fn letter(mut place: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(b'a' + (place % 26) as u8);
        place /= 26;
        if place == 0 {
            break;
        }
        place -= 1;
    }
    letters.iter().rev().map(|letter| char::from(*letter)).collect()
}

/// GitHub's Markdown, with the columns of every table aligned.
pub(super) fn markdown(document: &Document) -> String {
    let reasons = reasons(document);
    let mut text = format!("# {}\n", escape_markdown(&document.title));
    for part in &document.parts {
        text.push('\n');
        match part {
            Part::Heading(heading) => _ = writeln!(text, "## {}", escape_markdown(heading)),
            Part::Note(note) => _ = writeln!(text, "{}", escape_markdown(note)),
            Part::Grid(grid) => text.push_str(&grid_markdown(grid, &reasons)),
        }
    }
    for (place, reason) in reasons.iter().enumerate() {
        _ = write!(text, "\n({}) not comparable: {}.\n", letter(place), escape_markdown(reason));
    }
    text
}

/// Tables for the package booktabs, with the notes between them.
pub(super) fn latex(document: &Document) -> String {
    let reasons = reasons(document);
    let mut text = String::from("% Needs \\usepackage{booktabs} and \\usepackage{graphicx}.\n");
    _ = writeln!(text, "\\section*{{{}}}", escape_latex(&document.title));
    for part in &document.parts {
        text.push('\n');
        match part {
            Part::Heading(heading) => _ = writeln!(text, "\\subsection*{{{}}}", escape_latex(heading)),
            Part::Note(note) => _ = writeln!(text, "{}", escape_latex(note)),
            Part::Grid(grid) => text.push_str(&grid_latex(grid, &reasons)),
        }
    }
    for (place, reason) in reasons.iter().enumerate() {
        _ = write!(text, "\n({}) not comparable: {}.\n", letter(place), escape_latex(reason));
    }
    text
}

/// Whether the grid's rows have several lines, and so a label for each.
fn has_line_names(grid: &Grid) -> bool {
    grid.deviation || grid.figures().any(|figure| figure.comparison.is_some())
}

fn lines(grid: &Grid, style: Style, reasons: &[&str]) -> Vec<Line> {
    let named = has_line_names(grid);
    let mut lines = Vec::new();
    for row in &grid.rows {
        let before = lines.len();
        let labels = |name: &str| -> Vec<String> {
            let own = row.labels.iter().map(|label| plain(label, style));
            own.chain(named.then(|| name.to_owned())).collect()
        };
        let compared = row.cells.iter().filter_map(Cell::figure).any(|figure| figure.comparison.is_some());
        if compared {
            let published = |cell: &Cell| with_comparison(cell, |c| number(&decimals(c.published), style));
            lines.push(Line { labels: labels("published"), cells: each(row, published), begins: false });
        }
        let figures = row.cells.iter().any(|cell| cell.figure().is_some());
        let name = match (figures, compared) {
            (false, _) => "",
            (true, true) => "ours",
            (true, false) => "mean",
        };
        lines.push(Line { labels: labels(name), cells: each(row, |cell| plain(cell, style)), begins: false });
        if grid.deviation && figures {
            let deviation = |cell: &Cell| {
                let found = cell.figure().and_then(|figure| Some((figure.mean?.deviation?, figure.decimals)));
                found.map_or_else(String::new, |(s, decimals)| number(&rounded(s, decimals), style))
            };
            lines.push(Line { labels: labels("s"), cells: each(row, deviation), begins: false });
        }
        if compared {
            let difference = |cell: &Cell| with_comparison(cell, |c| difference(c, style, reasons));
            lines.push(Line { labels: labels("difference"), cells: each(row, difference), begins: false });
        }
        lines[before].begins = row.begins;
    }
    lines
}

fn each(row: &Row, text: impl Fn(&Cell) -> String) -> Vec<String> {
    row.cells.iter().map(text).collect()
}

fn with_comparison(cell: &Cell, text: impl Fn(&Comparison) -> String) -> String {
    cell.figure().and_then(|figure| figure.comparison.as_ref()).map_or_else(String::new, text)
}

fn difference(comparison: &Comparison, style: Style, reasons: &[&str]) -> String {
    let (Some(difference), Some(mark)) = (comparison.difference, comparison.mark) else {
        return missing(style).to_owned();
    };
    let difference = number(&signed(difference, DECIMALS), style);
    if mark != Mark::NotComparable {
        return format!("{difference} {}", mark.word());
    }
    let place = reasons.iter().position(|reason| *reason == comparison.reason).unwrap_or_default();
    format!("{difference} n.c. ({})", letter(place))
}

/// A cell's main text.
fn plain(cell: &Cell, style: Style) -> String {
    match (cell, style) {
        (Cell::Text(text), Style::Markdown) => escape_markdown(text),
        (Cell::Text(text), Style::Latex) => escape_latex(text),
        (Cell::Metric(metric), Style::Markdown) => metric.name().to_owned(),
        (Cell::Metric(metric), Style::Latex) => metric.latex().to_owned(),
        (Cell::Trials, Style::Markdown) => "n".to_owned(),
        (Cell::Trials, Style::Latex) => "$n$".to_owned(),
        (Cell::Number(value), _) => number(&decimals(*value), style),
        (Cell::Count { n, of }, _) if n == of => n.to_string(),
        (Cell::Count { n, of }, _) => format!("{n} of {of}"),
        (Cell::Figure(figure), _) => figure_text(figure, style),
        (Cell::Missing, _) => missing(style).to_owned(),
    }
}

const fn missing(style: Style) -> &'static str {
    match style {
        Style::Markdown => "-",
        Style::Latex => "--",
    }
}

/// A number in LaTeX stands in math, where its minus is one.
fn number(text: &str, style: Style) -> String {
    if style == Style::Latex { format!("${text}$") } else { text.to_owned() }
}

/// `84.98 ± 1.20`, and what it lacks: `84.98 ± 1.20 (2 of 3)`.
fn figure_text(figure: &Figure, style: Style) -> String {
    let Some(mean) = figure.mean else { return missing(style).to_owned() };
    let round = if figure.unit.is_signed() { signed } else { rounded };
    let value = round(mean.value, figure.decimals);
    let mut text = match (mean.half_width, style) {
        (None, _) => number(&value, style),
        (Some(half), Style::Markdown) => format!("{value} ± {}", rounded(half, figure.decimals)),
        (Some(half), Style::Latex) => format!("${value} \\pm {}$", rounded(half, figure.decimals)),
    };
    if mean.n < figure.trials {
        _ = write!(text, " ({} of {})", mean.n, figure.trials);
    }
    if let Some(paired) = &figure.paired {
        _ = write!(text, " {}", paired.verdict.word());
        if paired.pairs < paired.of {
            _ = write!(text, " ({} of {} pairs)", paired.pairs, paired.of);
        }
    }
    text
}

fn grid_markdown(grid: &Grid, reasons: &[&str]) -> String {
    let named = has_line_names(grid);
    let labels = grid.labels.iter().map(|label| escape_markdown(&label.text)).chain(named.then(String::new));
    let heads = grid.columns.iter().map(|head| {
        let text = escape_markdown(&head.text);
        head.group.as_ref().map_or_else(|| text.clone(), |group| format!("{}, {text}", escape_markdown(group)))
    });
    let header: Vec<String> = labels.chain(heads).collect();
    let right: Vec<bool> = grid
        .labels
        .iter()
        .map(|label| label.right)
        .chain(named.then_some(false))
        .chain(grid.columns.iter().map(|_| true))
        .collect();
    let body = lines(grid, Style::Markdown, reasons).into_iter().map(|line| [line.labels, line.cells].concat());
    let all: Vec<Vec<String>> = std::iter::once(header).chain(body).collect();
    let width = |column: usize| all.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..right.len()).map(width).collect();
    let mut text = String::new();
    if !grid.caption.is_empty() {
        _ = writeln!(text, "{}:\n", escape_markdown(&grid.caption));
    }
    for (place, line) in all.iter().enumerate() {
        let cells = line.iter().zip(&widths).zip(&right).map(|((cell, &width), &right)| {
            if right { format!(" {cell:>width$} ") } else { format!(" {cell:<width$} ") }
        });
        _ = writeln!(text, "|{}|", cells.collect::<Vec<_>>().join("|"));
        if place == 0 {
            let rule = widths.iter().zip(&right).map(|(&width, &right)| {
                let dashes = "-".repeat(width + 1);
                if right { format!("{dashes}:") } else { format!(":{dashes}") }
            });
            _ = writeln!(text, "|{}|", rule.collect::<Vec<_>>().join("|"));
        }
    }
    text
}

/// More columns than this, labels included, are shrunk to the width of the text.
const FITTING_COLUMNS: usize = 7;
/// More than this are shrunk to the height of the page, and turned.
const READABLE_COLUMNS: usize = 12;

fn grid_latex(grid: &Grid, reasons: &[&str]) -> String {
    let named = has_line_names(grid);
    let mut text = String::from("\\begin{table}[ht]\n  \\centering\n");
    if !grid.caption.is_empty() {
        _ = writeln!(text, "  \\caption{{{}}}", escape_latex(&grid.caption));
    }
    let columns = grid.labels.len() + usize::from(named) + grid.columns.len();
    let (open, close) = if columns <= FITTING_COLUMNS {
        ("", "")
    } else if columns <= READABLE_COLUMNS {
        ("  \\resizebox{\\textwidth}{!}{%\n", "}")
    } else {
        ("  \\rotatebox{90}{\\resizebox{0.9\\textheight}{!}{%\n", "}}")
    };
    text.push_str(open);
    let mut alignment: String = grid.labels.iter().map(|label| if label.right { 'r' } else { 'l' }).collect();
    alignment.push_str(if named { "l" } else { "" });
    alignment.push_str(&"r".repeat(grid.columns.len()));
    _ = writeln!(text, "  \\begin{{tabular}}{{{alignment}}}\n    \\toprule");
    text.push_str(&header_latex(grid, named));
    text.push_str("    \\midrule\n");
    let mut last: Vec<String> = Vec::new();
    for (place, line) in lines(grid, Style::Latex, reasons).into_iter().enumerate() {
        if line.begins && place > 0 {
            text.push_str("    \\midrule\n");
            last.clear();
        }
        // A label is printed once for the lines that share it and all before it.
        let same = line.labels.iter().zip(&last).take_while(|(own, other)| own == other).count();
        let same = same.min(line.labels.len().saturating_sub(1));
        let labels = line.labels.iter().enumerate().map(|(at, label)| if at < same { "" } else { label.as_str() });
        let cells: Vec<&str> = labels.chain(line.cells.iter().map(String::as_str)).collect();
        _ = writeln!(text, "    {} \\\\", cells.join(" & "));
        last.clone_from(&line.labels);
    }
    _ = writeln!(text, "    \\bottomrule\n  \\end{{tabular}}{close}\n\\end{{table}}");
    text
}

/// One line of heads, with a line of groups above it where there are any.
fn header_latex(grid: &Grid, named: bool) -> String {
    let mut text = String::new();
    let first = grid.labels.len() + usize::from(named);
    if grid.columns.iter().any(|head| head.group.is_some()) {
        let (mut cells, mut rules, mut at) = (vec![String::new(); first], String::new(), 0);
        while let Some(head) = grid.columns.get(at) {
            let Some(group) = &head.group else {
                cells.push(String::new());
                at += 1;
                continue;
            };
            let span = grid.columns[at..].iter().take_while(|other| other.group == head.group).count();
            cells.push(format!("\\multicolumn{{{span}}}{{c}}{{{}}}", escape_latex(group)));
            _ = write!(rules, "\\cmidrule(lr){{{}-{}}}", first + at + 1, first + at + span);
            at += span;
        }
        _ = writeln!(text, "    {} \\\\\n    {rules}", cells.join(" & "));
    }
    let labels = grid.labels.iter().map(|label| escape_latex(&label.text)).chain(named.then(String::new));
    let heads = grid.columns.iter().map(|head| escape_latex(&head.text));
    _ = writeln!(text, "    {} \\\\", labels.chain(heads).collect::<Vec<_>>().join(" & "));
    text
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
    use super::super::document::{Head, Label};
    use super::*;

    fn grid(rows: Vec<Row>) -> Grid {
        Grid {
            name: "test",
            caption: String::new(),
            labels: vec![Label::left("%")],
            columns: vec![Head::plain("PRU")],
            rows,
            deviation: false,
        }
    }

    fn row(label: &str, cell: Cell) -> Row {
        Row { labels: vec![Cell::text(label)], cells: vec![cell], begins: false }
    }

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
        let grid = grid(vec![row("A_f", Cell::Number(-0.001)), row("A_r", Cell::Missing)]);
        assert_eq!(grid_markdown(&grid, &[]), "| %   |  PRU |\n|:----|-----:|\n| A_f | 0.00 |\n| A_r |    - |\n");
    }

    #[test]
    fn differences_have_a_sign_and_zero_has_none() {
        let two = [0.004, 0.006, -0.006, -12.3].map(|value| signed(value, 2));
        assert_eq!(two, ["0.00", "+0.01", "-0.01", "-12.30"]);
        let others = [(0.4, 0), (-0.4, 0), (0.000_6, 3), (-0.000_4, 3)].map(|(value, places)| signed(value, places));
        assert_eq!(others, ["0", "0", "+0.001", "0.000"]);
    }

    #[test]
    fn letters_go_on_after_z() {
        assert_eq!([0, 25, 26, 27, 51, 52].map(letter), ["a", "z", "aa", "ab", "az", "ba"]);
    }

    #[test]
    fn groups_of_columns_have_their_own_line_in_latex() {
        let mut grid = grid(vec![Row {
            labels: vec![Cell::text("A_f")],
            cells: vec![Cell::Number(1.0), Cell::Number(2.0), Cell::Number(3.0)],
            begins: false,
        }]);
        let part = |text: &str| Head { text: text.to_owned(), group: Some("PRU".to_owned()) };
        grid.columns = vec![Head::plain("Original"), part("D_f"), part("D_new_f")];
        let text = grid_latex(&grid, &[]);
        let header = "     &  & \\multicolumn{2}{c}{PRU} \\\\\n    \\cmidrule(lr){3-4}\n    \\% & Original & D\\_f & D\\_new\\_f \\\\\n";
        assert!(text.contains(header), "{text}");
        assert!(grid_markdown(&grid, &[]).starts_with("| %   | Original | PRU, D_f | PRU, D_new_f |"), "{text}");
    }
}
