//! Sections of runs -> grids of figures: means over trials, single trials, and every class apart; with the notes that say
//! what is missing and what the paper's figures beside ours are.
//!
//! Knows nothing of text formats and of what a particular stage says around its grids.

use super::comparison::{Comparer, Ours};
use super::document::{Cell, DECIMALS, Figure, Grid, Label, Part, Row, Unit};
use super::frame::{self, row_labels};
use super::layout::Layout;
use super::measured::Measured;
use super::metrics::Metric;
use super::slices::{self, Coordinates, describe};
use super::statistics::mean;
use super::without::Without;

/// The column that `A_f` is also divided by, where there is one.
pub(crate) const ORIGINAL: &str = "original";

pub(super) type Section<'a> = slices::Section<'a, Measured>;
pub(super) type Slice<'a> = slices::Slice<'a, Measured>;

/// What the grids of one table have in common.
pub(super) struct Grids<'a> {
    pub layout: &'a Layout,
    pub metrics: &'a [Metric],
    pub epochs: &'a [u32],
    /// Whether rows name their epoch.
    pub names_epochs: bool,
    pub deviation: bool,
    pub comparer: Option<Comparer<'a>>,
}

/// A place of a grid, but for its trials.
#[derive(Clone, Copy)]
struct Spot<'a, 'r> {
    slice: &'a Slice<'r>,
    column: usize,
    epoch: u32,
    metric: Metric,
}

impl Spot<'_, '_> {
    /// The class mean of a trial, with the runs that it is computed from; none where one is missing or has no value.
    fn in_trial(&self, trial: usize) -> Option<(f64, Vec<usize>)> {
        let slice = self.slice;
        let indices = |column| (0..slice.members.len()).filter_map(move |member| slice.index(column, trial, member));
        let of = |column, metric| slice.in_trial(column, trial, |run: &Measured| run.value(self.epoch, metric));
        if self.metric != Metric::ForgetOverOriginal {
            return Some((of(self.column, self.metric)?, indices(self.column).collect()));
        }
        let original = slice.column(ORIGINAL)?;
        // Where the original itself knows nothing of the class there is nothing to compare with.
        let base = of(original, Metric::Forget).filter(|base| *base > 0.0)?;
        let mut runs: Vec<usize> = indices(self.column).chain(indices(original)).collect();
        runs.sort_unstable();
        runs.dedup();
        Some((of(self.column, Metric::Forget)? / base, runs))
    }

    fn unit(&self) -> Unit {
        if self.metric == Metric::ForgetOverOriginal { Unit::Ratio } else { Unit::Percent }
    }

    /// Runs and values that the column lacks, in words.
    fn missing(&self) -> Vec<String> {
        let metric = if self.metric == Metric::ForgetOverOriginal { Metric::Forget } else { self.metric };
        let mut words = self.slice.missing(self.column);
        words.extend(self.slice.without_value(self.column, |run| run.value(self.epoch, metric)));
        words
    }
}

impl Grids<'_> {
    /// The means over all trials, each slice's rows below the last one's, with the paper's figures where it prints any.
    pub(super) fn means(&self, section: &Section, caption: String, counts: bool) -> Grid {
        self.means_at("means", section, caption, counts, &[])
    }

    /// The means again over what is left without some values; the paper has no such figures.
    pub(super) fn without(&self, without: &Without, section: &Section) -> Vec<Part> {
        without
            .parts(self.layout, section, |left, caption, at| self.means_at("means_without", left, caption, true, &[at]))
    }

    fn means_at(
        &self,
        name: &'static str,
        section: &Section,
        caption: String,
        counts: bool,
        more: &[(String, String)],
    ) -> Grid {
        self.grid(name, section, caption, |slice, grid| {
            self.rows(slice, grid, |spot| {
                let trials: Vec<usize> = (0..spot.slice.trials.len()).collect();
                self.figure(spot, &trials, more.to_vec())
            });
            if counts {
                let after = self.names_epochs.then(|| Cell::text(format!("{}s", self.layout.trials)));
                grid.push(frame::complete_trials(self.layout, slice, after));
            }
        })
    }

    /// One trial; slices without it are left out.
    pub(super) fn trial(&self, section: &Section, name: &str, caption: String) -> Grid {
        self.grid("trial", section, caption, |slice, grid| {
            let Some(trial) = slice.trials.iter().position(|trial| trial == name) else { return };
            let more = vec![(self.layout.trials.clone(), name.to_owned())];
            self.rows(slice, grid, |spot| self.figure(spot, &[trial], more.clone()));
        })
    }

    /// Each class, or whatever else is averaged over, apart: an average can hide that one class came back.
    pub(super) fn members(&self, section: &Section) -> Grid {
        let apart = self.layout.average.join(" and ");
        let caption = format!("A_f by {apart}, mean over the {}s there are", self.layout.trials);
        let mut grid = self.grid("members", section, caption, |slice, rows| {
            for place in 0..slice.members.len() {
                for &epoch in self.epochs {
                    let cell = |column| self.member(slice, column, place, epoch);
                    let mut labels = row_labels(self.layout, slice);
                    labels.push(Cell::text(describe(&slice.members[place])));
                    if self.names_epochs {
                        labels.push(Cell::text(epoch.to_string()));
                    }
                    let cells = (0..slice.columns.len()).map(cell).collect();
                    rows.push(Row { labels, cells, begins: false });
                }
            }
        });
        "A_f, %".clone_into(&mut grid.labels[section.slices[0].rows.len()].text);
        grid
    }

    fn member(&self, slice: &Slice, column: usize, member: usize, epoch: u32) -> Cell {
        let trials = 0..slice.trials.len();
        let value = |trial: &usize| slice.run(column, *trial, member)?.value(epoch, Metric::Forget);
        let found: Vec<(usize, f64)> = trials.filter_map(|trial| Some((trial, value(&trial)?))).collect();
        let spot = Spot { slice, column, epoch, metric: Metric::Forget };
        let values: Vec<f64> = found.iter().map(|(_, value)| *value).collect();
        Cell::Figure(Box::new(Figure {
            unit: Unit::Percent,
            decimals: DECIMALS,
            mean: mean(&values).map(|mean| mean.times(Unit::Percent.factor())),
            trials: slice.trials.len(),
            classes: 1,
            at: self.coordinates(spot, &slice.members[member]),
            runs: found.iter().filter_map(|(trial, _)| slice.index(column, *trial, member)).collect(),
            missing: Vec::new(),
            comparison: None,
            paired: None,
        }))
    }

    fn grid(
        &self,
        name: &'static str,
        section: &Section,
        caption: String,
        mut fill: impl FnMut(&Slice, &mut Vec<Row>),
    ) -> Grid {
        let rows_of = &section.slices[0].rows;
        let mut labels: Vec<Label> = rows_of.iter().map(|(axis, _)| Label::left(axis)).collect();
        labels.push(Label::left("%"));
        if self.names_epochs {
            labels.push(Label::right("epoch"));
        }
        let columns = frame::heads(self.layout, &section.slices[0]);
        let rows = frame::rows(section, |slice, rows| fill(slice, rows));
        Grid { name, caption, labels, columns, rows, deviation: self.deviation }
    }

    /// A row for every metric and epoch.
    fn rows(&self, slice: &Slice, rows: &mut Vec<Row>, cell: impl Fn(Spot) -> Cell) {
        for &metric in self.metrics {
            if metric == Metric::ForgetOverOriginal && slice.column(ORIGINAL).is_none() {
                continue;
            }
            for &epoch in self.epochs {
                let mut labels = row_labels(self.layout, slice);
                labels.push(Cell::Metric(metric));
                if self.names_epochs {
                    labels.push(Cell::text(epoch.to_string()));
                }
                let cells =
                    (0..slice.columns.len()).map(|column| cell(Spot { slice, column, epoch, metric })).collect();
                rows.push(Row { labels, cells, begins: false });
            }
        }
    }

    /// The mean over those of `trials` that are complete.
    fn figure(&self, spot: Spot, trials: &[usize], more: Coordinates) -> Cell {
        let found: Vec<(usize, (f64, Vec<usize>))> =
            trials.iter().filter_map(|trial| Some((*trial, spot.in_trial(*trial)?))).collect();
        if spot.metric == Metric::ForgetOverOriginal {
            // A mean over fewer trials than that of A_f itself would be another quantity.
            let forget = Spot { metric: Metric::Forget, ..spot };
            if trials.iter().filter(|trial| forget.in_trial(**trial).is_some()).count() != found.len() {
                return Cell::Missing;
            }
        }
        let values: Vec<f64> = found.iter().map(|(_, (value, _))| *value).collect();
        let unit = spot.unit();
        let mean = mean(&values).map(|mean| mean.times(unit.factor()));
        let mut at = self.coordinates(spot, &[]);
        let comparison = if more.is_empty() {
            let slice = spot.slice;
            let members = |trial: usize| (0..slice.members.len()).filter_map(move |m| slice.run(spot.column, trial, m));
            self.comparer.as_ref().and_then(|comparer| {
                comparer.compare(&Ours {
                    setting: slice.common(comparer.axis()),
                    column: &slice.columns[spot.column],
                    epoch: spot.epoch,
                    metric: spot.metric,
                    mean,
                    runs: found.iter().flat_map(|(trial, _)| members(*trial)).collect(),
                })
            })
        } else {
            None
        };
        at.extend(more);
        let mut runs: Vec<usize> = found.into_iter().flat_map(|(_, (_, runs))| runs).collect();
        runs.sort_unstable();
        Cell::Figure(Box::new(Figure {
            unit,
            decimals: DECIMALS,
            mean,
            trials: trials.len(),
            classes: spot.slice.members.len(),
            at,
            runs,
            missing: spot.missing(),
            comparison,
            paired: None,
        }))
    }

    fn coordinates(&self, spot: Spot, more: &[(String, String)]) -> Coordinates {
        let mut at = frame::coordinates(self.layout, spot.slice, spot.column);
        at.extend(more.iter().cloned());
        at.push(("metric".to_owned(), spot.metric.name().to_owned()));
        at.push(("epoch".to_owned(), spot.epoch.to_string()));
        at
    }

    /// A note for each column that lacks runs or values.
    pub(super) fn missing_notes(&self, section: &Section) -> Vec<Part> {
        let mut notes = Vec::new();
        for slice in &section.slices {
            for place in 0..slice.columns.len() {
                let so = "incomplete trials are left out of its means";
                notes.extend(frame::missing_runs(self.layout, slice, place, so));
                notes.extend(self.without_values(slice, place));
            }
        }
        notes
    }

    fn without_values(&self, slice: &Slice, column: usize) -> Vec<Part> {
        let name = frame::column_name(self.layout, slice, column);
        let mut notes = Vec::new();
        for &epoch in self.epochs {
            for &metric in self.metrics.iter().filter(|metric| **metric != Metric::ForgetOverOriginal) {
                let places = slice.without_value(column, |run| run.value(epoch, metric));
                if places.is_empty() {
                    continue;
                }
                let after = if self.names_epochs { format!(" after epoch {epoch}") } else { String::new() };
                let (what, places) = (metric.name(), places.join(", "));
                notes.push(Part::Note(format!(
                    "{name}: {what}{after} has no value for {places}; left out of its means."
                )));
            }
        }
        notes
    }

    /// What must be known beside the paper's figures, where a grid shows any.
    pub(super) fn published_notes(&self, section: &Section, grid: &Grid) -> Vec<Part> {
        let shows = grid.figures().any(|figure| figure.comparison.is_some());
        let Some(comparer) = self.comparer.as_ref().filter(|_| shows) else { return Vec::new() };
        let of = |slice: &Slice| comparer.setting(slice.common(comparer.axis())).map(str::to_owned);
        let settings: Vec<String> = section.slices.iter().filter_map(of).collect();
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let title = comparer.title();
        let mut notes = vec![format!(
            "Published: the paper's figures ({title}), in percent. The difference is ours less the paper's, in percent \
             points. Within or outside: up to, or beyond, t(n-1, 0.975) s sqrt(1/n + 1/5) + 0.05, with s the deviation of \
             our n trials; the paper states no spread, and its 5 trials are taken to vary as ours. n.c.: not comparable, \
             for a lack of full width, full official data, every class or three trials."
        )];
        notes.extend(comparer.caveats(&settings).into_iter().map(|text| format!("Of the paper: {text}")));
        notes.into_iter().map(Part::Note).collect()
    }
}
