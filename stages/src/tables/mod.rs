//! Tables over many nodes, as Markdown, CSV and LaTeX.
//!
//! A table gathers artifacts with the coordinates of the nodes that made them. It averages over classes within a trial,
//! then over trials; it shows each trial count and says what is missing rather than average over fewer runs. The text
//! holds no date and no path: equal inputs give equal bytes.

pub mod accuracy;
mod document;
mod raw;
pub mod relearn;
mod slices;
mod statistics;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::io::StageIo;
use crate::stage::{OutputPort, StageError};
use document::{Document, Entry, Part};
use slices::{Run, Slice};

/// The outputs of every table.
const OUTPUTS: &[OutputPort] = &[
    OutputPort::file("markdown", "table.md", "the table, aligned for a terminal"),
    OutputPort::file("csv", "table.csv", "the values as they came: every node with all its coordinates"),
    OutputPort::file("latex", "table.tex", "the table for LaTeX with the package booktabs"),
];

/// Reads every artifact of a gathering port as JSON.
fn gather<T: DeserializeOwned>(
    io: &StageIo,
    port: &str,
    check: impl Fn(&T) -> Result<(), String>,
) -> Result<Vec<Run<T>>, StageError> {
    let inputs = io.inputs(port);
    if inputs.is_empty() {
        return Err(StageError::input(port, "no artifact is connected"));
    }
    inputs
        .iter()
        .map(|input| {
            let bad = |problem: String| {
                StageError::input(format!("{port}[{}]", slices::describe(&input.coordinates)), problem)
            };
            let value: T = serde_json::from_slice(&input.read()?).map_err(|e| bad(e.to_string()))?;
            check(&value).map_err(bad)?;
            Ok(Run { coordinates: input.coordinates.clone(), value })
        })
        .collect()
}

/// A field that must be there, though it may be `null`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Option::<f64>::deserialize(deserializer)
}

/// Whether an accuracy is a part of one.
fn check_part(name: &str, value: Option<f64>) -> Result<(), String> {
    match value {
        Some(value) if !(0.0..=1.0).contains(&value) => Err(format!("`{name}` is {value}; 0 to 1 was expected")),
        _ => Ok(()),
    }
}

/// Problems of the params that all tables have: an axis has one role.
fn check_axes(columns: &str, average: &[String], trials: &str) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    if columns == trials {
        problems.push(("trials", format!("`{trials}` is already the axis of the columns")));
    }
    for (place, axis) in average.iter().enumerate() {
        if axis == columns || axis == trials {
            problems.push(("average", format!("`{axis}` is already the axis of the columns or trials")));
        } else if average[..place].contains(axis) {
            problems.push(("average", format!("`{axis}` is named twice")));
        }
    }
    problems
}

/// Values on the column axis with the names that they are printed under.
type Labels = BTreeMap<String, String>;

fn label<'a>(labels: &'a Labels, column: &'a str) -> &'a str {
    labels.get(column).map_or(column, String::as_str)
}

/// The header of a grid with one column for each of the slice's.
fn header<T>(corner: &[&str], slice: &Slice<T>, labels: &Labels) -> Vec<Entry> {
    let corner = corner.iter().map(|text| Entry::text(*text));
    corner.chain(slice.columns.iter().map(|column| Entry::text(label(labels, column)))).collect()
}

fn symbol(plain: &str, latex: &str) -> Entry {
    Entry::Symbol { plain: plain.to_owned(), latex: latex.to_owned() }
}

/// `3 seeds`, `1 seed`; `1 run` for a table without trials.
fn count(n: usize, axis: &str) -> String {
    format!("{n} {axis}{}", if n == 1 { "" } else { "s" })
}

/// What is averaged, in words: `mean over class (0, 3, 8)`.
fn averaged<T>(slice: &Slice<T>, average: &[String]) -> String {
    let over: Vec<String> = average
        .iter()
        .filter_map(|axis| {
            let mut values: Vec<&str> = Vec::new();
            for (_, value) in slice.members.iter().flatten().filter(|(name, _)| name == axis) {
                if !values.contains(&value.as_str()) {
                    values.push(value);
                }
            }
            (!values.is_empty()).then(|| format!("{axis} ({})", values.join(", ")))
        })
        .collect();
    if over.is_empty() { String::new() } else { format!("mean over {}", over.join(" and ")) }
}

/// A note for each column that lacks runs. `no_value` names what has no value and where, by column.
fn missing_notes<T>(
    slice: &Slice<T>,
    labels: &Labels,
    no_value: impl Fn(usize) -> Vec<(String, Vec<String>)>,
) -> Vec<Part> {
    let mut notes = Vec::new();
    for (column, name) in slice.columns.iter().enumerate() {
        let name = label(labels, name);
        let missing = slice.missing(column);
        if !missing.is_empty() {
            notes.push(Part::Note(format!(
                "{name}: missing {}; incomplete trials are left out of its means.",
                missing.join(", ")
            )));
        }
        for (what, places) in no_value(column).into_iter().filter(|(_, places)| !places.is_empty()) {
            notes.push(Part::Note(format!(
                "{name}: {what} has no value for {}; left out of its means.",
                places.join(", ")
            )));
        }
    }
    notes
}

/// Writes the two texts of a document and the raw values.
fn write_outputs(io: &StageIo, document: &Document, csv: &[u8]) -> Result<(), StageError> {
    io.write("markdown", document.markdown().as_bytes())?;
    io.write("csv", csv)?;
    io.write("latex", document.latex().as_bytes())
}

fn method() -> String {
    "method".to_owned()
}

fn class() -> Vec<String> {
    vec!["class".to_owned()]
}

fn seed() -> String {
    "seed".to_owned()
}
