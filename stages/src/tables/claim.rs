//! How often a stated claim about two methods holds, trial by trial.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{Cell, Grid, Head, Label, Part, Row};
use super::frame::count;
use super::grids::Slice;
use super::layout::Layout;
use super::metrics::Metric;
use super::text::decimals;

/// Accuracies are quotients of counts, whose difference may miss a margin by rounding alone.
const ROUNDING: f64 = 1e-9;

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

impl Claim {
    pub(super) fn check(&self, layout: &Layout, problems: &mut Vec<(&'static str, String)>) {
        if !(0.0..=1.0).contains(&self.margin) {
            problems.push(("claim", format!("the margin {} is not between 0 and 1", self.margin)));
        }
        if self.better == self.worse {
            problems.push(("claim", format!("`{}` is compared with itself", self.better)));
        }
        if layout.within.is_some() {
            problems.push(("claim", "is about whole columns, and `layout.within` divides them".to_owned()));
        }
    }

    /// The claim, a row for every trial of a slice, and the count.
    pub(super) fn parts(&self, layout: &Layout, slice: &Slice) -> Vec<Part> {
        let [worse, better] = [&self.worse, &self.better].map(|column| layout.label(column));
        let epochs = count(self.epoch as usize, "epoch");
        let of = layout.row_name(&slice.rows);
        let stated = format!(
            "Claim{}: after {epochs} of relearning, A_f of {worse} is above that of {better} by at least {} points.",
            if of.is_empty() { String::new() } else { format!(" ({of})") },
            decimals(self.margin * 100.0)
        );
        let value = |column: &str, trial| {
            slice.in_trial(slice.column(column)?, trial, |run| run.value(self.epoch, Metric::Forget))
        };
        let (mut rows, mut shown) = (Vec::new(), 0);
        for (trial, name) in slice.trials.iter().enumerate() {
            let (high, low) = (value(&self.worse, trial), value(&self.better, trial));
            let difference = high.zip(low).map(|(high, low)| high - low);
            let verdict = match difference {
                Some(difference) if difference >= self.margin - ROUNDING => "yes",
                Some(_) => "no",
                None => "not known",
            };
            shown += usize::from(verdict == "yes");
            let in_percent = |value: Option<f64>| Cell::number(value.map(|value| value * 100.0));
            let cells = [high, low, difference].map(in_percent).into_iter().chain([Cell::text(verdict)]).collect();
            rows.push(Row { labels: vec![Cell::text(name)], cells, begins: false });
        }
        let axis = if slice.trials.iter().all(String::is_empty) { "run" } else { layout.trials.as_str() };
        let columns = [worse, better, "difference", "shown"].map(Head::plain).into();
        let grid = Grid {
            name: "claim",
            caption: String::new(),
            labels: vec![Label::left(axis)],
            columns,
            rows,
            deviation: false,
        };
        let counted = format!("The claim is shown in {shown} of {}.", count(slice.trials.len(), axis));
        vec![Part::Note(stated), Part::Grid(grid), Part::Note(counted)]
    }
}
