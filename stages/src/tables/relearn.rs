//! `tables/relearn`: what comes back when a model is trained again on the remaining classes, epoch by epoch; and how often
//! a stated claim about two methods holds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::claim::Claim;
use super::comparison::{Against, Comparer};
use super::document::Part;
use super::frame::{self, count};
use super::grids::{Grids, ORIGINAL, Section};
use super::layout::Layout;
use super::measured::gather;
use super::metrics::{self, Metric};
use super::slices::{describe, sections};
use super::without::Without;
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Stage, StageError};

/// A table with `A_f` and `A_r` in percent after some epochs of relearning: a grid for every trial, if asked for, and one
/// of their means. Where a column is `original`, `A_f` is also divided by its `A_f` after the same epoch: relearning may
/// cost a model that never forgot some of that class too.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The heading.
    pub title: String,
    /// Epochs of relearning shown; 0 is before it.
    pub epochs: Vec<u32>,
    /// Which axis of the matrix plays which part.
    pub layout: Layout,
    /// What is shown, in this order.
    pub metrics: Vec<Metric>,
    /// Show every trial apart before their means.
    pub each_trial: bool,
    /// Show the standard deviation over trials below each mean.
    pub deviation: bool,
    /// Show `A_f` of each class apart too.
    pub per_class: bool,
    /// A claim counted trial by trial.
    pub claim: Option<Claim>,
    /// The paper's figures to show beside ours.
    pub published: Option<Against>,
    /// Give the means without these values too, as of the class that settings were tuned on: `{class: 0}`.
    pub without: Without,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            title: "Accuracy after relearning".to_owned(),
            epochs: vec![0, 1, 5, 10],
            layout: Layout::default(),
            metrics: vec![Metric::Forget, Metric::Retain, Metric::ForgetOverOriginal],
            each_trial: true,
            deviation: false,
            per_class: false,
            claim: None,
            published: None,
            without: Without::default(),
        }
    }
}

/// What is wrong with a list of epochs.
pub(super) fn check_epochs(epochs: &[u32], problems: &mut Vec<(&'static str, String)>) {
    if epochs.is_empty() {
        problems.push(("epochs", "at least one epoch is needed".to_owned()));
    }
    if let Some((_, twice)) = epochs.iter().enumerate().find(|(place, one)| epochs[..*place].contains(one)) {
        problems.push(("epochs", format!("{twice} is named twice")));
    }
}

/// See the file.
pub struct Relearn;

impl Stage for Relearn {
    type Params = Params;
    const NAME: &'static str = "tables/relearn";
    const VERSION: u32 = 3;
    const SUMMARY: &'static str = "a table of what relearning brings back, for every method and every seed";
    const INPUTS: &'static [Port] = &[Port::gather("curves", "curves of `relearn` for every method, class and seed")];
    const OUTPUTS: &'static [OutputPort] = super::OUTPUTS;

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        params.layout.check(&mut problems);
        params.without.check(&params.layout, &mut problems);
        check_epochs(&params.epochs, &mut problems);
        metrics::check(&params.metrics, &mut problems);
        if let Some(claim) = &params.claim {
            claim.check(&params.layout, &mut problems);
        }
        if let Some(against) = &params.published {
            against.check(&mut problems);
        }
        problems
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let runs = gather(io, "curves")?;
        let grids = Grids {
            layout: &params.layout,
            metrics: &params.metrics,
            epochs: &params.epochs,
            names_epochs: true,
            deviation: params.deviation,
            comparer: Comparer::new(params.published.as_ref()),
        };
        let mut parts = Vec::new();
        for section in sections(&params.layout.axes(), &runs)? {
            if !section.fixed.is_empty() {
                parts.push(Part::Heading(describe(&section.fixed)));
            }
            section_parts(&params, &grids, &section, &mut parts);
        }
        super::write(io, &params.title, parts, runs)
    }
}

fn section_parts(params: &Params, grids: &Grids, section: &Section, parts: &mut Vec<Part>) {
    parts.push(Part::Note(explanation(params, section)));
    let axis = &params.layout.trials;
    let trials = trials(section);
    let one = |name: &str| if name.is_empty() { String::new() } else { format!("{axis} {name}") };
    if params.each_trial && trials.len() > 1 {
        parts.extend(trials.iter().map(|name| Part::Grid(grids.trial(section, name, one(name)))));
    }
    let mean = |of: &str| format!("Mean over {of}, ± half the 95 % interval");
    let caption = match trials.as_slice() {
        [only] => one(only),
        many if section.slices.iter().all(|slice| slice.trials.len() == many.len()) => mean(&count(many.len(), axis)),
        _ => mean(&format!("the {axis}s")),
    };
    let means = grids.means(section, caption, trials.len() > 1);
    let published = grids.published_notes(section, &means);
    parts.push(Part::Grid(means));
    parts.extend(grids.without(&params.without, section));
    if params.per_class {
        parts.push(Part::Grid(grids.members(section)));
    }
    if let Some(claim) = &params.claim {
        parts.extend(section.slices.iter().flat_map(|slice| claim.parts(&params.layout, slice)));
    }
    parts.extend(grids.missing_notes(section));
    parts.extend(published);
}

/// The trials of all slices, each once.
fn trials(section: &Section) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in section.slices.iter().flat_map(|slice| &slice.trials) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn explanation(params: &Params, section: &Section) -> String {
    let mut text =
        "Accuracy on the test set in percent after epochs of relearning on the remaining classes; epoch 0 is \
                    before it."
            .to_owned();
    let of = params.metrics.iter().filter_map(|metric| Some((metric.name(), metric.of()?)));
    let of: Vec<String> = of.map(|(name, of)| format!("{name} {of}")).collect();
    if let [first, rest @ ..] = of.as_slice() {
        text.push_str(&format!(" {}", first.replacen(' ', " is ", 1)));
        text.extend(rest.iter().map(|one| format!(", {one}")));
        text.push('.');
    }
    let mean = frame::averaged(&params.layout, section);
    if !mean.is_empty() {
        text.push_str(&format!(" Each value is the {mean}."));
    }
    if params.deviation {
        text.push_str(" s is the standard deviation over trials.");
    }
    let shows_ratio = params.metrics.contains(&Metric::ForgetOverOriginal);
    if shows_ratio && section.slices.iter().any(|slice| slice.column(ORIGINAL).is_some()) {
        let name = params.layout.label(ORIGINAL);
        text.push_str(&format!(
            " A_f/orig is A_f divided by that of {name} after the same epoch, where that is above 0."
        ));
    }
    text
}
