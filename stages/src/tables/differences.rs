//! `tables/differences`: methods compared pair by pair. Two methods of one trial and class began from the same network and
//! saw the same data in the same order, so their difference varies less than either.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{Cell, DECIMALS, Grid, Head, Label, Part, Row, Unit};
use super::frame;
use super::grids::{Section, Slice};
use super::layout::Layout;
use super::measured::{Measured, gather};
use super::metrics::{self, Metric};
use super::pairs::Pair;
use super::relearn::check_epochs;
use super::slices::{Coordinates, describe, sections};
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Stage, StageError};

/// Paired differences in percent points. Within each trial the difference is taken class by class, over the classes that
/// both methods have, and averaged; the mean over trials has Student's t 95 % interval. `lower` or `higher` is said of
/// intervals without 0, `undecided` of all others.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The heading.
    pub title: String,
    /// Epochs of relearning after which the difference is taken; 0 is before it.
    pub epochs: Vec<u32>,
    /// Which axis of the matrix plays which part. Columns are not divided: name that axis under `rows`.
    pub layout: Layout,
    /// What is compared, in this order.
    pub metrics: Vec<Metric>,
    /// The column that every other is compared with.
    pub reference: Option<String>,
    /// Compare every two columns too.
    pub all_pairs: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            title: "Paired differences".to_owned(),
            epochs: vec![0],
            layout: Layout::default(),
            metrics: vec![Metric::Forget, Metric::Retain],
            reference: None,
            all_pairs: false,
        }
    }
}

/// See the file.
pub struct Differences;

impl Stage for Differences {
    type Params = Params;
    const NAME: &'static str = "tables/differences";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "paired differences between methods within each trial and class";
    const INPUTS: &'static [Port] =
        &[Port::gather("runs", "metrics of `evaluate` or curves of `relearn` for every method, class and seed")];
    const OUTPUTS: &'static [OutputPort] = super::OUTPUTS;

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        params.layout.check(&mut problems);
        check_epochs(&params.epochs, &mut problems);
        metrics::check(&params.metrics, &mut problems);
        if params.metrics.contains(&Metric::ForgetOverOriginal) {
            problems.push(("metrics", "`A_f/orig` is no value of one run".to_owned()));
        }
        if let Some(axis) = &params.layout.within {
            problems.push(("layout.within", format!("columns are not divided here: name `{axis}` under `rows`")));
        }
        if params.reference.is_none() && !params.all_pairs {
            problems.push(("reference", "is needed, or `all_pairs: true`".to_owned()));
        }
        problems
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let runs = gather(io, "runs")?;
        let mut parts = Vec::new();
        for section in sections(&params.layout.axes(), &runs)? {
            if !section.fixed.is_empty() {
                parts.push(Part::Heading(describe(&section.fixed)));
            }
            parts.push(Part::Note(explanation(&params, &section)));
            if let Some(reference) = &params.reference {
                parts.push(Part::Grid(against(&params, &section, reference)?));
            }
            if params.all_pairs {
                for_all_pairs(&params, &section, &mut parts);
            }
            parts.extend(missing_notes(&params, &section));
        }
        super::write(io, &params.title, parts, runs)
    }
}

fn explanation(params: &Params, section: &Section) -> String {
    let mean = frame::averaged(&params.layout, section);
    let mean = if mean.is_empty() { String::new() } else { format!(", {mean}") };
    format!(
        "Differences of accuracy on the test set in percent points, between two methods within the same {trials}{mean}, \
         then over {trials}; ± is half the width of Student's t 95 % interval. lower and higher: the interval is wholly \
         below or above 0; undecided: it is not, or there is one {trials} alone. Each interval is for its pair alone: of \
         twenty pairs without a difference, one is expected to be decided.",
        trials = params.layout.trials
    )
}

/// Every column less the reference.
fn against(params: &Params, section: &Section, reference: &str) -> Result<Grid, StageError> {
    let first = &section.slices[0];
    let base = first.column(reference).ok_or_else(|| {
        let known: Vec<&str> = first.columns.iter().map(|column| column.value.as_str()).collect();
        StageError::failed(format!("there is no column `{reference}` to compare with: {}", known.join(", ")))
    })?;
    let others: Vec<usize> = (0..first.columns.len()).filter(|column| *column != base).collect();
    let rows = frame::rows(section, |slice, rows| {
        for (metric, epoch) in cells(params) {
            let cell = |column: &usize| difference(params, slice, *column, base, metric, epoch);
            let labels = labels(params, slice, Cell::Metric(metric), epoch);
            rows.push(Row { labels, cells: others.iter().map(cell).collect(), begins: false });
        }
    });
    let mut heads = frame::heads(&params.layout, first);
    heads.remove(base);
    let caption = format!("Difference from {}", params.layout.label(reference));
    Ok(grid("differences", caption, first, heads, rows, "%"))
}

/// The metrics and epochs that are compared.
fn cells(params: &Params) -> impl Iterator<Item = (Metric, u32)> {
    params.metrics.iter().flat_map(|metric| params.epochs.iter().map(move |epoch| (*metric, *epoch)))
}

fn labels(params: &Params, slice: &Slice, name: Cell, epoch: u32) -> Vec<Cell> {
    let mut labels = frame::row_labels(&params.layout, slice);
    labels.extend([name, Cell::text(epoch.to_string())]);
    labels
}

fn grid(name: &'static str, caption: String, first: &Slice, columns: Vec<Head>, rows: Vec<Row>, what: &str) -> Grid {
    let mut labels: Vec<Label> = first.rows.iter().map(|(axis, _)| Label::left(axis)).collect();
    labels.extend([Label::left(what), Label::right("epoch")]);
    Grid { name, caption, labels, columns, rows, deviation: false }
}

/// A grid for each metric: the row's method less the column's.
fn for_all_pairs(params: &Params, section: &Section, parts: &mut Vec<Part>) {
    let first = &section.slices[0];
    for &metric in &params.metrics {
        let mut rows = Vec::new();
        for slice in &section.slices {
            for &epoch in &params.epochs {
                let before = rows.len();
                for (row, column) in slice.columns.iter().enumerate() {
                    let cell = |other: usize| {
                        if other == row { Cell::text("") } else { difference(params, slice, row, other, metric, epoch) }
                    };
                    let labels = labels(params, slice, Cell::text(params.layout.label(&column.value)), epoch);
                    rows.push(Row { labels, cells: (0..slice.columns.len()).map(cell).collect(), begins: false });
                }
                if let Some(row) = rows.get_mut(before).filter(|_| before > 0) {
                    row.begins = true;
                }
            }
        }
        let caption = format!("{} of the row's method less that of the column's", metric.name());
        let heads = frame::heads(&params.layout, first);
        parts.push(Part::Grid(grid("all_pairs", caption, first, heads, rows, metric.name())));
    }
}

/// `column` less `base`: class by class within each trial, over the pairs that both have.
fn difference(params: &Params, slice: &Slice, column: usize, base: usize, metric: Metric, epoch: u32) -> Cell {
    let at = coordinates(params, slice, column, base, metric, epoch);
    Pair { slice, column, base }.figure(Unit::Points, DECIMALS, at, |column, trial, member| {
        slice.run(column, trial, member).and_then(|run: &Measured| run.value(epoch, metric))
    })
}

fn coordinates(params: &Params, slice: &Slice, column: usize, base: usize, metric: Metric, epoch: u32) -> Coordinates {
    let mut at = frame::coordinates(&params.layout, slice, column);
    at.push(("less".to_owned(), slice.columns[base].value.clone()));
    at.push(("metric".to_owned(), metric.name().to_owned()));
    at.push(("epoch".to_owned(), epoch.to_string()));
    at
}

/// A note for each column that lacks runs.
fn missing_notes(params: &Params, section: &Section) -> Vec<Part> {
    let mut notes = Vec::new();
    for slice in &section.slices {
        let so = "pairs with these are left out";
        let columns = 0..slice.columns.len();
        notes.extend(columns.filter_map(|column| frame::missing_runs(&params.layout, slice, column, so)));
    }
    notes
}
