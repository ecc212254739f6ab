//! A document for programs: `table.json`, from which the report is made, and `table.csv` with a line for each figure.
//!
//! Values are unrounded, in the units that text prints. The bytes depend on the document alone.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::comparison::Mark;
use super::document::{Cell, DECIMALS, Document, Figure, Grid, Part, Row, Unit};
use super::slices::Coordinates;
use crate::stage::StageError;

/// Raised when a reader of the last one would misread the next.
const FORMAT: u32 = 1;

/// A figure as `table.json` and `table.csv` write it; what does not apply is left out.
#[derive(Serialize)]
struct Machine {
    /// `mean`, `ratio` or `paired_difference`.
    kind: &'static str,
    /// Its coordinates: axes, `metric`, `epoch`.
    at: Map<String, Value>,
    /// `percent`, `1` or `percent points`.
    unit: &'static str,
    /// How many text shows, where they are not two.
    #[serde(skip_serializing_if = "Option::is_none")]
    decimals: Option<usize>,
    value: Option<f64>,
    /// Half the width of the 95 % interval over trials.
    half_width: Option<f64>,
    /// The sample deviation over trials.
    sd: Option<f64>,
    /// Trials that the value is over.
    n: usize,
    /// Trials that there should be.
    trials: usize,
    /// Classes averaged within a trial.
    classes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<f64>,
    /// `within`, `outside` or `not comparable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pairs: Option<usize>,
    /// Pairs that there should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pairs_of: Option<usize>,
    /// `lower`, `higher` or `undecided`.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    /// What the value lacks, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
    /// Places in the document's `runs`.
    runs: Vec<usize>,
}

impl Machine {
    fn of(figure: &Figure) -> Self {
        let mean = figure.mean;
        let comparison = figure.comparison.as_ref();
        let mark = comparison.and_then(|comparison| comparison.mark);
        Self {
            kind: match (&figure.paired, figure.unit) {
                (Some(_), _) => "paired_difference",
                (None, Unit::Ratio) => "ratio",
                (None, Unit::Percent | Unit::Points | Unit::Plain | Unit::Difference) => "mean",
            },
            at: object(&figure.at),
            unit: match figure.unit {
                Unit::Percent => "percent",
                Unit::Ratio | Unit::Plain | Unit::Difference => "1",
                Unit::Points => "percent points",
            },
            decimals: Some(figure.decimals).filter(|decimals| *decimals != DECIMALS),
            value: mean.map(|mean| mean.value),
            half_width: mean.and_then(|mean| mean.half_width),
            sd: mean.and_then(|mean| mean.deviation),
            n: mean.map_or(0, |mean| mean.n),
            trials: figure.trials,
            classes: figure.classes,
            published: comparison.map(|comparison| comparison.published),
            difference: comparison.and_then(|comparison| comparison.difference),
            mark: mark.map(Mark::word),
            reason: comparison.filter(|_| mark.is_some()).map(|comparison| comparison.reason.clone()),
            pairs: figure.paired.as_ref().map(|paired| paired.pairs),
            pairs_of: figure.paired.as_ref().map(|paired| paired.of),
            verdict: figure.paired.as_ref().map(|paired| paired.verdict.word()),
            missing: figure.missing.clone(),
            runs: figure.runs.clone(),
        }
    }
}

fn object(coordinates: &Coordinates) -> Map<String, Value> {
    coordinates.iter().map(|(axis, value)| (axis.clone(), Value::from(value.as_str()))).collect()
}

/// `table.json`: `format`, `title`, `runs` (coordinates of every artifact, in the order of the port) and `parts`, each
/// with its `part`: a `heading` or `note` with its `text`, or a `grid` with `name`, `caption`, `labels` (heads of the
/// columns of labels), `columns` (heads, with their `group`) and `rows` of `labels` and `cells`. A cell has a `kind`:
/// `text`, `metric`, `number`, `count`, `empty`, or that of a figure.
///
/// # Errors
/// Never but for a fault of the writer.
pub(super) fn json(document: &Document) -> Result<Vec<u8>, StageError> {
    let parts: Vec<Value> = document.parts.iter().map(part_json).collect::<Result<_, _>>()?;
    let runs: Vec<Value> = document.runs.iter().map(|run| Value::Object(object(run))).collect();
    let whole = json!({"format": FORMAT, "title": document.title, "runs": runs, "parts": parts});
    let mut bytes = serde_json::to_vec(&whole).map_err(failed)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn failed(problem: impl std::fmt::Display) -> StageError {
    StageError::failed(format!("writing the table: {problem}"))
}

fn part_json(part: &Part) -> Result<Value, StageError> {
    Ok(match part {
        Part::Heading(text) => json!({"part": "heading", "text": text}),
        Part::Note(text) => json!({"part": "note", "text": text}),
        Part::Grid(grid) => {
            let rows: Vec<Value> = grid.rows.iter().map(row_json).collect::<Result<_, _>>()?;
            let labels: Vec<&str> = grid.labels.iter().map(|label| label.text.as_str()).collect();
            let columns: Vec<Value> =
                grid.columns.iter().map(|head| json!({"text": head.text, "group": head.group})).collect();
            json!({"part": "grid", "name": grid.name, "caption": grid.caption, "labels": labels, "columns": columns,
                "rows": rows})
        }
    })
}

fn row_json(row: &Row) -> Result<Value, StageError> {
    let all = |cells: &[Cell]| cells.iter().map(cell_json).collect::<Result<Vec<Value>, _>>();
    Ok(json!({"labels": all(&row.labels)?, "cells": all(&row.cells)?}))
}

fn cell_json(cell: &Cell) -> Result<Value, StageError> {
    Ok(match cell {
        Cell::Text(text) => json!({"kind": "text", "text": text}),
        Cell::Metric(metric) => json!({"kind": "metric", "text": metric.name()}),
        Cell::Trials => json!({"kind": "text", "text": "n"}),
        Cell::Number(value) => json!({"kind": "number", "value": value}),
        Cell::Count { n, of } => json!({"kind": "count", "n": n, "of": of}),
        Cell::Figure(figure) => serde_json::to_value(Machine::of(figure)).map_err(failed)?,
        Cell::Missing => json!({"kind": "empty"}),
    })
}

/// A line for each figure: the grid that it stands in, its coordinates, and its values.
///
/// # Errors
/// Never but for a fault of the writer.
pub(super) fn csv(document: &Document) -> Result<Vec<u8>, StageError> {
    let figures: Vec<(&Grid, &Figure)> =
        document.grids().flat_map(|grid| grid.figures().map(move |figure| (grid, figure))).collect();
    let mut axes: Vec<&str> = Vec::new();
    for (axis, _) in figures.iter().flat_map(|(_, figure)| &figure.at) {
        if !axes.contains(&axis.as_str()) {
            axes.push(axis);
        }
    }
    // An axis that only some have comes after those that all have, but before what every figure ends with.
    axes.sort_by_key(|axis| ["metric", "epoch"].iter().position(|last| last == axis).map_or(0, |place| place + 1));
    let values = ["value", "half_width", "sd", "n", "trials", "classes", "published", "difference", "mark", "reason"];
    let pairs = ["pairs", "pairs_of", "verdict", "missing"];
    let fixed: Vec<&str> = ["grid", "kind", "unit"].into_iter().chain(values).chain(pairs).collect();
    let head = fixed[..3].iter().map(|name| (*name).to_owned());
    let head = head.chain(axes.iter().map(|axis| column_name(axis, &fixed)));
    let head = head.chain(fixed[3..].iter().map(|name| (*name).to_owned()));
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = |record: Vec<String>| writer.write_record(record.iter().map(|text| harmless(text))).map_err(failed);
    write(head.collect())?;
    for (grid, figure) in figures {
        let machine = Machine::of(figure);
        let on_axis = |axis: &&str| figure.at.iter().find(|(name, _)| name == axis).map(|(_, value)| value.clone());
        let float = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let whole = |value: Option<usize>| value.map_or_else(String::new, |value| value.to_string());
        let mut record = vec![grid.name.to_owned(), machine.kind.to_owned(), machine.unit.to_owned()];
        record.extend(axes.iter().map(|axis| on_axis(axis).unwrap_or_default()));
        record.extend([machine.value, machine.half_width, machine.sd].map(float));
        record.extend([machine.n, machine.trials, machine.classes].map(|n| n.to_string()));
        record.extend([machine.published, machine.difference].map(float));
        record.push(machine.mark.unwrap_or_default().to_owned());
        record.push(machine.reason.unwrap_or_default());
        record.extend([machine.pairs, machine.pairs_of].map(whole));
        record.push(machine.verdict.unwrap_or_default().to_owned());
        record.push(machine.missing.join(" "));
        write(record)?;
    }
    writer.into_inner().map_err(failed)
}

/// The name of an axis as a column beside columns of other names.
pub(crate) fn column_name(axis: &str, taken: &[&str]) -> String {
    if taken.contains(&axis) { format!("axis_{axis}") } else { axis.to_owned() }
}

/// The text, with an apostrophe in front when it is no number and starts as a spreadsheet's formula does.
pub(crate) fn harmless(text: &str) -> String {
    let starts_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let is_number = text.parse::<f64>().is_ok_and(f64::is_finite);
    if starts_formula && !is_number { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_disarmed_and_numbers_stay_numbers() {
        assert_eq!(harmless("=1+1"), "'=1+1");
        assert_eq!(harmless("@SUM(A1)"), "'@SUM(A1)");
        assert_eq!(harmless("-pru"), "'-pru");
        assert_eq!(harmless("-0.5"), "-0.5");
        assert_eq!(harmless("+1e-3"), "+1e-3");
        assert_eq!(harmless("pru"), "pru");
    }

    #[test]
    fn an_axis_that_is_called_as_a_column_gets_another_name() {
        assert_eq!(column_name("value", &["value", "n"]), "axis_value");
        assert_eq!(column_name("seed", &["value", "n"]), "seed");
    }
}
