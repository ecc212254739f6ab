//! `tables/accuracy`: accuracy on the forgotten class, the remaining classes and all of them, one column a method.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{Document, Entry, Grid, Part};
use super::slices::{Axes, Run, Slice, describe, slices};
use super::{
    Labels, averaged, check_axes, check_part, class, count, gather, header, method, missing_notes, present, raw, seed,
    symbol, write_outputs,
};
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Stage, StageError};

/// A table of `A_f`, `A_r` and `A_o` in percent. Classes are averaged unweighted within a trial, then trials; with two
/// trials or more, ± is half the width of Student's t 95 % interval over the trials. A trial that lacks a run is left
/// out of its column's mean, which says so.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The heading.
    pub title: String,
    /// The matrix axis with one column for each value.
    pub columns: String,
    /// Columns that come first, in this order; the others follow in order of appearance.
    pub order: Vec<String>,
    /// Printed names, by value on the axis of the columns.
    pub labels: Labels,
    /// Axes averaged over within a trial.
    pub average: Vec<String>,
    /// The axis of the trials.
    pub trials: String,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            title: "Accuracy after unlearning".to_owned(),
            columns: method(),
            order: Vec::new(),
            labels: Labels::new(),
            average: class(),
            trials: seed(),
        }
    }
}

/// `metrics.json` of `evaluate`, as far as this table reads it; parts of one, `null` where nothing was evaluated.
#[derive(Debug, Deserialize)]
struct Metrics {
    #[serde(deserialize_with = "present")]
    forget: Option<f64>,
    #[serde(deserialize_with = "present")]
    retain: Option<f64>,
    #[serde(deserialize_with = "present")]
    overall: Option<f64>,
    #[serde(default)]
    per_class: Vec<Option<f64>>,
}

impl Metrics {
    fn check(&self) -> Result<(), String> {
        for (name, value) in [("forget", self.forget), ("retain", self.retain), ("overall", self.overall)] {
            check_part(name, value)?;
        }
        self.per_class.iter().try_for_each(|value| check_part("per_class", *value))
    }
}

/// A metric: its symbol for text and LaTeX, and how to read it.
type Metric = (&'static str, &'static str, fn(&Metrics) -> Option<f64>);

const METRICS: [Metric; 3] =
    [("A_f", "$A_f$", |m| m.forget), ("A_r", "$A_r$", |m| m.retain), ("A_o", "$A_o$", |m| m.overall)];

/// See the file.
pub struct Accuracy;

impl Stage for Accuracy {
    type Params = Params;
    const NAME: &'static str = "tables/accuracy";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "a table of accuracies with a column for every method";
    const INPUTS: &'static [Port] =
        &[Port::gather("results", "metrics of `evaluate` for every method, class and seed")];
    const OUTPUTS: &'static [OutputPort] = super::OUTPUTS;

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        check_axes(&params.columns, &params.average, &params.trials)
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let runs = gather(io, "results", Metrics::check)?;
        let axes =
            Axes { columns: &params.columns, average: &params.average, trials: &params.trials, order: &params.order };
        let mut parts = Vec::new();
        for slice in slices(&axes, &runs)? {
            if !slice.fixed.is_empty() {
                parts.push(Part::Heading(describe(&slice.fixed)));
            }
            slice_parts(&params, &slice, &mut parts);
        }
        let document = Document { title: params.title.clone(), parts };
        write_outputs(io, &document, &csv(&runs)?)
    }
}

fn slice_parts(params: &Params, slice: &Slice<Metrics>, parts: &mut Vec<Part>) {
    parts.push(Part::Note(explanation(params, slice)));
    let mut rows: Vec<Vec<Entry>> = Vec::new();
    for (plain, latex, metric) in METRICS {
        let values = (0..slice.columns.len())
            .map(|column| Entry::percent(slice.over_trials(|trial| slice.in_trial(column, trial, metric)).mean));
        rows.push(std::iter::once(symbol(plain, latex)).chain(values).collect());
    }
    rows.push(trial_counts(slice));
    parts.push(Part::Grid(Grid { caption: String::new(), header: header(&["%"], slice, &params.labels), rows }));
    if slice.members.len() > 1 {
        parts.push(Part::Grid(by_member(params, slice)));
    }
    parts.extend(missing_notes(slice, &params.labels, |column| {
        METRICS.iter().map(|(name, _, metric)| ((*name).to_owned(), slice.without_value(column, metric))).collect()
    }));
}

/// How many trials each column's means rest on.
fn trial_counts(slice: &Slice<Metrics>) -> Vec<Entry> {
    let all = slice.trials.len();
    let counts = (0..slice.columns.len()).map(|column| {
        let complete = (0..all)
            .filter(|&trial| (0..slice.members.len()).all(|member| slice.run(column, trial, member).is_some()))
            .count();
        Entry::text(if complete == all { all.to_string() } else { format!("{complete} of {all}") })
    });
    std::iter::once(symbol("n", "$n$")).chain(counts).collect()
}

fn explanation(params: &Params, slice: &Slice<Metrics>) -> String {
    let mut text = "Accuracy on the test set in percent: A_f of the forgotten class, A_r of the remaining classes, \
                    A_o of all."
        .to_owned();
    let mean = averaged(slice, &params.average);
    let trials = &slice.trials;
    let over_trials = if trials.len() > 1 {
        format!(
            "then over {} ({}); ± is half the width of Student's t 95 % interval over the n {}s",
            params.trials,
            trials.join(", "),
            params.trials
        )
    } else if trials.first().is_some_and(|trial| !trial.is_empty()) {
        format!("{} {}, {}: no interval", params.trials, trials[0], count(1, "trial"))
    } else {
        String::new()
    };
    let sentence: Vec<String> = [mean, over_trials].into_iter().filter(|part| !part.is_empty()).collect();
    if !sentence.is_empty() {
        let mut sentence = sentence.join(", ");
        sentence[..1].make_ascii_uppercase();
        text.push(' ');
        text.push_str(&sentence);
        text.push('.');
    }
    text
}

/// `A_f` of each class, or whatever else is averaged over: an average can hide that one class came back.
fn by_member(params: &Params, slice: &Slice<Metrics>) -> Grid {
    let rows = slice.members.iter().enumerate().map(|(place, member)| {
        let values = (0..slice.columns.len()).map(|column| {
            let value = |trial| slice.run(column, trial, place).and_then(|metrics| metrics.forget);
            Entry::percent(slice.over_trials(value).mean)
        });
        std::iter::once(Entry::text(describe(member))).chain(values).collect()
    });
    Grid {
        caption: format!("A_f by {}, mean over the {}s there are", params.average.join(" and "), params.trials),
        header: header(&["A_f, %"], slice, &params.labels),
        rows: rows.collect(),
    }
}

fn csv(runs: &[Run<Metrics>]) -> Result<Vec<u8>, StageError> {
    let classes = runs.iter().map(|run| run.value.per_class.len()).max().unwrap_or(0);
    let names: Vec<String> = METRICS
        .iter()
        .map(|(name, _, _)| (*name).to_owned())
        .chain((0..classes).map(|class| format!("accuracy_class_{class}")))
        .collect();
    let lines = runs.iter().enumerate().map(|(place, run)| {
        let per_class = (0..classes).map(|class| run.value.per_class.get(class).copied().flatten());
        (place, METRICS.iter().map(|(_, _, metric)| metric(&run.value)).chain(per_class).collect())
    });
    raw::csv(runs, &names, lines)
}
