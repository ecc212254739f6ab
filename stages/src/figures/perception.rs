//! `figures/perception`: how networks see the class that was forgotten (Figure 4 of the PRU paper).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::blocks::{Block, blocks};
use super::data::{self, Record};
use super::panel::{self, Look, Panel, TITLE_HEIGHT};
use super::scale::{Axis, range};
use super::sheet::{self, Drawing, Sheet, Swatch};
use super::style::{BLUE, Marker, Style, VERMILLION};
use super::svg::{self, Span, Stroke, plain};
use super::{DATA, PNG, Panels, SVG, TOOLS};
use crate::io::StageIo;
use crate::measure::perception::Seen;
use crate::stage::{OutputPort, Port, Stage, StageError, Tool};
use crate::tables::Layout;
use crate::tables::measured::gather_as;
use crate::tables::slices::sections;

/// The probability of the forgotten class of each of its test samples, against the distance of the sample's embedding from
/// their common centre divided by the mean of these distances; a panel for each method, with the share of samples that
/// are no longer predicted as that class. Nothing is averaged: other axes split the figure.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The heading.
    pub title: String,
    /// Which axis of the matrix has the panels, and their names.
    pub layout: Panels,
}

impl Default for Params {
    fn default() -> Self {
        Self { title: "Perception of the forgotten class".to_owned(), layout: Panels::default() }
    }
}

/// See the file.
pub struct Perception;

impl Stage for Perception {
    type Params = Params;
    const NAME: &'static str = "figures/perception";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "a figure of how each network sees the forgotten class (Figure 4)";
    const TOOLCHAIN: &'static [Tool] = TOOLS;
    const INPUTS: &'static [Port] =
        &[Port::gather("perceptions", "perceptions of `measure/perception` of one class and seed for every method")];
    const OUTPUTS: &'static [OutputPort] = &[SVG, PNG, DATA];

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        params.layout.layout().check(&mut problems);
        problems
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let runs = gather_as(io, "perceptions", read)?;
        let layout = params.layout.layout();
        let sections = sections(&layout.axes(), &runs)?;
        let blocks = blocks(&layout, &sections);
        draw(&params, &layout, &blocks).write(io)?;
        io.write("data", &samples_csv(&layout, &blocks)?)
    }
}

/// Reads `perception.json`; its lists must fit each other.
pub(super) fn read(bytes: &[u8]) -> Result<Seen, String> {
    let seen: Seen = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let (n, classes) = (seen.predicted.len(), seen.histogram.len());
    if n == 0 {
        return Err("it holds no sample".to_owned());
    }
    if seen.probability.len() != n || seen.distance.len() != n || seen.histogram.iter().sum::<u64>() != n as u64 {
        return Err("its lists are of different lengths".to_owned());
    }
    let mut counted = vec![0; classes];
    for &class in &seen.predicted {
        *counted.get_mut(class as usize).ok_or_else(|| format!("class {class} is none of its {classes}"))? += 1;
    }
    if counted != seen.histogram || seen.forget_class as usize >= classes {
        return Err("its histogram is not that of its predictions".to_owned());
    }
    match seen.probability.iter().find(|p| !(0.0..=1.0 + 1e-9).contains(*p)) {
        Some(p) => Err(format!("a probability is {p}; 0 to 1 was expected")),
        None if seen.distance.iter().any(|d| !(0.0..f64::INFINITY).contains(d)) => {
            Err("a distance is negative or no number".to_owned())
        }
        None => Ok(seen),
    }
}

/// The share of samples that are not predicted as the forgotten class.
fn not_predicted(seen: &Seen) -> f64 {
    let others = seen.predicted.iter().filter(|class| **class != seen.forget_class).count();
    others as f64 / seen.predicted.len() as f64
}

const OTHER: Style = Style { colour: BLUE, marker: Marker::Circle, hollow: false, dashes: "" };
const AS_FORGOTTEN: Style = Style { colour: VERMILLION, marker: Marker::Plus, hollow: false, dashes: "" };

fn draw(params: &Params, layout: &Layout, blocks: &[Block<Seen>]) -> Drawing {
    let mut caption = vec![Span::Plain("Probability ".to_owned()), Span::Symbol("p", "f")];
    caption.push(Span::Plain(
        " of the forgotten class f against the distance from the centre of all samples among the embeddings, divided by \
         the mean distance; a mark for each test sample of class f. On the right above each panel: the share no longer \
         predicted as f."
            .to_owned(),
    ));
    let mut sheet = Sheet::new(&params.title, &caption);
    sheet.legend(&[
        (Swatch::Mark(OTHER), "predicted as another class".to_owned()),
        (Swatch::Mark(AS_FORGOTTEN), "still predicted as f".to_owned()),
    ]);
    let mut notes = Vec::new();
    for block in blocks {
        sheet.heading(&block.heading);
        draw_block(&mut sheet, layout, block);
        notes.extend(block.missing(layout, ""));
    }
    sheet.notes(&notes);
    sheet.finish()
}

/// The runs of a block that are there, with their columns.
pub(super) fn there<'a, T>(block: &'a Block<'_, '_, T>) -> Vec<(usize, &'a T)> {
    let slice = block.slice;
    (0..slice.columns.len()).filter_map(|column| Some((column, slice.run(column, 0, 0)?))).collect()
}

const HEIGHT: f64 = 78.0;
const GAP: f64 = 9.0;

fn draw_block(sheet: &mut Sheet, layout: &Layout, block: &Block<Seen>) {
    let runs = there(block);
    let most = range(runs.iter().flat_map(|(_, seen)| seen.distance.iter().copied())).map_or(1.0, |(_, most)| most);
    let x = Axis::linear(plain("distance / mean distance"), (0.0, most * 1.02), 4);
    let y = Axis::linear(vec![Span::Symbol("p", "f")], (0.0, 1.0), 2);
    let columns = sheet::columns(runs.len());
    let mut lefts = vec![0.0; columns];
    lefts[0] = panel::room_left(&y);
    for (row, here) in runs.chunks(columns).enumerate() {
        // The axis below is named under the last panel of each column of panels; where the row below is shorter, its
        // empty place takes the names.
        let is_last = |place: usize| (row + 1) * columns + place >= runs.len();
        let below = if is_last(0) { panel::room_below(&x, false) } else { 4.0 };
        let (canvas, top) = sheet.row(TITLE_HEIGHT, HEIGHT, below + 4.0);
        for (place, (plot, (column, seen))) in sheet::beside(&lefts, top, HEIGHT, GAP).into_iter().zip(here).enumerate()
        {
            let beside = plain(format!("{:.2}", not_predicted(seen)));
            let room = plot.width - svg::width(&beside, panel::BESIDE) - 4.0;
            let name = layout.column_name(&block.slice.columns[*column]);
            let look = Look {
                title: plain(svg::fitted(&name, panel::TITLE, room)),
                beside,
                names_x: is_last(place),
                names_y: place == 0,
                upwards: false,
            };
            scatter(&mut Panel::new(canvas, plot, &x, &y, &look), seen);
        }
    }
}

fn scatter(panel: &mut Panel, seen: &Seen) {
    let of = |as_forgotten: bool| -> Vec<(f64, f64)> {
        let samples = seen.distance.iter().zip(&seen.probability).zip(&seen.predicted);
        let chosen = samples.filter(|(_, class)| (**class == seen.forget_class) == as_forgotten);
        chosen.map(|((&distance, &probability), _)| (distance, probability)).collect()
    };
    // A dot is a line of no length with round ends: the shortest way to write thousands of them.
    let dots = svg::specks(&panel.places(&of(false)), "h0");
    let (fill, opacity) = (Stroke::new(OTHER.colour, 2.0), 0.45);
    if !dots.is_empty() {
        panel.canvas().dots(&dots, fill, opacity);
    }
    let crosses = svg::specks(&panel.places(&of(true)), "m-1.2 0h2.4m-1.2 -1.2v2.4");
    if !crosses.is_empty() {
        panel.canvas().dots(&crosses, Stroke::new(AS_FORGOTTEN.colour, 0.6), 0.7);
    }
}

fn samples_csv(layout: &Layout, blocks: &[Block<Seen>]) -> Result<Vec<u8>, StageError> {
    let mut records: Vec<Record> = Vec::new();
    for block in blocks {
        for (column, seen) in there(block) {
            for (sample, class) in seen.predicted.iter().enumerate() {
                let numbers = [seen.distance[sample], seen.probability[sample]].map(|value| data::float(Some(value)));
                let mut values = vec![seen.forget_class.to_string(), sample.to_string()];
                values.extend(numbers);
                values.push(class.to_string());
                records.push((block.of_column(layout, column), values));
            }
        }
    }
    data::csv(&["forget_class", "sample", "distance", "probability", "predicted"], &records)
}
