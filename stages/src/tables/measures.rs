//! `tables/measures`: any number of any JSON artifact, by method: probes, membership, divergence, change, and what is
//! derived from accuracies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::capital;
use super::document::{Cell, Figure, Grid, Label, Part, Row, Unit};
use super::fields::{Fields, Path};
use super::frame;
use super::layout::Layout;
use super::measured::gather_as;
use super::pairs::Pair;
use super::quantities::{self, Measure, Quantity, Section, Slice, base};
use super::slices::{Coordinates, Run, describe, sections};
use super::statistics::mean;
use super::without::Without;
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Stage, StageError};

/// A table with a row for each measure. Classes are averaged unweighted within a trial, then trials; with two trials or
/// more, ± is half the width of Student's t 95 % interval over the trials. A trial that lacks a run or a value is left out
/// of its cell's mean, which says so.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The heading.
    pub title: String,
    /// Which axis of the matrix plays which part.
    pub layout: Layout,
    /// What is shown, in this order.
    pub measures: Vec<Measure>,
    /// A column, as `retrain`, from which each other is also shown as a difference, paired within each trial and class.
    pub reference: Option<String>,
    /// Show the standard deviation over trials below each mean.
    pub deviation: bool,
    /// Show each class apart too.
    pub per_class: bool,
    /// Give the means without these values too, as of the class that settings were tuned on: `{class: 0}`.
    pub without: Without,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            title: "Measures".to_owned(),
            layout: Layout::default(),
            measures: Vec::new(),
            reference: None,
            deviation: false,
            per_class: false,
            without: Without::default(),
        }
    }
}

/// See the file.
pub struct Measures;

impl Stage for Measures {
    type Params = Params;
    const NAME: &'static str = "tables/measures";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "a table of any numbers in JSON artifacts, with a column for every method";
    const INPUTS: &'static [Port] =
        &[Port::gather("results", "JSON files of one kind, for every method, class and seed")];
    const OUTPUTS: &'static [OutputPort] = super::OUTPUTS;

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        params.layout.check(&mut problems);
        params.without.check(&params.layout, &mut problems);
        quantities::check(&params.measures, &mut problems);
        problems
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let quantities: Vec<Quantity> =
            params.measures.iter().map(Quantity::new).collect::<Result<_, _>>().map_err(StageError::failed)?;
        let mut paths: Vec<Path> = Vec::new();
        for path in quantities.iter().flat_map(Quantity::paths) {
            if !paths.contains(path) {
                paths.push(path.clone());
            }
        }
        let runs = gather_as(io, "results", |bytes| Fields::read(bytes, &paths))?;
        let there: Vec<(&Coordinates, &Fields)> =
            runs.iter().filter_map(|run| Some((&run.coordinates, run.value.as_ref().ok()?))).collect();
        for quantity in &quantities {
            quantity.check_runs(&there).map_err(|problem| StageError::input("results", problem))?;
        }
        let parts = Table { params: &params, quantities }.parts(&runs)?;
        super::write(io, &params.title, parts, runs)
    }
}

struct Table<'a> {
    params: &'a Params,
    quantities: Vec<Quantity<'a>>,
}

impl Table<'_> {
    fn parts(&self, runs: &[Run<Fields>]) -> Result<Vec<Part>, StageError> {
        let layout = &self.params.layout;
        let mut parts = Vec::new();
        for section in sections(&layout.axes(), runs)? {
            self.check_references(&section)?;
            if !section.fixed.is_empty() {
                parts.push(Part::Heading(describe(&section.fixed)));
            }
            parts.extend(self.explanation(&section).map(Part::Note));
            parts.push(Part::Grid(self.means("means", &section, String::new(), &[])));
            parts.extend(
                self.params
                    .without
                    .parts(layout, &section, |left, caption, at| self.means("means_without", left, caption, &[at])),
            );
            if let Some(reference) = &self.params.reference {
                parts.extend(self.differences(&section, reference));
            }
            if self.params.per_class && section.slices.iter().any(|slice| slice.members.len() > 1) {
                parts.push(Part::Grid(self.members(&section)));
            }
            for slice in &section.slices {
                self.missing_notes(slice, &mut parts);
            }
        }
        Ok(parts)
    }

    /// Every column that something is compared with must be one.
    fn check_references(&self, section: &Section) -> Result<(), StageError> {
        let columns = &section.slices[0].columns;
        let own = self.quantities.iter().filter_map(Quantity::reference);
        for reference in self.params.reference.as_deref().into_iter().chain(own) {
            if columns.iter().all(|column| column.value != reference) {
                let mut known: Vec<&str> = columns.iter().map(|column| column.value.as_str()).collect();
                known.dedup();
                let known = known.join(", ");
                return Err(StageError::failed(format!("there is no column `{reference}` to compare with: {known}")));
            }
        }
        Ok(())
    }

    fn explanation(&self, section: &Section) -> Option<String> {
        let layout = &self.params.layout;
        let averaged = frame::averaged_and_trials(layout, section);
        let explained = |quantity: &Quantity| quantity.explained(|column| layout.label(column).to_owned());
        let words: Vec<String> = self.quantities.iter().map(explained).filter(|words| !words.is_empty()).collect();
        let mut sentences = Vec::new();
        if !averaged.is_empty() {
            sentences.push(format!("{}.", capital(averaged)));
        }
        if !words.is_empty() {
            sentences.push(format!("{}.", words.join("; ")));
        }
        if self.quantities.iter().any(|quantity| quantity.reference().is_some()) {
            sentences.push(format!("What is compared is of the same {}.", self.same()));
        }
        if self.params.deviation {
            sentences.push("s is the standard deviation over trials.".to_owned());
        }
        (!sentences.is_empty()).then(|| sentences.join(" "))
    }

    /// `seed and class`.
    fn same(&self) -> String {
        let layout = &self.params.layout;
        let axes: Vec<&str> = std::iter::once(&layout.trials).chain(&layout.average).map(String::as_str).collect();
        axes.join(" and ")
    }

    fn printed(&self, name: &str) -> String {
        self.params.layout.label(name).to_owned()
    }

    /// The means over all trials, each slice's rows below the last one's.
    fn means(&self, name: &'static str, section: &Section, caption: String, more: &[(String, String)]) -> Grid {
        let layout = &self.params.layout;
        let rows = frame::rows(section, |slice, rows| {
            let members: Vec<usize> = (0..slice.members.len()).collect();
            for quantity in self.in_slice(slice) {
                let cell = |column| self.figure(&quantity, slice, column, &members, more);
                let labels = self.labels(slice, &quantity);
                rows.push(Row { labels, cells: (0..slice.columns.len()).map(cell).collect(), begins: false });
            }
            rows.push(frame::complete_trials(layout, slice, None));
        });
        self.grid(name, section, caption, rows)
    }

    /// Each class, or whatever else is averaged over, apart.
    fn members(&self, section: &Section) -> Grid {
        let layout = &self.params.layout;
        let rows = frame::rows(section, |slice, rows| {
            for quantity in self.in_slice(slice) {
                for (member, at) in slice.members.iter().enumerate() {
                    let cell = |column| self.figure(&quantity, slice, column, &[member], at);
                    let mut labels = self.labels(slice, &quantity);
                    labels.push(Cell::text(describe(at)));
                    rows.push(Row { labels, cells: (0..slice.columns.len()).map(cell).collect(), begins: false });
                }
            }
        });
        let apart = layout.average.join(" and ");
        let caption = format!("By {apart}, mean over the {}s there are", layout.trials);
        let mut grid = self.grid("members", section, caption, rows);
        grid.labels.push(Label::left(apart));
        grid
    }

    /// Every column less the reference, but of what is compared already.
    fn differences(&self, section: &Section, reference: &str) -> Option<Part> {
        let layout = &self.params.layout;
        let first = &section.slices[0];
        let others: Vec<usize> = (0..first.columns.len()).filter(|at| first.columns[*at].value != reference).collect();
        let rows = frame::rows(section, |slice, rows| {
            for quantity in self.in_slice(slice).iter().filter(|quantity| quantity.reference().is_none()) {
                let cell = |column: &usize| self.difference(quantity, slice, *column, reference);
                let labels = self.labels(slice, quantity);
                rows.push(Row { labels, cells: others.iter().map(cell).collect(), begins: false });
            }
        });
        if rows.is_empty() || others.is_empty() {
            return None;
        }
        let caption = format!(
            "Difference from {} within each {}; lower and higher: the interval is wholly below or above 0",
            layout.label(reference),
            self.same()
        );
        let mut grid = self.grid("differences", section, caption, rows);
        let mut place = 0..;
        grid.columns.retain(|_| place.next().is_some_and(|place| others.contains(&place)));
        grid.deviation = false;
        Some(Part::Grid(grid))
    }

    fn difference(&self, quantity: &Quantity, slice: &Slice, column: usize, reference: &str) -> Cell {
        let Some(base) = base(slice, reference, column) else { return Cell::Missing };
        let measure = quantity.measure;
        let unit = if measure.percent { Unit::Points } else { Unit::Difference };
        let mut at = frame::coordinates(&self.params.layout, slice, column);
        at.push(("less".to_owned(), reference.to_owned()));
        at.push(("metric".to_owned(), quantity.label(|name| self.printed(name))));
        Pair { slice, column, base }.figure(unit, usize::from(measure.decimals), at, |column, trial, member| {
            quantity.value(slice, column, trial, member)
        })
    }

    fn in_slice(&self, slice: &Slice) -> Vec<Quantity<'_>> {
        self.quantities.iter().flat_map(|quantity| quantity.in_slice(slice)).collect()
    }

    fn labels(&self, slice: &Slice, quantity: &Quantity) -> Vec<Cell> {
        let mut labels = frame::row_labels(&self.params.layout, slice);
        let label = quantity.label(|name| self.printed(name));
        let unit = if quantity.measure.percent && !label.contains('%') { ", %" } else { "" };
        labels.push(Cell::text(format!("{label}{unit}")));
        labels
    }

    fn grid(&self, name: &'static str, section: &Section, caption: String, rows: Vec<Row>) -> Grid {
        let first = &section.slices[0];
        let mut labels: Vec<Label> = first.rows.iter().map(|(axis, _)| Label::left(axis)).collect();
        labels.push(Label::left("measure"));
        let columns = frame::heads(&self.params.layout, first);
        Grid { name, caption, labels, columns, rows, deviation: self.params.deviation }
    }

    /// The mean over those trials in which all of `members` have a value.
    fn figure(
        &self,
        quantity: &Quantity,
        slice: &Slice,
        column: usize,
        members: &[usize],
        more: &[(String, String)],
    ) -> Cell {
        let in_trial = |trial: usize| {
            let values = members.iter().map(|&member| quantity.value(slice, column, trial, member));
            mean(&values.collect::<Option<Vec<f64>>>()?).map(|mean| mean.value)
        };
        let found: Vec<(usize, f64)> =
            (0..slice.trials.len()).filter_map(|trial| Some((trial, in_trial(trial)?))).collect();
        let values: Vec<f64> = found.iter().map(|(_, value)| *value).collect();
        let unit = if quantity.measure.percent { Unit::Percent } else { Unit::Plain };
        let sides: Vec<usize> = std::iter::once(column).chain(quantity.base(slice, column)).collect();
        let of_trial = |trial: usize| {
            sides.iter().flat_map(move |side| members.iter().filter_map(move |m| slice.index(*side, trial, *m)))
        };
        let mut runs: Vec<usize> = found.iter().flat_map(|(trial, _)| of_trial(*trial)).collect();
        runs.sort_unstable();
        runs.dedup();
        let mut at = frame::coordinates(&self.params.layout, slice, column);
        at.extend(more.iter().cloned());
        at.push(("metric".to_owned(), quantity.label(|name| self.printed(name))));
        Cell::Figure(Box::new(Figure {
            unit,
            decimals: usize::from(quantity.measure.decimals),
            mean: mean(&values).map(|mean| mean.times(unit.factor())),
            trials: slice.trials.len(),
            classes: members.len(),
            at,
            runs,
            missing: if members.len() == slice.members.len() { lacking(quantity, slice, column) } else { Vec::new() },
            comparison: None,
            paired: None,
        }))
    }

    /// A note on the runs that each column lacks, and one for each set of places where some measures have no value.
    fn missing_notes(&self, slice: &Slice, notes: &mut Vec<Part>) {
        let layout = &self.params.layout;
        for column in 0..slice.columns.len() {
            let so = "incomplete trials are left out of its means";
            notes.extend(frame::missing_runs(layout, slice, column, so));
            let mut groups: Vec<(Vec<String>, Vec<String>)> = Vec::new();
            for quantity in self.in_slice(slice) {
                let (places, label) = (valueless(&quantity, slice, column), quantity.label(|name| self.printed(name)));
                match groups.iter_mut().find(|(known, _)| *known == places) {
                    _ if places.is_empty() => {}
                    Some((_, labels)) => labels.push(label),
                    None => groups.push((places, vec![label])),
                }
            }
            let name = frame::column_name(layout, slice, column);
            notes.extend(groups.into_iter().map(|(places, labels)| {
                let (labels, places) = (labels.join(", "), places.join(", "));
                Part::Note(format!("{name}: no value of {labels} for {places}; left out of its means."))
            }));
        }
    }
}

/// What a cell should be computed from too: runs of its column and of what it compares with, and values.
fn lacking(quantity: &Quantity, slice: &Slice, column: usize) -> Vec<String> {
    let mut words = slice.missing(column);
    if let Some(base) = quantity.base(slice, column).filter(|base| *base != column) {
        let name = &slice.columns[base].value;
        words.extend(slice.missing(base).into_iter().map(|missing| format!("{name}: {missing}")));
    }
    words.extend(valueless(quantity, slice, column).into_iter().map(|place| format!("no value: {place}")));
    words
}

/// Where the runs are there, those of what it compares with too, but no value is.
fn valueless(quantity: &Quantity, slice: &Slice, column: usize) -> Vec<String> {
    let base = quantity.base(slice, column);
    if quantity.reference().is_some() && base.is_none() {
        return vec!["every run".to_owned()];
    }
    let is_there = |trial, member| {
        let sides = std::iter::once(column).chain(base);
        sides.into_iter().all(|side| slice.run(side, trial, member).is_some())
    };
    slice.places(|trial, member| is_there(trial, member) && quantity.value(slice, column, trial, member).is_none())
}
