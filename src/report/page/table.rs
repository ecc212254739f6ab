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
                    @if let Some(half_width) = figure.half_width { span.width { " ±" (rounded(half_width, figure.decimals)) } }
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
                (signed(difference, 2)) " "
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
    let is_difference = figure.unit == "percent points" || figure.pairs.is_some();
    let shown = if is_difference { signed } else { rounded };
    figure.value.map_or_else(|| "–".to_owned(), |value| shown(value, figure.decimals))
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
    // Two more than the table shows.
    let places = figure.decimals + 2;
    let value = match (figure.value, figure.half_width) {
        (None, _) => "no complete trial".to_owned(),
        (Some(value), None) => format!("{value:.places$}{unit}"),
        (Some(value), Some(half)) => format!("{value:.places$}{unit} ± {half:.places$} (t 95 % over trials)"),
    };
    facts.push(("ours", value));
    facts.push(("n", format!("{} of {} trials, each over {}", figure.n, figure.trials, classes(figure.classes))));
    if let Some(sd) = figure.sd {
        facts.push(("sd", format!("{sd:.places$} over trials")));
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

/// Two decimals, as accuracies have; see [`rounded`].
fn decimals(value: f64) -> String {
    rounded(value, 2)
}

/// So many decimals; never a zero with a minus. The minus is one, and as wide as a digit.
fn rounded(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if is_zero(rest) => rest.to_owned(),
        _ => text.replace('-', "−"),
    }
}

/// As [`rounded`], with its sign.
fn signed(value: f64, decimals: usize) -> String {
    let text = rounded(value, decimals);
    if value > 0.0 && !is_zero(&text) { format!("+{text}") } else { text }
}

fn is_zero(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '0' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_two_decimals_and_differences_a_sign() {
        assert_eq!([1.0, -0.001, -12.345].map(decimals), ["1.00", "0.00", "−12.35"]);
        assert_eq!([0.004, 0.006, -0.006].map(|value| signed(value, 2)), ["0.00", "+0.01", "−0.01"]);
    }

    #[test]
    fn a_figure_is_shown_with_its_own_decimals_and_a_paired_one_with_its_sign() {
        let figure = |more: serde_json::Value| -> Figure {
            let mut json = serde_json::json!({"at": {}, "unit": "1", "value": 0.012_34, "n": 1, "trials": 1, "classes": 1,
                "runs": []});
            json.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
            serde_json::from_value(json).unwrap()
        };
        assert_eq!(ours(&figure(serde_json::json!({}))), "0.01");
        assert_eq!(ours(&figure(serde_json::json!({"decimals": 4}))), "0.0123");
        assert_eq!(ours(&figure(serde_json::json!({"decimals": 3, "pairs": 1}))), "+0.012");
        assert_eq!(ours(&figure(serde_json::json!({"decimals": 0, "pairs": 1}))), "0");
        let four = facts(&figure(serde_json::json!({"decimals": 3})));
        assert!(four.contains(&("ours", "0.01234".to_owned())), "{four:?}");
    }

    #[test]
    fn only_whole_names_of_metrics_are_set_as_symbols() {
        assert_eq!(symbol("A_f").into_string(), "<i>A</i><sub>f</sub>");
        assert_eq!(symbol("A_forest<").into_string(), "A_<wbr>forest&lt;");
    }
}
