//! A table as HTML: ours, the paper's figure below it, and the difference with its mark. Every number is a button that
//! opens what stands behind it.
//!
//! All text is escaped by the templates; knows nothing of stores.

use maud::{Markup, html};

use super::document::{Cell, Document, Figure, Grid, Part};
use super::runs::{Facts, Runs};
use crate::graph::NodeId;

/// Nodes by the places that cells name, and which of them have no result.
pub struct Behind<'a> {
    /// The name of the table's own node.
    pub table: &'a str,
    /// The coordinates of every gathered artifact, its producer, and whether it is there.
    pub runs: &'a [Run],
}

/// A gathered artifact.
pub struct Run {
    /// As the table knows it.
    pub coordinates: Vec<(String, String)>,
    /// The node that makes it.
    pub node: NodeId,
    /// Whether it did.
    pub there: bool,
}

/// A table with more columns of values than this is printed across the page.
const COLUMNS_UPRIGHT: usize = 8;

/// The parts of a document below its title.
pub fn parts(document: &Document, behind: &Behind, runs: &mut Runs) -> Markup {
    html! {
        @for part in &document.parts {
            @match part {
                Part::Heading { text } => { h4 { (text) } }
                Part::Note { text } => { p.note { (text) } }
                Part::Grid(grid) => { (grid_html(grid, behind, runs)) }
            }
        }
    }
}

fn grid_html(grid: &Grid, behind: &Behind, runs: &mut Runs) -> Markup {
    let wide = grid.columns.len() > COLUMNS_UPRIGHT;
    html! {
        @if !grid.caption.is_empty() { p.caption.wide[wide] { (grid.caption) } }
        div.scroll.sheet.wide[wide] tabindex="0" role="region"
            aria-label=(if grid.caption.is_empty() { &grid.name } else { &grid.caption }) {
            table.grid {
                thead { (heads(grid)) }
                tbody {
                    @for row in &grid.rows {
                        tr {
                            @for label in &row.labels { th scope="row" { (plain(label)) } }
                            @for cell in &row.cells { (cell_html(cell, behind, runs)) }
                        }
                    }
                }
            }
        }
    }
}

/// A line of groups, where there are any, and one of names.
fn heads(grid: &Grid) -> Markup {
    let mut groups: Vec<(Option<&str>, usize)> = Vec::new();
    for head in &grid.columns {
        match groups.last_mut() {
            Some((group, span)) if head.group.is_some() && *group == head.group.as_deref() => *span += 1,
            _ => groups.push((head.group.as_deref(), 1)),
        }
    }
    let grouped = groups.iter().any(|(group, _)| group.is_some());
    html! {
        @if grouped {
            tr.groups {
                @for _ in &grid.labels { td {} }
                @for (group, span) in &groups {
                    @match group {
                        Some(group) => { th scope="colgroup" colspan=(span) { (breakable(group)) } }
                        None => { td {} }
                    }
                }
            }
        }
        tr {
            @for label in &grid.labels { th scope="col" { (symbol(label)) } }
            @for head in &grid.columns { th.value scope="col" { (symbol(&head.text)) } }
        }
    }
}

/// `A_f` with its index below the line.
fn symbol(text: &str) -> Markup {
    let rest = ["A_f", "A_r", "A_o"].iter().find_map(|name| Some((&name[2..], text.strip_prefix(name)?)));
    match rest {
        Some((index, "")) => html! { i { "A" } sub { (index) } },
        Some((index, "/orig")) => html! { i { "A" } sub { (index) } " / orig." },
        _ => breakable(text),
    }
}

/// A name that may be broken after its underscores, where its column is narrow.
fn breakable(name: &str) -> Markup {
    html! { @for piece in name.split_inclusive('_') { (piece) @if piece.ends_with('_') { wbr; } } }
}

fn plain(cell: &Cell) -> Markup {
    match cell {
        Cell::Text { text } => html! { (text) },
        Cell::Metric { text } => symbol(text),
        Cell::Number { value: Some(value) } => html! { (decimals(*value)) },
        Cell::Count { n, of } if n == of => html! { (n) },
        Cell::Count { n, of } => html! { span.lack { (n) " of " (of) } },
        Cell::Number { value: None } | Cell::Empty => html! { "–" },
        Cell::Mean(figure) | Cell::Ratio(figure) | Cell::PairedDifference(figure) => html! { (ours(figure)) },
    }
}

fn cell_html(cell: &Cell, behind: &Behind, runs: &mut Runs) -> Markup {
    let (Cell::Mean(figure) | Cell::Ratio(figure) | Cell::PairedDifference(figure)) = cell else {
        return html! { td.value { (plain(cell)) } };
    };
    let from: Vec<NodeId> =
        figure.runs.iter().filter_map(|place| behind.runs.get(*place)).map(|run| run.node).collect();
    let facts = [facts(figure), runs.makers(&from)].concat();
    let hint: Vec<String> = facts.iter().map(|(name, text)| format!("{name}: {text}")).collect();
    let lacks: Vec<NodeId> =
        behind.runs.iter().filter(|run| !run.there && belongs(run, figure)).map(|r| r.node).collect();
    let place = runs.cell(behind.table, &from, &lacks, &facts);
    html! {
        td.value {
            button.number type="button" data-cell=(place) title=(hint.join("\n")) {
                span.ours {
                    (ours(figure))
                    @if let Some(half_width) = figure.half_width { span.width { " ±" (decimals(half_width)) } }
                    @if figure.n < figure.trials { span.lack { " n " (figure.n) "/" (figure.trials) } }
                }
                @if let Some(verdict) = &figure.verdict { span class=(format!("verdict {}", known(verdict))) { (verdict) } }
                @if let Some(published) = figure.published { (published_html(figure, published)) }
            }
        }
    }
}

/// The paper's figure, and ours less it.
fn published_html(figure: &Figure, published: f64) -> Markup {
    html! {
        span.published { "paper " (decimals(published)) }
        @if let Some(difference) = figure.difference {
            @let mark = figure.mark.as_deref().unwrap_or_default();
            span class=(format!("mark {}", known(mark))) {
                (signed(difference)) " "
                @match mark {
                    "within" => "✓ within",
                    "outside" => "▲ outside",
                    "not comparable" => "n.c.",
                    other => (other),
                }
            }
        }
    }
}

/// The class of a mark or verdict; none of a word that no table of ours writes.
fn known(word: &str) -> &'static str {
    match word {
        "within" => "within",
        "outside" => "outside",
        "lower" | "higher" => "decided",
        _ => "open",
    }
}

/// Whether a run that is not there would be part of this figure: it agrees on every axis that both have.
fn belongs(run: &Run, figure: &Figure) -> bool {
    run.coordinates.iter().all(|(axis, value)| figure.at.get(axis).is_none_or(|at| at == value))
}

fn ours(figure: &Figure) -> String {
    figure.value.map_or_else(|| "–".to_owned(), if figure.unit == "percent points" { signed } else { decimals })
}

/// All that is known of a figure, for its dialog.
fn facts(figure: &Figure) -> Facts {
    let unit = match figure.unit.as_str() {
        "percent" => " %",
        "percent points" => " percent points",
        _ => "",
    };
    let at: Vec<String> = figure.at.iter().map(|(axis, value)| format!("{axis} {value}")).collect();
    let mut facts = vec![("of", at.join(", "))];
    let value = match (figure.value, figure.half_width) {
        (None, _) => "no complete trial".to_owned(),
        (Some(value), None) => format!("{value:.4}{unit}"),
        (Some(value), Some(half_width)) => format!("{value:.4}{unit} ± {half_width:.4} (t 95 % over trials)"),
    };
    facts.push(("ours", value));
    facts.push(("n", format!("{} of {} trials, each over {}", figure.n, figure.trials, classes(figure.classes))));
    if let Some(sd) = figure.sd {
        facts.push(("sd", format!("{sd:.4} over trials")));
    }
    if let (Some(pairs), Some(of)) = (figure.pairs, figure.pairs_of) {
        facts.push(("pairs", format!("{pairs} of {of}")));
    }
    if let Some(verdict) = &figure.verdict {
        facts.push(("verdict", verdict.clone()));
    }
    if let Some(published) = figure.published {
        facts.push(("paper", format!("{published}{unit}")));
    }
    if let Some(difference) = figure.difference {
        facts.push(("difference", format!("{difference:+.4} percent points, ours less the paper's")));
    }
    if let Some(mark) = &figure.mark {
        let reason = figure.reason.as_deref().unwrap_or_default();
        facts.push(("mark", if reason.is_empty() { mark.clone() } else { format!("{mark}: {reason}") }));
    }
    if !figure.missing.is_empty() {
        facts.push(("missing", figure.missing.join(", ")));
    }
    facts
}

fn classes(n: u64) -> String {
    if n == 1 { "1 class".to_owned() } else { format!("{n} classes") }
}

/// Two decimals; never `-0.00`. The minus is one, and as wide as a digit.
fn decimals(value: f64) -> String {
    let text = format!("{value:.2}");
    if text == "-0.00" { "0.00".to_owned() } else { text.replace('-', "−") }
}

/// As [`decimals`], with its sign.
fn signed(value: f64) -> String {
    let text = decimals(value);
    if value > 0.0 && text != "0.00" { format!("+{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_two_decimals_and_differences_a_sign() {
        assert_eq!([1.0, -0.001, -12.345].map(decimals), ["1.00", "0.00", "−12.35"]);
        assert_eq!([0.004, 0.006, -0.006].map(signed), ["0.00", "+0.01", "−0.01"]);
    }

    #[test]
    fn only_whole_names_of_metrics_are_set_as_symbols() {
        assert_eq!(symbol("A_f").into_string(), "<i>A</i><sub>f</sub>");
        assert_eq!(symbol("A_forest<").into_string(), "A_<wbr>forest&lt;");
    }
}
