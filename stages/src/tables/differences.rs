//! `tables/differences`: methods compared pair by pair. Two methods of one trial and class began from the same network and
//! saw the same data in the same order, so their difference varies less than either.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{Cell, Figure, Grid, Head, Label, Paired, Part, Row, Unit, Verdict};
use super::grids::{Grids, Section, Slice};
use super::layout::Layout;
use super::measured::gather;
use super::metrics::{self, Metric};
use super::relearn::check_epochs;
use super::slices::{Coordinates, describe, sections};
use super::statistics::{Mean, mean};
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Stage, StageError};

/// Differences are means of quotients of counts: an interval's end this near to 0 is at 0.
const ROUNDING: f64 = 1e-9;

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
    let grids = grids(params);
    let mean = grids.averaged(section);
    let mean = if mean.is_empty() { String::new() } else { format!(", {mean}") };
    format!(
        "Differences of accuracy on the test set in percent points, between two methods within the same {trials}{mean}, \
         then over {trials}; ± is half the width of Student's t 95 % interval. lower and higher: the interval is wholly \
         below or above 0; undecided: it is not, or there is one {trials} alone. Each interval is for its pair alone: of \
         twenty pairs without a difference, one is expected to be decided.",
        trials = params.layout.trials
    )
}

fn grids(params: &Params) -> Grids<'_> {
    Grids {
        layout: &params.layout,
        metrics: &params.metrics,
        epochs: &params.epochs,
        names_epochs: true,
        deviation: false,
        comparer: None,
    }
}

/// Every column less the reference.
fn against(params: &Params, section: &Section, reference: &str) -> Result<Grid, StageError> {
    let first = &section.slices[0];
    let base = first.column(reference).ok_or_else(|| {
        let known: Vec<&str> = first.columns.iter().map(|column| column.value.as_str()).collect();
        StageError::failed(format!("there is no column `{reference}` to compare with: {}", known.join(", ")))
    })?;
    let others: Vec<usize> = (0..first.columns.len()).filter(|column| *column != base).collect();
    let mut rows = Vec::new();
    for slice in &section.slices {
        let before = rows.len();
        for (metric, epoch) in cells(params) {
            let cell = |column: &usize| difference(params, slice, *column, base, metric, epoch);
            let labels = labels(params, slice, Cell::Metric(metric), epoch);
            rows.push(Row { labels, cells: others.iter().map(cell).collect(), begins: false });
        }
        if let Some(row) = rows.get_mut(before).filter(|_| before > 0) {
            row.begins = true;
        }
    }
    let mut heads = grids(params).heads(first);
    heads.remove(base);
    let caption = format!("Difference from {}", params.layout.label(reference));
    Ok(grid("differences", caption, first, heads, rows, "%"))
}

/// The metrics and epochs that are compared.
fn cells(params: &Params) -> impl Iterator<Item = (Metric, u32)> {
    params.metrics.iter().flat_map(|metric| params.epochs.iter().map(move |epoch| (*metric, *epoch)))
}

fn labels(params: &Params, slice: &Slice, name: Cell, epoch: u32) -> Vec<Cell> {
    let mut labels = grids(params).row_labels(slice);
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
        let heads = grids(params).heads(first);
        parts.push(Part::Grid(grid("all_pairs", caption, first, heads, rows, metric.name())));
    }
}

/// `column` less `base`: class by class within each trial, over the pairs that both have.
fn difference(params: &Params, slice: &Slice, column: usize, base: usize, metric: Metric, epoch: u32) -> Cell {
    let (mut trials, mut pairs, mut runs) = (Vec::new(), 0, Vec::new());
    for trial in 0..slice.trials.len() {
        let mut differences = Vec::new();
        for member in 0..slice.members.len() {
            let value = |of: usize| slice.run(of, trial, member)?.value(epoch, metric);
            let Some((ours, theirs)) = value(column).zip(value(base)) else { continue };
            differences.push(ours - theirs);
            runs.extend([column, base].into_iter().filter_map(|of| slice.index(of, trial, member)));
        }
        pairs += differences.len();
        trials.extend(mean(&differences).map(|mean| mean.value));
    }
    runs.sort_unstable();
    let found = mean(&trials);
    let verdict = found.map_or(Verdict::Undecided, verdict);
    let of = slice.trials.len() * slice.members.len();
    Cell::Figure(Box::new(Figure {
        unit: Unit::Points,
        mean: found.map(|mean| mean.times(100.0)),
        trials: slice.trials.len(),
        classes: slice.members.len(),
        at: coordinates(params, slice, column, base, metric, epoch),
        runs,
        missing: lacking(slice, column, base),
        comparison: None,
        paired: Some(Paired { pairs, of, verdict }),
    }))
}

/// Whether the interval is wholly below or above 0; of one trial there is none.
fn verdict(mean: Mean) -> Verdict {
    match mean.half_width {
        Some(half) if mean.value + half < -ROUNDING => Verdict::Lower,
        Some(half) if mean.value - half > ROUNDING => Verdict::Higher,
        _ => Verdict::Undecided,
    }
}

fn coordinates(params: &Params, slice: &Slice, column: usize, base: usize, metric: Metric, epoch: u32) -> Coordinates {
    let mut at: Coordinates = slice.fixed.iter().chain(&slice.rows).cloned().collect();
    at.push((params.layout.columns.clone(), slice.columns[column].value.clone()));
    at.push(("less".to_owned(), slice.columns[base].value.clone()));
    at.push(("metric".to_owned(), metric.name().to_owned()));
    at.push(("epoch".to_owned(), epoch.to_string()));
    at
}

/// A note for each column that lacks runs.
fn missing_notes(params: &Params, section: &Section) -> Vec<Part> {
    let mut notes = Vec::new();
    for slice in &section.slices {
        for (place, column) in slice.columns.iter().enumerate() {
            let missing = slice.missing(place);
            if !missing.is_empty() {
                let rows = slice.rows.iter().map(|(_, value)| params.layout.label(value));
                let name: Vec<&str> = rows.chain([params.layout.label(&column.value)]).collect();
                let (name, missing) = (name.join(", "), missing.join(", "));
                notes.push(Part::Note(format!("{name}: missing {missing}; pairs with these are left out.")));
            }
        }
    }
    notes
}

/// The runs of either method that are not there, in words.
fn lacking(slice: &Slice, column: usize, base: usize) -> Vec<String> {
    let of = |place: usize| {
        let name = slice.columns[place].value.clone();
        slice.missing(place).into_iter().map(move |missing| format!("{name}: {missing}"))
    };
    of(column).chain(of(base)).collect()
}
