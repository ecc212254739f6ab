//! Tables over many nodes, in the paper's layout and with its figures beside ours: Markdown, CSV, LaTeX, JSON for the
//! report, and Parquet with every value of every run.
//!
//! A table gathers artifacts with the coordinates of the nodes that made them ([`measured`]; of any other kind [`fields`]),
//! sorts them ([`slices`]), averages over classes within a trial, then over trials ([`statistics`], [`grids`],
//! [`quantities`]), and prints ([`text`], [`machine`], [`raw`]). It shows each trial count and says what is missing rather than average over fewer runs. Nothing holds a date
//! or a path: equal inputs give equal bytes.

pub mod accuracy;
mod claim;
mod comparison;
pub mod differences;
mod document;
mod fields;
mod frame;
pub(crate) mod grids;
pub(crate) mod layout;
pub(crate) mod machine;
pub(crate) mod measured;
pub mod measures;
pub(crate) mod metrics;
mod pairs;
mod published;
mod quantities;
mod raw;
pub mod relearn;
pub(crate) mod slices;
pub(crate) mod statistics;
mod text;
mod without;

pub use claim::Claim;
pub use comparison::Against;
pub use layout::Layout;
pub use metrics::Metric;
pub use published::seconds_of_unlearning;
pub use statistics::{Mean, mean};
pub use without::Without;

use crate::io::StageIo;
use crate::stage::{OutputPort, StageError};
use document::{Document, Part};
use slices::Run;

/// The outputs of every table.
const OUTPUTS: &[OutputPort] = &[
    OutputPort::file("markdown", "table.md", "the table, aligned for a terminal"),
    OutputPort::file("csv", "table.csv", "a line for each figure of the table, unrounded"),
    OutputPort::file("latex", "table.tex", "the table for LaTeX with the packages booktabs and graphicx"),
    OutputPort::file("json", "table.json", "the table for programs: every figure with the runs that it is from"),
    OutputPort::file("parquet", "runs.parquet", "every value of every run, with all coordinates; nothing averaged"),
];

/// Writes the outputs.
fn write<T: raw::Values>(io: &StageIo, title: &str, parts: Vec<Part>, runs: Vec<Run<T>>) -> Result<(), StageError> {
    let parquet = raw::parquet(&runs)?;
    let runs = runs.into_iter().map(|run| run.coordinates).collect();
    let document = Document { title: title.to_owned(), parts, runs };
    io.write("markdown", text::markdown(&document).as_bytes())?;
    io.write("csv", &machine::csv(&document)?)?;
    io.write("latex", text::latex(&document).as_bytes())?;
    io.write("json", &machine::json(&document)?)?;
    io.write("parquet", &parquet)
}

/// The sentence with its first letter a capital.
fn capital(mut sentence: String) -> String {
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    sentence
}
