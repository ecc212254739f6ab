//! `figures/parameter_change`: how far each method moved each layer, relative to its size before (Figure 3 of the PRU paper).

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::blocks::{Block, averaged, blocks};
use super::data::{self, Record};
use super::panel::{self, Look, Panel, TITLE_HEIGHT};
use super::scale::Axis;
use super::sheet::{self, Drawing, Sheet, Swatch};
use super::style::{Series, groups};
use super::svg::{Rect, Text, plain};
use super::{DATA, PNG, SVG, TOOLS, usual_references};
use crate::io::StageIo;
use crate::measure::change::{Changes, Kind, TensorChange};
use crate::stage::{OutputPort, Port, Stage, StageError, Tool};
use crate::tables::Layout;
use crate::tables::measured::gather_as;
use crate::tables::slices::{Run, sections};
use crate::tables::statistics::Mean;

/// A panel for the weights of the extractor's layers and for the classifier, and one for each kind of tensor of a
/// normalisation; biases of the extractor are in the data alone. The paper does not say which tensors a layer holds.
/// The axis is logarithmic, with a line of its own for what is exactly 0 in every run.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The heading.
    pub title: String,
    /// Which axis of the matrix plays which part.
    pub layout: Layout,
    /// Methods that the others are compared with, drawn in black.
    pub references: Vec<String>,
}

impl Default for Params {
    fn default() -> Self {
        let title = "Change of parameters by layer".to_owned();
        Self { title, layout: Layout::default(), references: usual_references() }
    }
}

/// See the file.
pub struct ParameterChange;

impl Stage for ParameterChange {
    type Params = Params;
    const NAME: &'static str = "figures/parameter_change";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "a figure of how far each method moved each layer (Figure 3)";
    const TOOLCHAIN: &'static [Tool] = TOOLS;
    const INPUTS: &'static [Port] =
        &[Port::gather("changes", "changes of `measure/change` for every method, class and seed")];
    const OUTPUTS: &'static [OutputPort] =
        &[SVG, PNG, DATA, OutputPort::file("runs", "runs.csv", "the change of every tensor in every run")];

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        params.layout.check(&mut problems);
        problems
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let runs = gather_as(io, "changes", read)?;
        let sections = sections(&params.layout.axes(), &runs)?;
        let blocks = blocks(&params.layout, &sections);
        let parts: Vec<Changed> = blocks.iter().map(changed).collect::<Result<_, _>>()?;
        draw(&params, &blocks, &parts).write(io)?;
        io.write("data", &drawn_csv(&params, &blocks, &parts)?)?;
        io.write("runs", &runs_csv(&runs)?)
    }
}

fn read(bytes: &[u8]) -> Result<Changes, String> {
    let changes: Changes = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let mut names = BTreeSet::new();
    for tensor in &changes.tensors {
        if !names.insert(tensor.name.as_str()) {
            return Err(format!("the tensor `{}` occurs twice", tensor.name));
        }
        let values = [Some(tensor.absolute), tensor.relative];
        if values.iter().flatten().any(|value| !(0.0..f64::INFINITY).contains(value)) {
            return Err(format!("the change of `{}` is no size", tensor.name));
        }
    }
    Ok(changes)
}

/// A panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Weights,
    Scale,
    Shift,
    Mean,
    Variance,
}

impl Part {
    const ALL: [Self; 5] = [Self::Weights, Self::Scale, Self::Shift, Self::Mean, Self::Variance];

    /// Where a tensor is drawn, if at all.
    fn of(tensor: &TensorChange) -> Option<Self> {
        let last = tensor.name.rsplit('.').next().unwrap_or_default();
        match tensor.kind {
            Kind::Classifier => Some(Self::Weights),
            Kind::Extractor => last.ends_with("weight").then_some(Self::Weights),
            Kind::Normalisation if last == "weight" => Some(Self::Scale),
            Kind::Normalisation => (last == "bias").then_some(Self::Shift),
            Kind::Statistic if last == "running_mean" => Some(Self::Mean),
            Kind::Statistic => (last == "running_var").then_some(Self::Variance),
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Weights => "Weights",
            Self::Scale => "Norm scale",
            Self::Shift => "Norm shift",
            Self::Mean => "BN mean",
            Self::Variance => "BN variance",
        }
    }

    /// Width of one tensor in this panel, where 1 is that in others.
    const fn stretch(self) -> f64 {
        match self {
            Self::Weights => 2.0,
            _ => 1.0,
        }
    }
}

/// What is drawn of a block.
struct Changed {
    /// Name and kind of each tensor.
    tensors: Vec<TensorChange>,
    /// By column and tensor.
    means: Vec<Vec<Option<Mean>>>,
}

fn changed(block: &Block<Changes>) -> Result<Changed, StageError> {
    let tensors = tensors(block)?;
    let mean = |column, place: usize| block.mean(column, |changes: &Changes| changes.tensors[place].relative);
    let of = |column| (0..tensors.len()).map(|place| mean(column, place)).collect();
    let means = (0..block.slice.columns.len()).map(of).collect();
    Ok(Changed { tensors, means })
}

/// The tensors of a block, as its first run lists them.
fn tensors(block: &Block<Changes>) -> Result<Vec<TensorChange>, StageError> {
    let slice = block.slice;
    let mut first: Option<&Changes> = None;
    for column in 0..slice.columns.len() {
        for trial in 0..slice.trials.len() {
            for run in (0..slice.members.len()).filter_map(|member| slice.run(column, trial, member)) {
                let known = first.get_or_insert(run);
                let same = known.tensors.len() == run.tensors.len()
                    && known.tensors.iter().zip(&run.tensors).all(|(a, b)| (&a.name, a.kind) == (&b.name, b.kind));
                if !same {
                    let name = &slice.columns[column].value;
                    let place = if block.heading.is_empty() { String::new() } else { format!(" ({})", block.heading) };
                    return Err(StageError::failed(format!(
                        "the network of `{name}` has other tensors than the rest{place}; only networks of one \
                         architecture share a panel"
                    )));
                }
            }
        }
    }
    Ok(first.map(|changes| changes.tensors.clone()).unwrap_or_default())
}

/// The layer that a tensor belongs to: its name without the last part, and without a number that tells nothing.
fn layer(name: &str, all: &[&str]) -> String {
    let parent = |name: &str| name.rsplit_once('.').map_or(name, |(parent, _)| parent).to_owned();
    let own = parent(name);
    // `conv1.0` is `conv1` where no `conv1.1` is beside it.
    let short = match own.rsplit_once('.') {
        Some((block, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => block.to_owned(),
        _ => return own,
    };
    let is_taken =
        |other: &&str| *other != name && parent(other) != own && parent(other).starts_with(&format!("{short}."));
    if all.iter().any(is_taken) { own } else { short }
}

/// The tensors of each panel: their places in the list, and their names.
fn parts(tensors: &[TensorChange]) -> Vec<(Part, Vec<usize>, Vec<String>)> {
    let of = |part: Part| {
        let places: Vec<usize> = (0..tensors.len()).filter(|&at| Part::of(&tensors[at]) == Some(part)).collect();
        let all: Vec<&str> = places.iter().map(|&at| tensors[at].name.as_str()).collect();
        let name = |&at: &usize| {
            let layer = layer(&tensors[at].name, &all);
            let is_bias = part == Part::Weights && tensors[at].name.ends_with("bias");
            if is_bias { format!("{layer} bias") } else { layer }
        };
        let names = places.iter().map(name).collect();
        (part, places, names)
    };
    Part::ALL.map(of).into_iter().filter(|(_, places, _)| !places.is_empty()).collect()
}

fn draw(params: &Params, blocks: &[Block<Changes>], parts: &[Changed]) -> Drawing {
    let mut sheet = Sheet::new(&params.title, &caption(params, blocks, parts));
    let mut notes = Vec::new();
    for (block, changed) in blocks.iter().zip(parts) {
        sheet.heading(&block.heading);
        draw_block(&mut sheet, params, block, changed);
        notes.extend(block.missing(&params.layout, "incomplete trials are left out of its means"));
        notes.extend(without_relative(params, block, &changed.tensors));
    }
    sheet.notes(&notes);
    sheet.finish()
}

fn caption(params: &Params, blocks: &[Block<Changes>], parts: &[Changed]) -> Text {
    let drawn =
        parts.iter().flat_map(|changed| changed.means.iter().map(move |means| means.iter().zip(&changed.tensors)));
    let mut drawn = drawn.flatten().filter(|(_, tensor)| Part::of(tensor).is_some());
    let zeros = if drawn.any(|(mean, _)| mean.is_some_and(|mean| mean.value == 0.0)) {
        " A mark on the dotted line is exactly 0: not one value differs in any run."
    } else {
        ""
    };
    plain(format!(
        "|after \u{2212} before| / |before| of each tensor, Euclidean norms; logarithmic.{zeros} {}",
        averaged(&params.layout, blocks)
    ))
}

/// A note for each method with a tensor that was all 0 before.
fn without_relative(params: &Params, block: &Block<Changes>, tensors: &[TensorChange]) -> Vec<String> {
    let slice = block.slice;
    let lacks = |column: usize, place: usize| {
        let mut runs = (0..slice.trials.len())
            .flat_map(|trial| (0..slice.members.len()).filter_map(move |member| slice.run(column, trial, member)));
        runs.any(|changes| changes.tensors[place].relative.is_none())
    };
    let note = |column: usize| {
        let drawn = |place: &usize| Part::of(&tensors[*place]).is_some() && lacks(column, *place);
        let names: Vec<&str> = (0..tensors.len()).filter(drawn).map(|place| tensors[place].name.as_str()).collect();
        let name = params.layout.column_name(&slice.columns[column]);
        (!names.is_empty())
            .then(|| format!("{name}: no relative change of {}, which was all 0 before.", names.join(", ")))
    };
    (0..slice.columns.len()).filter_map(note).collect()
}

/// Of a panel where there is one row of them, and where there are more.
const HEIGHTS: (f64, f64) = (96.0, 78.0);
const GAP: f64 = 9.0;

fn draw_block(sheet: &mut Sheet, params: &Params, block: &Block<Changes>, changed: &Changed) {
    let columns: Vec<String> = block.slice.columns.iter().map(|column| column.value.clone()).collect();
    let names = block.names(&params.layout);
    let parts = parts(&changed.tensors);
    let value = |column: usize, tensor: usize| changed.means[column][tensor].map(|mean| mean.value);
    let drawn = parts.iter().flat_map(|(_, places, _)| places);
    let drawn = drawn.flat_map(|&place| (0..columns.len()).filter_map(move |column| value(column, place)));
    let y = Axis::log(plain("relative change"), drawn.collect::<Vec<f64>>().into_iter());
    let axes: Vec<Axis> = parts.iter().map(|(_, _, names)| Axis::parts(Text::new(), names)).collect();
    let groups = groups(&columns, &params.references);
    let height = if groups.len() == 1 { HEIGHTS.0 } else { HEIGHTS.1 };
    let plots = plots(&parts, panel::room_left(&y), height);
    for (place, group) in groups.iter().enumerate() {
        let entry = |series: &Series| (Swatch::Line(series.style), names[series.column].clone());
        sheet.legend(&group.iter().map(entry).collect::<Vec<_>>());
        let names_x = place + 1 == groups.len();
        let below = axes.iter().map(|axis| panel::room_below(axis, true)).fold(0.0, f64::max);
        let (canvas, top) = sheet.row(TITLE_HEIGHT, height, if names_x { below } else { 0.0 } + 9.0);
        for (((part, places, _), axis), plot) in parts.iter().zip(&axes).zip(&plots) {
            let look = Look {
                title: plain(part.title()),
                names_x,
                names_y: *part == parts[0].0,
                upwards: true,
                ..Look::default()
            };
            let mut panel = Panel::new(canvas, Rect { y: top, ..*plot }, axis, &y, &look);
            for (place, series) in group.iter().enumerate().rev() {
                let shift = beside(place, group.len());
                let at = |(slot, &tensor): (usize, &usize)| (slot as f64 + shift, value(series.column, tensor));
                let points: Vec<_> = places.iter().enumerate().map(at).collect();
                // Where tensors are close, smaller marks leave the line visible.
                let size = (0.45 * plot.width / places.len() as f64).clamp(1.2, 3.4);
                panel.series(&names[series.column], series.style, &points, size);
            }
        }
    }
}

/// Panels side by side, each as wide as its tensors need.
fn plots(parts: &[(Part, Vec<usize>, Vec<String>)], left: f64, height: f64) -> Vec<Rect> {
    let slots = |part: Part, places: &[usize]| part.stretch() * (places.len() as f64 + 1.0);
    let all: f64 = parts.iter().map(|(part, places, _)| slots(*part, places)).sum();
    let room = sheet::INNER - left - GAP * parts.len().saturating_sub(1) as f64;
    let mut x = sheet::MARGIN + left;
    let plot = |(part, places, _): &(Part, Vec<usize>, Vec<String>)| {
        let plot = Rect { x, y: 0.0, width: room * slots(*part, places) / all, height };
        x = plot.right() + GAP;
        plot
    };
    parts.iter().map(plot).collect()
}

/// Marks of one tensor lie side by side: on the line of exact zeros they would hide each other.
fn beside(place: usize, count: usize) -> f64 {
    (place as f64 - (count as f64 - 1.0) / 2.0) * 0.62 / count as f64
}

fn drawn_csv(params: &Params, blocks: &[Block<Changes>], parts: &[Changed]) -> Result<Vec<u8>, StageError> {
    let mut records: Vec<Record> = Vec::new();
    for (block, changed) in blocks.iter().zip(parts) {
        for (column, means) in changed.means.iter().enumerate() {
            for (tensor, mean) in changed.tensors.iter().zip(means) {
                let panel = Part::of(tensor).map_or("", Part::title);
                let mut values = vec![tensor.name.clone(), kind_name(tensor.kind).to_owned(), panel.to_owned()];
                values.extend(data::of_mean(*mean));
                records.push((block.of_column(&params.layout, column), values));
            }
        }
    }
    data::csv(&[&["tensor", "kind", "panel"][..], &data::MEAN].concat(), &records)
}

fn runs_csv(runs: &[Run<Changes>]) -> Result<Vec<u8>, StageError> {
    let mut records: Vec<Record> = Vec::new();
    for (run, changes) in runs.iter().filter_map(|run| Some((run, run.value.as_ref().ok()?))) {
        for tensor in &changes.tensors {
            let values = vec![
                tensor.name.clone(),
                kind_name(tensor.kind).to_owned(),
                data::float(tensor.relative),
                data::float(Some(tensor.absolute)),
                tensor.unchanged.to_string(),
            ];
            records.push((run.coordinates.clone(), values));
        }
    }
    data::csv(&["tensor", "kind", "relative", "absolute", "unchanged"], &records)
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Extractor => "extractor",
        Kind::Classifier => "classifier",
        Kind::Normalisation => "normalisation",
        Kind::Statistic => "statistic",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, kind: Kind) -> TensorChange {
        TensorChange { name: name.to_owned(), kind, relative: Some(0.1), absolute: 0.2, unchanged: false }
    }

    #[test]
    fn tensors_go_to_the_panel_of_their_kind_under_the_name_of_their_layer() {
        let tensors = [
            tensor("conv1.0.weight", Kind::Extractor),
            tensor("conv1.1.weight", Kind::Normalisation),
            tensor("conv1.1.bias", Kind::Normalisation),
            tensor("conv1.1.running_mean", Kind::Statistic),
            tensor("conv1.1.running_var", Kind::Statistic),
            tensor("conv1.1.num_batches_tracked", Kind::Statistic),
            tensor("mlp.0.weight", Kind::Extractor),
            tensor("mlp.0.bias", Kind::Extractor),
            tensor("mlp.3.weight", Kind::Extractor),
            tensor("layer1.0.conv1.weight", Kind::Extractor),
            tensor("self_attention.in_proj_weight", Kind::Extractor),
            tensor("classifier.0.weight", Kind::Classifier),
            tensor("classifier.0.bias", Kind::Classifier),
        ];
        let parts = parts(&tensors);
        let titles: Vec<&str> = parts.iter().map(|(part, _, _)| part.title()).collect();
        assert_eq!(titles, ["Weights", "Norm scale", "Norm shift", "BN mean", "BN variance"]);
        assert_eq!(
            parts[0].2,
            ["conv1", "mlp.0", "mlp.3", "layer1.0.conv1", "self_attention", "classifier", "classifier bias"]
        );
        assert_eq!(parts[0].1, [0, 6, 8, 9, 10, 11, 12]);
        assert!(parts[1..].iter().all(|(_, _, names)| names == &["conv1"]), "{parts:?}");
    }

    #[test]
    fn marks_of_one_tensor_stay_inside_its_part() {
        for count in 1..=8 {
            let shifts: Vec<f64> = (0..count).map(|place| beside(place, count)).collect();
            assert!(shifts.iter().all(|shift| shift.abs() < 0.5) && shifts.iter().sum::<f64>().abs() < 1e-12);
            assert!(shifts.windows(2).all(|pair| pair[1] - pair[0] > 0.05), "{count} marks hide each other");
        }
    }
}
