//! `tables/relearn`: what comes back when a model is trained again on the remaining classes, epoch by epoch, every seed
//! shown; and how often a stated claim about two methods holds.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{Document, Entry, Grid, Part, decimals};
use super::slices::{Axes, OverTrials, Run, Slice, describe, slices};
use super::{
    Labels, averaged, check_axes, check_part, class, count, gather, header, label, method, missing_notes, present, raw,
    seed, symbol, write_outputs,
};
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Stage, StageError};

/// The column that `A_f` is also divided by, where there is one.
const ORIGINAL: &str = "original";
/// Accuracies are quotients of counts, whose difference may miss a margin by rounding alone.
const ROUNDING: f64 = 1e-9;

/// A block for every trial and, from two trials on, one of their means, with `A_f` and `A_r` in percent after some
/// epochs of relearning. Where a column is `original`, `A_f` is also divided by its `A_f` after the same epoch: relearning
/// may cost a model that never forgot some of that class too.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The heading.
    pub title: String,
    /// Epochs of relearning shown; 0 is before it.
    pub epochs: Vec<u32>,
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
    /// A claim counted trial by trial.
    pub claim: Option<Claim>,
}

/// That one method brings back less of the forgotten class than another: `A_f` of `worse` exceeds that of `better` by
/// `margin` or more after `epoch` epochs of relearning.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The column said to bring back less.
    pub better: String,
    /// The column said to bring back more.
    pub worse: String,
    /// Smallest difference that shows it, as a part of one.
    #[serde(default = "margin")]
    pub margin: f64,
    /// After how many epochs of relearning.
    #[serde(default = "epoch")]
    pub epoch: u32,
}

fn margin() -> f64 {
    0.3
}

fn epoch() -> u32 {
    10
}

impl Default for Params {
    fn default() -> Self {
        Self {
            title: "Accuracy after relearning".to_owned(),
            epochs: vec![0, 1, 5, 10],
            columns: method(),
            order: Vec::new(),
            labels: Labels::new(),
            average: class(),
            trials: seed(),
            claim: None,
        }
    }
}

/// `curve.json` of `relearn`, as far as this table reads it.
#[derive(Debug, Deserialize)]
struct Curve {
    epochs: Vec<Point>,
}

/// A model after some epochs; parts of one, `null` where nothing was evaluated.
#[derive(Debug, Deserialize)]
struct Point {
    epoch: u32,
    #[serde(deserialize_with = "present")]
    forget: Option<f64>,
    #[serde(deserialize_with = "present")]
    retain: Option<f64>,
    #[serde(deserialize_with = "present")]
    overall: Option<f64>,
    #[serde(default)]
    loss: Option<f64>,
}

impl Curve {
    fn check(&self) -> Result<(), String> {
        for (place, at) in self.epochs.iter().enumerate() {
            if self.epochs[..place].iter().any(|earlier| earlier.epoch == at.epoch) {
                return Err(format!("epoch {} occurs twice", at.epoch));
            }
            for (name, value) in [("forget", at.forget), ("retain", at.retain), ("overall", at.overall)] {
                check_part(name, value)?;
            }
        }
        Ok(())
    }

    fn after(&self, epoch: u32) -> Option<&Point> {
        self.epochs.iter().find(|at| at.epoch == epoch)
    }

    fn forget(epoch: u32) -> impl Fn(&Self) -> Option<f64> {
        move |curve| curve.after(epoch)?.forget
    }

    fn retain(epoch: u32) -> impl Fn(&Self) -> Option<f64> {
        move |curve| curve.after(epoch)?.retain
    }
}

/// See the file.
pub struct Relearn;

impl Stage for Relearn {
    type Params = Params;
    const NAME: &'static str = "tables/relearn";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "a table of what relearning brings back, for every method and every seed";
    const INPUTS: &'static [Port] = &[Port::gather("curves", "curves of `relearn` for every method, class and seed")];
    const OUTPUTS: &'static [OutputPort] = super::OUTPUTS;

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        let mut problems = check_axes(&params.columns, &params.average, &params.trials);
        if params.epochs.is_empty() {
            problems.push(("epochs", "at least one epoch is needed".to_owned()));
        }
        if let Some(claim) = &params.claim {
            if !(0.0..=1.0).contains(&claim.margin) {
                problems.push(("claim", format!("the margin {} is not between 0 and 1", claim.margin)));
            }
            if claim.better == claim.worse {
                problems.push(("claim", format!("`{}` is compared with itself", claim.better)));
            }
        }
        problems
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let runs = gather(io, "curves", Curve::check)?;
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

fn slice_parts(params: &Params, slice: &Slice<Curve>, parts: &mut Vec<Part>) {
    parts.push(Part::Note(explanation(params, slice)));
    for (trial, name) in slice.trials.iter().enumerate() {
        let caption = if name.is_empty() { String::new() } else { format!("{} {name}", params.trials) };
        let value = |of: &dyn Fn(usize) -> Option<f64>| slice_value(of(trial));
        parts.push(Part::Grid(block(params, slice, caption, value)));
    }
    if slice.trials.len() > 1 {
        let caption = format!("Mean over {}, ± half the 95 % interval", count(slice.trials.len(), &params.trials));
        let mut grid = block(params, slice, caption, |of| slice.over_trials(of));
        grid.rows.push(complete_trials(params, slice));
        parts.push(Part::Grid(grid));
    }
    if let Some(claim) = &params.claim {
        claim_parts(params, claim, slice, parts);
    }
    parts.extend(missing_notes(slice, &params.labels, |column| {
        params
            .epochs
            .iter()
            .flat_map(|&epoch| {
                [
                    (format!("A_f after epoch {epoch}"), slice.without_value(column, Curve::forget(epoch))),
                    (format!("A_r after epoch {epoch}"), slice.without_value(column, Curve::retain(epoch))),
                ]
            })
            .collect()
    }));
}

fn slice_value(value: Option<f64>) -> OverTrials {
    let mean = value.and_then(|value| super::statistics::mean(&[value]));
    OverTrials { mean, complete: usize::from(mean.is_some()) }
}

fn explanation(params: &Params, slice: &Slice<Curve>) -> String {
    let mut text =
        "Accuracy on the test set in percent after epochs of relearning on the remaining classes; epoch 0 is \
                    before it. A_f is of the forgotten class, A_r of the remaining classes."
            .to_owned();
    let mean = averaged(slice, &params.average);
    if !mean.is_empty() {
        _ = write!(text, " Each value is the {mean}.");
    }
    if let Some(original) = slice.column(ORIGINAL) {
        let name = label(&params.labels, &slice.columns[original]);
        _ = write!(text, " A_f/orig is A_f divided by that of {name} after the same epoch, where that is above 0.");
    }
    text
}

/// One grid. `over` turns the values by trial into one: that of a single trial, or the mean.
fn block(
    params: &Params,
    slice: &Slice<Curve>,
    caption: String,
    over: impl Fn(&dyn Fn(usize) -> Option<f64>) -> OverTrials,
) -> Grid {
    let columns = 0..slice.columns.len();
    let mut rows = Vec::new();
    let mut push = |name: Entry, epoch: u32, entries: Vec<Entry>| {
        rows.push([name, Entry::text(epoch.to_string())].into_iter().chain(entries).collect());
    };
    for &epoch in &params.epochs {
        let forget = |column| move |trial| slice.in_trial(column, trial, Curve::forget(epoch));
        let entries = columns.clone().map(|column| Entry::percent(over(&forget(column)).mean)).collect();
        push(symbol("A_f", "$A_f$"), epoch, entries);
    }
    for &epoch in &params.epochs {
        let retain = |column| move |trial| slice.in_trial(column, trial, Curve::retain(epoch));
        let entries = columns.clone().map(|column| Entry::percent(over(&retain(column)).mean)).collect();
        push(symbol("A_r", "$A_r$"), epoch, entries);
    }
    if let Some(original) = slice.column(ORIGINAL) {
        for &epoch in &params.epochs {
            let forget = |column| move |trial| slice.in_trial(column, trial, Curve::forget(epoch));
            let ratio = |column| {
                move |trial| {
                    let of = |column| slice.in_trial(column, trial, Curve::forget(epoch));
                    // Where the original itself knows nothing of the class there is nothing to compare with.
                    of(original).filter(|&base| base > 0.0).and_then(|base| Some(of(column)? / base))
                }
            };
            // A mean over fewer trials than that of A_f itself would be another quantity.
            let entry = |column| {
                let (ratio, forget) = (over(&ratio(column)), over(&forget(column)));
                if ratio.complete == forget.complete { Entry::mean(ratio.mean) } else { Entry::Missing }
            };
            let entries = columns.clone().map(entry).collect();
            push(symbol("A_f/orig", "$A_f / A_f^{\\mathrm{orig}}$"), epoch, entries);
        }
    }
    Grid { caption, header: header(&["%", "epoch"], slice, &params.labels), rows }
}

/// How many trials the means of each column rest on: those with every run.
fn complete_trials(params: &Params, slice: &Slice<Curve>) -> Vec<Entry> {
    let all = slice.trials.len();
    let complete =
        |column: usize, trial: usize| (0..slice.members.len()).all(|member| slice.run(column, trial, member).is_some());
    let counts = (0..slice.columns.len()).map(|column| {
        let n = (0..all).filter(|&trial| complete(column, trial)).count();
        Entry::text(if n == all { all.to_string() } else { format!("{n} of {all}") })
    });
    [symbol("n", "$n$"), Entry::text(format!("{}s", params.trials))].into_iter().chain(counts).collect()
}

fn claim_parts(params: &Params, claim: &Claim, slice: &Slice<Curve>, parts: &mut Vec<Part>) {
    let [worse, better] = [&claim.worse, &claim.better].map(|column| label(&params.labels, column));
    parts.push(Part::Note(format!(
        "Claim: after {} of relearning, A_f of {worse} is above that of {better} by at least {} points.",
        count(claim.epoch as usize, "epoch"),
        decimals(claim.margin * 100.0)
    )));
    let value = |column: &str, trial| slice.in_trial(slice.column(column)?, trial, Curve::forget(claim.epoch));
    let (mut rows, mut shown) = (Vec::new(), 0);
    for (trial, name) in slice.trials.iter().enumerate() {
        let (high, low) = (value(&claim.worse, trial), value(&claim.better, trial));
        let difference = high.zip(low).map(|(high, low)| high - low);
        let verdict = match difference {
            Some(difference) if difference >= claim.margin - ROUNDING => "yes",
            Some(_) => "no",
            None => "not known",
        };
        shown += usize::from(verdict == "yes");
        let in_percent = |value: Option<f64>| Entry::number(value.map(|value| value * 100.0));
        let values = [high, low, difference].map(in_percent);
        rows.push([Entry::text(name)].into_iter().chain(values).chain([Entry::text(verdict)]).collect());
    }
    let trials = slice.trials.len();
    let axis = if slice.trials.iter().all(String::is_empty) { "run" } else { params.trials.as_str() };
    let header = [axis, worse, better, "difference", "shown"].map(Entry::text).to_vec();
    parts.push(Part::Grid(Grid { caption: String::new(), header, rows }));
    parts.push(Part::Note(format!("The claim is shown in {shown} of {}.", count(trials, axis))));
}

fn csv(runs: &[Run<Curve>]) -> Result<Vec<u8>, StageError> {
    let names = ["epoch", "A_f", "A_r", "A_o", "loss"].map(str::to_owned);
    let lines = runs.iter().enumerate().flat_map(|(place, run)| {
        run.value
            .epochs
            .iter()
            .map(move |at| (place, vec![Some(f64::from(at.epoch)), at.forget, at.retain, at.overall, at.loss]))
    });
    raw::csv(runs, &names, lines)
}
