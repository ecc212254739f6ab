//! `figures/relearning`: what comes back epoch by epoch when a network is trained again on the remaining classes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::blocks::{Block, averaged, blocks};
use super::data::{self, Record};
use super::panel::{self, Look, Panel, TITLE_HEIGHT};
use super::scale::Axis;
use super::sheet::{self, Drawing, Sheet, Swatch};
use super::style::{Series, groups};
use super::svg::{GREY, Span, Stroke, Text, plain};
use super::{DATA, PNG, SVG, TOOLS, usual_references};
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Stage, StageError, Tool};
use crate::tables::grids::ORIGINAL;
use crate::tables::measured::{Measured, gather};
use crate::tables::slices::sections;
use crate::tables::statistics::Mean;
use crate::tables::{Layout, Metric};

/// `A_f`, `A_r`, and where a column is `original` `A_f` divided by its `A_f`, after every epoch of relearning that was
/// measured: a line for each method, with a band for Student's t 95 % interval over the trials.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The heading.
    pub title: String,
    /// Which axis of the matrix plays which part.
    pub layout: Layout,
    /// Methods that the others are compared with, drawn in black in every panel.
    pub references: Vec<String>,
}

impl Default for Params {
    fn default() -> Self {
        let title = "Accuracy while relearning the remaining classes".to_owned();
        Self { title, layout: Layout::default(), references: usual_references() }
    }
}

/// See the file.
pub struct Relearning;

impl Stage for Relearning {
    type Params = Params;
    const NAME: &'static str = "figures/relearning";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "a figure of what relearning brings back, epoch by epoch";
    const TOOLCHAIN: &'static [Tool] = TOOLS;
    const INPUTS: &'static [Port] = &[Port::gather("curves", "curves of `relearn` for every method, class and seed")];
    const OUTPUTS: &'static [OutputPort] = &[SVG, PNG, DATA];

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        params.layout.check(&mut problems);
        problems
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let runs = gather(io, "curves")?;
        let sections = sections(&params.layout.axes(), &runs)?;
        let blocks = blocks(&params.layout, &sections);
        draw(&params, &blocks).write(io)?;
        io.write("data", &drawn_csv(&params, &blocks)?)
    }
}

/// Every epoch that a run of the block was evaluated after, in order.
pub(super) fn epochs(block: &Block<Measured>) -> Vec<u32> {
    let slice = block.slice;
    let mut epochs: Vec<u32> = Vec::new();
    for column in 0..slice.columns.len() {
        for trial in 0..slice.trials.len() {
            let runs = (0..slice.members.len()).filter_map(|member| slice.run(column, trial, member));
            epochs.extend(runs.flat_map(|run| run.points.iter().map(|point| point.epoch)));
        }
    }
    epochs.sort_unstable();
    epochs.dedup();
    epochs
}

/// The mean over trials of a metric after an epoch: in parts of one.
fn mean(block: &Block<Measured>, column: usize, epoch: u32, metric: Metric) -> Option<Mean> {
    let of = |column, metric, trial| block.slice.in_trial(column, trial, |run: &Measured| run.value(epoch, metric));
    if metric != Metric::ForgetOverOriginal {
        return block.over_trials(|trial| of(column, metric, trial));
    }
    let original = block.slice.column(ORIGINAL)?;
    let ratio = |trial| {
        // Where the original itself knows nothing of the class there is nothing to compare with.
        let base = of(original, Metric::Forget, trial).filter(|base| *base > 0.0)?;
        Some(of(column, Metric::Forget, trial)? / base)
    };
    let ratio = block.over_trials(ratio)?;
    // A mean over fewer trials than that of A_f itself would be another quantity.
    (ratio.n == block.over_trials(|trial| of(column, Metric::Forget, trial))?.n).then_some(ratio)
}

/// The panels of a block.
fn metrics(block: &Block<Measured>) -> Vec<Metric> {
    let mut metrics = vec![Metric::Forget, Metric::Retain];
    metrics.extend(block.slice.column(ORIGINAL).map(|_| Metric::ForgetOverOriginal));
    metrics
}

/// What a value is multiplied by to be drawn.
const fn unit(metric: Metric) -> f64 {
    match metric {
        Metric::ForgetOverOriginal => 1.0,
        _ => 100.0,
    }
}

fn title(metric: Metric, original: &str) -> Text {
    let then = |text: &str| Span::Plain(text.to_owned());
    match metric {
        Metric::Forget => vec![Span::Symbol("A", "f"), then(", forgotten class")],
        Metric::Retain => vec![Span::Symbol("A", "r"), then(", remaining classes")],
        Metric::Overall => vec![Span::Symbol("A", "o"), then(", all classes")],
        Metric::ForgetOverOriginal => vec![Span::Symbol("A", "f"), then(&format!(" / that of {original}"))],
    }
}

fn draw(params: &Params, blocks: &[Block<Measured>]) -> Drawing {
    let mut sheet = Sheet::new(&params.title, &caption(params, blocks));
    let mut notes = Vec::new();
    for block in blocks {
        sheet.heading(&block.heading);
        draw_block(&mut sheet, params, block);
        notes.extend(block.missing(&params.layout, "incomplete trials are left out of its means"));
    }
    sheet.notes(&notes);
    sheet.finish()
}

fn caption(params: &Params, blocks: &[Block<Measured>]) -> Text {
    let mut text = "Test accuracy after epochs of relearning; epoch 0 is right after unlearning. ".to_owned();
    text.push_str(&averaged(&params.layout, blocks));
    if blocks.iter().any(|block| block.slice.trials.len() > 1) {
        text.push_str(&format!(" Bands are Student\u{2019}s t 95 % intervals over the {}s.", params.layout.trials));
    }
    plain(text)
}

/// Of a panel where there is one row of them, and where there are more.
const HEIGHTS: (f64, f64) = (112.0, 84.0);
const GAP: f64 = 8.0;

fn draw_block(sheet: &mut Sheet, params: &Params, block: &Block<Measured>) {
    let columns: Vec<String> = block.slice.columns.iter().map(|column| column.value.clone()).collect();
    let names = block.names(&params.layout);
    let (epochs, metrics) = (epochs(block), metrics(block));
    let value =
        |column: usize, epoch: u32, metric| mean(block, column, epoch, metric).map(|mean| mean.times(unit(metric)));
    let last = f64::from(epochs.last().copied().unwrap_or(0));
    let x = Axis::linear(plain("epochs of relearning"), (0.0, last), 5);
    let y = |metric| {
        let values = (0..columns.len())
            .flat_map(|column| epochs.iter().filter_map(move |&e| Some(value(column, e, metric)?.value)));
        match metric {
            Metric::Retain => Axis::around(plain("%"), values, (0.0, 100.0), 4),
            Metric::ForgetOverOriginal => Axis::linear(plain("ratio"), (0.0, values.fold(1.0, f64::max)), 5),
            _ => Axis::linear(plain("%"), (0.0, 100.0), 5),
        }
    };
    let axes: Vec<Axis> = metrics.iter().map(|&metric| y(metric)).collect();
    let lefts: Vec<f64> = axes.iter().map(panel::room_left).collect();
    let groups = groups(&columns, &params.references);
    let height = if groups.len() == 1 { HEIGHTS.0 } else { HEIGHTS.1 };
    for (place, group) in groups.iter().enumerate() {
        let names_x = place + 1 == groups.len();
        let below = if names_x { panel::room_below(&x, false) } else { 3.0 };
        let entry = |series: &Series| (Swatch::Line(series.style), names[series.column].clone());
        sheet.legend(&group.iter().map(entry).collect::<Vec<_>>());
        let (canvas, top) = sheet.row(TITLE_HEIGHT, height, below + 6.0);
        for ((plot, axis), &metric) in sheet::beside(&lefts, top, height, GAP).into_iter().zip(&axes).zip(&metrics) {
            let look =
                Look { title: title(metric, params.layout.label(ORIGINAL)), names_x, names_y: true, ..Look::default() };
            let mut panel = Panel::new(canvas, plot, &x, axis, &look);
            if metric == Metric::ForgetOverOriginal {
                panel.level(1.0, Stroke::new(GREY, 0.7));
            }
            for series in group {
                let band = epochs.iter().filter_map(|&epoch| {
                    let mean = value(series.column, epoch, metric)?;
                    let half = mean.half_width?;
                    Some((f64::from(epoch), mean.value - half, mean.value + half))
                });
                panel.band(series.style, &band.collect::<Vec<_>>());
            }
            // References last: they lie on top, and what is below them shows through.
            for series in group.iter().rev() {
                let point =
                    |&epoch: &u32| (f64::from(epoch), value(series.column, epoch, metric).map(|mean| mean.value));
                let points: Vec<_> = epochs.iter().map(point).filter(|(_, value)| value.is_some()).collect();
                panel.series(&names[series.column], series.style, &points, 3.6);
            }
        }
    }
}

fn drawn_csv(params: &Params, blocks: &[Block<Measured>]) -> Result<Vec<u8>, StageError> {
    let mut records: Vec<Record> = Vec::new();
    for block in blocks {
        for column in 0..block.slice.columns.len() {
            for epoch in epochs(block) {
                for metric in metrics(block) {
                    let mut values = vec![epoch.to_string(), metric.name().to_owned()];
                    values.extend(data::of_mean(mean(block, column, epoch, metric)));
                    records.push((block.of_column(&params.layout, column), values));
                }
            }
        }
    }
    data::csv(&[&["epoch", "metric"][..], &data::MEAN].concat(), &records)
}
