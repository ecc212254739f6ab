//! `tables/accuracy`: accuracy on the forgotten class, the remaining classes and all of them, one column a method.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::capital;
use super::comparison::{Against, Comparer};
use super::document::Part;
use super::frame;
use super::grids::{Grids, Section};
use super::layout::Layout;
use super::measured::gather;
use super::metrics::{self, Metric};
use super::slices::{describe, sections};
use super::without::Without;
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Stage, StageError};

/// A table of accuracies in percent. Classes are averaged unweighted within a trial, then trials; with two trials or more,
/// ± is half the width of Student's t 95 % interval over the trials. A trial that lacks a run is left out of its column's
/// mean, which says so.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The heading.
    pub title: String,
    /// Which axis of the matrix plays which part.
    pub layout: Layout,
    /// What is shown, in this order.
    pub metrics: Vec<Metric>,
    /// Show the standard deviation over trials below each mean.
    pub deviation: bool,
    /// Show `A_f` of each class apart too.
    pub per_class: bool,
    /// The paper's figures to show beside ours.
    pub published: Option<Against>,
    /// Give the means without these values too, as of the class that settings were tuned on: `{class: 0}`.
    pub without: Without,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            title: "Accuracy after unlearning".to_owned(),
            layout: Layout::default(),
            metrics: vec![Metric::Forget, Metric::Retain, Metric::Overall],
            deviation: false,
            per_class: true,
            published: None,
            without: Without::default(),
        }
    }
}

/// See the file.
pub struct Accuracy;

impl Stage for Accuracy {
    type Params = Params;
    const NAME: &'static str = "tables/accuracy";
    const VERSION: u32 = 3;
    const SUMMARY: &'static str = "a table of accuracies with a column for every method";
    const INPUTS: &'static [Port] =
        &[Port::gather("results", "metrics of `evaluate` for every method, class and seed")];
    const OUTPUTS: &'static [OutputPort] = super::OUTPUTS;

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        params.layout.check(&mut problems);
        params.without.check(&params.layout, &mut problems);
        metrics::check(&params.metrics, &mut problems);
        if let Some(against) = &params.published {
            against.check(&mut problems);
        }
        problems
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let runs = gather(io, "results")?;
        let grids = Grids {
            layout: &params.layout,
            metrics: &params.metrics,
            epochs: &[0],
            names_epochs: false,
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
    let means = grids.means(section, String::new(), true);
    let published = grids.published_notes(section, &means);
    parts.push(Part::Grid(means));
    parts.extend(grids.without(&params.without, section));
    if params.per_class && section.slices.iter().any(|slice| slice.members.len() > 1) {
        parts.push(Part::Grid(grids.members(section)));
    }
    parts.extend(grids.missing_notes(section));
    parts.extend(published);
}

fn explanation(params: &Params, section: &Section) -> String {
    let mut text = format!("Accuracy on the test set in percent: {}.", metrics::described(&params.metrics));
    let averaged = frame::averaged_and_trials(&params.layout, section);
    if !averaged.is_empty() {
        text.push_str(&format!(" {}.", capital(averaged)));
    }
    if params.deviation {
        text.push_str(" s is the standard deviation over trials.");
    }
    text
}
