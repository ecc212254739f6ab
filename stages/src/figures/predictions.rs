//! `figures/predictions`: what networks take the forgotten class for (Figure 5 of the PRU paper).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::blocks::{Block, blocks};
use super::data::{self, Record};
use super::panel::{self, Look, Panel, TITLE_HEIGHT};
use super::perception::{read, there};
use super::scale::Axis;
use super::sheet::{self, Drawing, Sheet, Swatch};
use super::style::{BLUE, SKY};
use super::svg::{self, BLACK, Span, Stroke, Text, plain};
use super::{DATA, PNG, Panels, SVG, TOOLS};
use crate::io::StageIo;
use crate::measure::perception::Seen;
use crate::stage::{OutputPort, Port, Stage, StageError, Tool};
use crate::tables::Layout;
use crate::tables::measured::gather_as;
use crate::tables::slices::sections;

/// What an empty bin counts as, before the shares are made to sum to 1 again. The paper does not say; its figures depend
/// on it, so that two are shown.
const EPSILONS: [f64; 2] = [1e-6, 1e-10];

/// A histogram of the classes that are predicted for test samples of the forgotten class: a panel for each method, with
/// that of the reference, and the divergence between them in nats. Nothing is averaged: other axes split the figure.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The heading.
    pub title: String,
    /// Which axis of the matrix has the panels, and their names.
    pub layout: Panels,
    /// What every method is compared with, by value on the axis of the panels.
    pub reference: String,
    /// Divergences that the paper prints, by value on the axis of the panels; shown beside ours, without a mark.
    pub published: BTreeMap<String, f64>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            title: "Predictions for the forgotten class".to_owned(),
            layout: Panels::default(),
            reference: "retrain".to_owned(),
            published: BTreeMap::new(),
        }
    }
}

/// See the file.
pub struct Predictions;

impl Stage for Predictions {
    type Params = Params;
    const NAME: &'static str = "figures/predictions";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "a figure of what each network takes the forgotten class for (Figure 5)";
    const TOOLCHAIN: &'static [Tool] = TOOLS;
    const INPUTS: &'static [Port] =
        &[Port::gather("perceptions", "perceptions of `measure/perception` of one class and seed for every method")];
    const OUTPUTS: &'static [OutputPort] =
        &[SVG, PNG, DATA, OutputPort::file("divergence", "divergence.csv", "each method's divergence, unrounded")];

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        params.layout.layout().check(&mut problems);
        let odd = params.published.iter().filter(|(_, value)| !(0.0..f64::INFINITY).contains(*value));
        problems.extend(odd.map(|(name, value)| ("published", format!("the divergence of `{name}` is {value}"))));
        problems
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let runs = gather_as(io, "perceptions", read)?;
        let layout = params.layout.layout();
        let sections = sections(&layout.axes(), &runs)?;
        let blocks = blocks(&layout, &sections);
        for block in &blocks {
            check_alike(block)?;
        }
        draw(&params, &layout, &blocks).write(io)?;
        io.write("data", &histogram_csv(&layout, &blocks)?)?;
        io.write("divergence", &divergence_csv(&params, &layout, &blocks)?)
    }
}

/// Histograms are compared class by class.
fn check_alike(block: &Block<Seen>) -> Result<(), StageError> {
    let runs = there(block);
    let kind = |seen: &Seen| (seen.forget_class, seen.histogram.len());
    let differs = |pair: &&[(usize, &Seen)]| kind(pair[0].1) != kind(pair[1].1);
    match runs.windows(2).find(differs) {
        None => Ok(()),
        Some(pair) => {
            let [a, b] = [pair[0].0, pair[1].0].map(|column| &block.slice.columns[column].value);
            Err(StageError::failed(format!(
                "`{a}` and `{b}` forgot different classes, or have different numbers of them"
            )))
        }
    }
}

/// `D_KL(S || S_reference)` in nats of two histograms over the same classes. An empty bin counts as `epsilon`; then both are
/// made to sum to 1. Without a class, its bin is left out of both first. None where one has no sample left.
fn divergence(ours: &[u64], reference: &[u64], without: Option<u32>, epsilon: f64) -> Option<f64> {
    let shares = |histogram: &[u64]| -> Option<Vec<f64>> {
        let kept = histogram.iter().enumerate().filter(|(class, _)| without.is_none_or(|f| *class != f as usize));
        let counts: Vec<u64> = kept.map(|(_, count)| *count).collect();
        let all = Some(counts.iter().sum::<u64>()).filter(|all| *all > 0)? as f64;
        let filled = counts.iter().map(|&count| if count == 0 { epsilon } else { count as f64 / all });
        let filled: Vec<f64> = filled.collect();
        let sum: f64 = filled.iter().sum();
        Some(filled.into_iter().map(|share| share / sum).collect())
    };
    Some(shares(ours)?.iter().zip(&shares(reference)?).map(|(p, q)| p * (p / q).ln()).sum())
}

/// A method's divergences: for each epsilon with all classes, then for each without the forgotten one.
fn divergences(seen: &Seen, reference: &Seen) -> [Option<f64>; 4] {
    let of = |without, epsilon| divergence(&seen.histogram, &reference.histogram, without, epsilon);
    let [a, b] = EPSILONS;
    [of(None, a), of(None, b), of(Some(seen.forget_class), a), of(Some(seen.forget_class), b)]
}

/// The reference's run.
fn reference<'a>(params: &Params, block: &'a Block<Seen>) -> Option<(usize, &'a Seen)> {
    let column = block.slice.column(&params.reference)?;
    Some((column, block.slice.run(column, 0, 0)?))
}

fn draw(params: &Params, layout: &Layout, blocks: &[Block<Seen>]) -> Drawing {
    let name = layout.label(&params.reference);
    let caption = format!(
        "Share of the test samples of the forgotten class that each class is predicted for. \
         Below: divergence D(S || S of {name}) in nats, where an empty bin counts as \u{3b5}; it depends on \
         \u{3b5} and so do the published figures, which do not tell theirs."
    );
    let mut sheet = Sheet::new(&params.title, &plain(caption));
    sheet.legend(&[
        (Swatch::Box(SKY), "predicted as another class".to_owned()),
        (Swatch::Box(BLUE), "predicted as the forgotten class".to_owned()),
        (Swatch::Level(REFERENCE), name.to_owned()),
    ]);
    let mut notes = Vec::new();
    for block in blocks {
        sheet.heading(&block.heading);
        draw_block(&mut sheet, params, layout, block);
        sheet.gap(6.0);
        sheet.table(&heads(params), &rows(params, layout, block));
        sheet.gap(4.0);
        notes.extend(block.missing(layout, ""));
        if reference(params, block).is_none() {
            notes.push(format!("There is no run of {name}, and so no divergence."));
        }
    }
    sheet.notes(&notes);
    sheet.finish()
}

const REFERENCE: Stroke = Stroke::new(BLACK, 0.9);
/// Of a panel where there are few rows of them, and where there are many.
const HEIGHTS: (f64, f64) = (62.0, 50.0);
const GAP: f64 = 9.0;

fn draw_block(sheet: &mut Sheet, params: &Params, layout: &Layout, block: &Block<Seen>) {
    let runs = there(block);
    let classes: Vec<String> =
        (0..runs.first().map_or(0, |(_, seen)| seen.histogram.len())).map(|class| class.to_string()).collect();
    let x = Axis::parts(plain("predicted class"), &classes);
    let y = Axis::linear(plain("% of samples"), (0.0, 100.0), 2);
    let reference = reference(params, block);
    let columns = sheet::columns(runs.len());
    let height = if runs.len() > 2 * columns { HEIGHTS.1 } else { HEIGHTS.0 };
    let mut lefts = vec![0.0; columns];
    lefts[0] = panel::room_left(&y);
    for (row, here) in runs.chunks(columns).enumerate() {
        // As in the figure of perception, names lie in the empty places of a shorter row.
        let is_last = |place: usize| (row + 1) * columns + place >= runs.len();
        let below = if is_last(0) { panel::room_below(&x, false) } else { 4.0 };
        let (canvas, top) = sheet.row(TITLE_HEIGHT, height, below + 4.0);
        for (place, (plot, (column, seen))) in sheet::beside(&lefts, top, height, GAP).into_iter().zip(here).enumerate()
        {
            let name = layout.column_name(&block.slice.columns[*column]);
            let look = Look {
                title: plain(svg::fitted(&name, panel::TITLE, plot.width)),
                names_x: is_last(place),
                names_y: place == 0,
                ..Look::default()
            };
            let mut panel = Panel::new(canvas, plot, &x, &y, &look);
            let shares = percent(seen);
            let only = |chosen: bool| -> Vec<f64> {
                let is_forgotten = |class: usize| class == seen.forget_class as usize;
                shares
                    .iter()
                    .enumerate()
                    .map(|(class, v)| if is_forgotten(class) == chosen { *v } else { 0.0 })
                    .collect()
            };
            panel.bars(&only(false), SKY, 0.8);
            panel.bars(&only(true), BLUE, 0.8);
            if let Some((_, reference)) = reference {
                panel.steps(&percent(reference), REFERENCE);
            }
        }
    }
}

fn percent(seen: &Seen) -> Vec<f64> {
    let all = seen.predicted.len() as f64;
    seen.histogram.iter().map(|count| 100.0 * *count as f64 / all).collect()
}

fn heads(params: &Params) -> Vec<Text> {
    let of = |before: &str, exponent: i32| vec![Span::Plain(format!("{before}\u{3b5} = ")), Span::Power(exponent)];
    let mut heads = vec![plain("D in nats"), of("all classes, ", -6), of("", -10), of("without f, ", -6), of("", -10)];
    if !params.published.is_empty() {
        heads.push(plain("published"));
    }
    heads
}

fn rows(params: &Params, layout: &Layout, block: &Block<Seen>) -> Vec<Vec<String>> {
    let Some((own, reference)) = reference(params, block) else { return Vec::new() };
    let row = |(column, seen): (usize, &Seen)| {
        let number =
            |value: Option<f64>| value.map_or_else(|| "\u{2013}".to_owned(), |value| format!("{:.2}", value + 0.0));
        let mut row = vec![layout.column_name(&block.slice.columns[column])];
        row.extend(divergences(seen, reference).map(number));
        if !params.published.is_empty() {
            row.push(number(params.published.get(&block.slice.columns[column].value).copied()));
        }
        row
    };
    there(block).into_iter().filter(|(column, _)| *column != own).map(row).collect()
}

fn histogram_csv(layout: &Layout, blocks: &[Block<Seen>]) -> Result<Vec<u8>, StageError> {
    let mut records: Vec<Record> = Vec::new();
    for block in blocks {
        for (column, seen) in there(block) {
            for (class, (count, percent)) in seen.histogram.iter().zip(percent(seen)).enumerate() {
                let values = vec![seen.forget_class.to_string(), class.to_string(), count.to_string()];
                let values = values.into_iter().chain([data::float(Some(percent))]).collect();
                records.push((block.of_column(layout, column), values));
            }
        }
    }
    data::csv(&["forget_class", "predicted", "count", "percent"], &records)
}

fn divergence_csv(params: &Params, layout: &Layout, blocks: &[Block<Seen>]) -> Result<Vec<u8>, StageError> {
    let mut records: Vec<Record> = Vec::new();
    for block in blocks {
        let Some((own, reference)) = reference(params, block) else { continue };
        for (column, seen) in there(block).into_iter().filter(|(column, _)| *column != own) {
            let other = seen.predicted.iter().filter(|class| **class != seen.forget_class).count();
            let mut values = vec![seen.forget_class.to_string(), seen.predicted.len().to_string(), other.to_string()];
            values.extend(divergences(seen, reference).map(data::float));
            values.push(data::float(params.published.get(&block.slice.columns[column].value).copied()));
            records.push((block.of_column(layout, column), values));
        }
    }
    let names = ["forget_class", "samples", "not_predicted_as_f", "kl_1e-6", "kl_1e-10", "kl_without_f_1e-6"];
    data::csv(&[&names[..], &["kl_without_f_1e-10", "published"]].concat(), &records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergences_agree_with_those_computed_by_hand() {
        let close = |found: Option<f64>, expected: f64| {
            let found = found.unwrap();
            assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
        };
        // .5 ln(.5 / .25) + .5 ln(.5 / .75) = .5 ln(4 / 3).
        close(divergence(&[2, 2], &[1, 3], None, 1e-6), 0.5 * (4.0_f64 / 3.0).ln());
        // (1, eps) against (.5, .5): ours is 1 / (1 + eps) and eps / (1 + eps).
        for epsilon in EPSILONS {
            let (p, q) = (1.0 / (1.0 + epsilon), epsilon / (1.0 + epsilon));
            close(divergence(&[4, 0], &[1, 1], None, epsilon), p * (2.0 * p).ln() + q * (2.0 * q).ln());
        }
        // The other way round: .5 ln(.5 (1 + eps)) + .5 ln(.5 (1 + eps) / eps).
        close(divergence(&[1, 1], &[4, 0], None, 1e-6), 6.214_609_098_422_191);
        close(divergence(&[1, 1], &[4, 0], None, 1e-10), 10.819_778_284_510_283);
        close(divergence(&[3, 1, 0], &[3, 1, 0], None, 1e-6), 0.0);
    }

    #[test]
    fn without_the_forgotten_class_its_bin_is_left_out_of_both() {
        // (1, 1, 98) without the last is (.5, .5); (1, 3, 0) is (.25, .75).
        let found = divergence(&[1, 1, 98], &[1, 3, 0], Some(2), 1e-6).unwrap();
        assert!((found - 0.5 * (4.0_f64 / 3.0).ln()).abs() < 1e-12, "{found}");
        assert_eq!(divergence(&[0, 0, 100], &[1, 3, 0], Some(2), 1e-6), None);
    }
}
