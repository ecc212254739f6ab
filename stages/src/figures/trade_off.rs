//! `figures/trade_off`: what each method's whole grid of rates gives up and what comes back: `A_f` after relearning against
//! `A_r` right after unlearning. One rate alone can decide which of two methods looks better.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::blocks::{Block, averaged, blocks};
use super::data::{self, Record};
use super::panel::{self, Look, Panel};
use super::relearning::epochs;
use super::scale::Axis;
use super::sheet::{self, Drawing, Sheet, Swatch};
use super::style::{Series, groups};
use super::svg::{PALE, Rect, Span, Stroke, Text};
use super::{DATA, PNG, SVG, TOOLS, usual_references};
use crate::io::StageIo;
use crate::stage::{OutputPort, Port, Stage, StageError, Tool};
use crate::tables::measured::{Measured, gather};
use crate::tables::slices::{Coordinates, Run, sections};
use crate::tables::statistics::Mean;
use crate::tables::{Layout, Metric};

/// A point for each method and rate, those of a method joined in the order of its rates; larger marks are larger rates.
/// A run without the axis of the rates, as that of the original network, has a single point.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The heading.
    pub title: String,
    /// Which axis of the matrix plays which part.
    pub layout: Layout,
    /// The axis of the rates.
    pub rates: String,
    /// Methods that the others are compared with, drawn in black in every panel.
    pub references: Vec<String>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            title: "Forgetting that lasts against accuracy that is kept".to_owned(),
            layout: Layout::default(),
            rates: "lr".to_owned(),
            references: usual_references(),
        }
    }
}

impl Params {
    /// The layout in which the rates follow each other as rows.
    fn whole_layout(&self) -> Layout {
        let mut layout = self.layout.clone();
        layout.rows.push(self.rates.clone());
        layout
    }
}

/// See the file.
pub struct TradeOff;

impl Stage for TradeOff {
    type Params = Params;
    const NAME: &'static str = "figures/trade_off";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "a figure of A_f after relearning against A_r after unlearning, over all rates";
    const TOOLCHAIN: &'static [Tool] = TOOLS;
    const INPUTS: &'static [Port] =
        &[Port::gather("curves", "curves of `relearn` for every method, rate, class and seed")];
    const OUTPUTS: &'static [OutputPort] = &[SVG, PNG, DATA];

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        params.whole_layout().check(&mut problems);
        problems
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let runs = gather(io, "curves")?;
        let layout = params.whole_layout();
        let sections = sections(&layout.axes(), &runs)?;
        let blocks = blocks(&layout, &sections);
        let parts = parts(&params, &layout, &runs, &blocks);
        draw(&params, &blocks, &parts).write(io)?;
        io.write("data", &drawn_csv(&params, &parts)?)
    }
}

/// One method at one rate.
struct Point {
    /// Empty for a run without a rate.
    rate: String,
    retain: Option<Mean>,
    forget: Option<Mean>,
    complete: usize,
}

/// What shares a panel, or several where there are many methods.
struct Part {
    heading: String,
    columns: Vec<String>,
    /// Of each column, but for the rate.
    coordinates: Vec<Coordinates>,
    names: Vec<String>,
    /// By column, in the order of the rates.
    points: Vec<Vec<Point>>,
    last: u32,
    notes: Vec<String>,
}

/// Blocks that differ by their rate alone are one part.
fn parts(params: &Params, layout: &Layout, runs: &[Run<Measured>], blocks: &[Block<Measured>]) -> Vec<Part> {
    let without_rate = |block: &Block<Measured>| -> Coordinates {
        block.coordinates.iter().filter(|(axis, _)| *axis != params.rates).cloned().collect()
    };
    let mut keys: Vec<Coordinates> = Vec::new();
    for block in blocks {
        let key = without_rate(block);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let of = |key: Coordinates| {
        let here: Vec<&Block<Measured>> = blocks.iter().filter(|block| without_rate(block) == key).collect();
        part(params, layout, runs, &key, &here)
    };
    keys.into_iter().map(of).collect()
}

fn part(
    params: &Params,
    layout: &Layout,
    runs: &[Run<Measured>],
    common: &Coordinates,
    blocks: &[&Block<Measured>],
) -> Part {
    let last = blocks.iter().filter_map(|block| epochs(block).last().copied()).max().unwrap_or(0);
    let heading = common.iter().map(|(axis, value)| format!("{axis} {}", layout.label(value)));
    let heading = heading.collect::<Vec<_>>().join(", ");
    let slice = blocks[0].slice;
    let columns: Vec<String> = slice.columns.iter().map(|column| column.value.clone()).collect();
    let coordinates = (0..columns.len()).map(|column| {
        let of_column = blocks[0].of_column(layout, column).into_iter();
        of_column.filter(|(axis, _)| *axis != params.rates).collect()
    });
    let coordinates = coordinates.collect();
    let all = blocks.iter().map(|block| block.slice.trials.len()).max().unwrap_or(0);
    let (mut names, mut points, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for (column, named) in slice.columns.iter().enumerate() {
        let name = params.layout.column_name(named);
        let own = own_points(params, runs, blocks, column, last);
        if own.is_empty() {
            notes.push(format!("{name}: missing every run."));
        }
        let least = own.iter().map(|(_, point)| point.complete).min().unwrap_or(0);
        let is_whole = !own.is_empty() && own.iter().all(|(block, point)| point.complete == block.slice.trials.len());
        for (block, point) in &own {
            let missing = block.slice.missing(column);
            if !missing.is_empty() {
                let at =
                    if point.rate.is_empty() { String::new() } else { format!(", {} {}", params.rates, point.rate) };
                let missing = missing.join(", ");
                notes.push(format!("{name}{at}: missing {missing}; incomplete trials are left out of its means."));
            }
        }
        names.push(match (is_whole, all) {
            (true, _) => name,
            (false, 0 | 1) => format!("{name} (incomplete)"),
            (false, _) => format!("{name} ({least} of {all} {}s)", params.layout.trials),
        });
        points.push(own.into_iter().map(|(_, point)| point).collect());
    }
    Part { heading, columns, coordinates, names, points, last, notes }
}

/// The points of a column, with the block of each. A rate that is in no run of the column is none of its grid.
fn own_points<'a, 'b, 'r>(
    params: &Params,
    runs: &[Run<Measured>],
    blocks: &[&'a Block<'b, 'r, Measured>],
    column: usize,
    last: u32,
) -> Vec<(&'a Block<'b, 'r, Measured>, Point)> {
    let mut points: Vec<(&Block<Measured>, Point)> = Vec::new();
    for block in blocks {
        let slice = block.slice;
        let mut places = (0..slice.trials.len())
            .flat_map(|trial| (0..slice.members.len()).filter_map(move |member| slice.index(column, trial, member)));
        let Some(first) = places.next() else { continue };
        let rate = runs[first].coordinates.iter().find(|(axis, _)| *axis == params.rates);
        let rate = rate.map_or_else(String::new, |(_, value)| value.clone());
        if rate.is_empty() && !points.is_empty() {
            // It stands for every rate; once is enough.
            break;
        }
        let of = |epoch: u32, metric: Metric| {
            block.mean(column, |run| run.value(epoch, metric)).map(|mean| mean.times(100.0))
        };
        let (retain, forget) = (of(0, Metric::Retain), of(last, Metric::Forget));
        points.push((block, Point { rate, retain, forget, complete: block.complete(column) }));
    }
    points
}

impl Point {
    fn place(&self) -> Option<(f64, f64)> {
        Some((self.retain?.value, self.forget?.value))
    }
}

fn draw(params: &Params, blocks: &[Block<Measured>], parts: &[Part]) -> Drawing {
    let mut caption: Text =
        vec![Span::Symbol("A", "f"), Span::Plain(" after the last epoch of relearning against ".into())];
    caption.extend([Span::Symbol("A", "r"), Span::Plain(" right after unlearning, in percent. ".into())]);
    caption.push(Span::Plain(format!(
        "Each method over its whole grid of {}, joined in its order; larger marks are larger values, and its ends are \
         beside the name. Forgetting that lasts and costs little lies on the lower right. {}",
        params.rates,
        averaged(&params.layout, blocks)
    )));
    let mut sheet = Sheet::new(&params.title, &caption);
    for part in parts {
        sheet.heading(&part.heading);
        draw_part(&mut sheet, params, part);
    }
    sheet.notes(&parts.iter().flat_map(|part| part.notes.iter().cloned()).collect::<Vec<_>>());
    sheet.finish()
}

/// Width of the panel; the legend is on its right.
const WIDTH: f64 = 290.0;
/// Of a panel where there is one, and where there are more.
const HEIGHTS: (f64, f64) = (200.0, 108.0);
const SIZES: (f64, f64) = (2.8, 6.4);

fn draw_part(sheet: &mut Sheet, params: &Params, part: &Part) {
    let groups = groups(&part.columns, &params.references);
    let height = if groups.len() == 1 { HEIGHTS.0 } else { HEIGHTS.1 };
    let places = |column: usize| part.points[column].iter().map(Point::place).collect::<Vec<_>>();
    let retain = part.points.iter().flatten().filter_map(|point| Some(point.place()?.0));
    let x_label = vec![Span::Symbol("A", "r"), Span::Plain(" right after unlearning, %".to_owned())];
    let x = Axis::around(x_label, retain, (0.0, 100.0), 6);
    let y_label = vec![Span::Symbol("A", "f"), Span::Plain(format!(" after {} epochs, %", part.last))];
    let y = Axis::linear(y_label, (0.0, 100.0), 5);
    let left = panel::room_left(&y);
    for (place, group) in groups.iter().enumerate() {
        let names_x = place + 1 == groups.len();
        let below = if names_x { panel::room_below(&x, false) } else { 3.0 };
        let (canvas, top) = sheet.row(6.0, height, below + 5.0);
        let plot = Rect { x: sheet::MARGIN + left, y: top, width: WIDTH, height };
        let mut panel = Panel::new(canvas, plot, &x, &y, &Look { names_x, names_y: true, ..Look::default() });
        let is_here = |column: usize| group.iter().any(|series| series.column == column);
        for column in (0..part.columns.len()).filter(|column| !is_here(*column)) {
            panel.context(&places(column).into_iter().flatten().collect::<Vec<_>>());
        }
        for series in group.iter().rev() {
            let sizes = sizes(part.points[series.column].len());
            panel.trace(&part.names[series.column], series.style, &places(series.column), &sizes);
        }
        let entry = |series: &Series| (Swatch::Line(series.style), legend_name(part, series.column));
        let mut entries: Vec<(Swatch, String)> = group.iter().map(entry).collect();
        if groups.len() > 1 {
            entries.push((Swatch::Level(Stroke::new(PALE, 1.4)), "the other methods".to_owned()));
        }
        sheet.legend_at(plot.right() + 14.0, top, &entries);
    }
}

/// The method, with its smallest and largest rate.
fn legend_name(part: &Part, column: usize) -> String {
    let rates: Vec<&str> =
        part.points[column].iter().map(|point| point.rate.as_str()).filter(|rate| !rate.is_empty()).collect();
    let name = &part.names[column];
    match rates.as_slice() {
        [] => name.clone(),
        [only] => format!("{name}: {only}"),
        [first, .., last] => format!("{name}: {first} to {last}"),
    }
}

/// Sizes of marks, growing with the rate.
fn sizes(count: usize) -> Vec<f64> {
    let (small, large) = SIZES;
    match count {
        0 | 1 => vec![f64::midpoint(small, large); count],
        _ => (0..count).map(|place| small + (large - small) * place as f64 / (count - 1) as f64).collect(),
    }
}

fn drawn_csv(params: &Params, parts: &[Part]) -> Result<Vec<u8>, StageError> {
    let mut records: Vec<Record> = Vec::new();
    for part in parts {
        for (column, points) in part.points.iter().enumerate() {
            for point in points {
                let mut coordinates = part.coordinates[column].clone();
                coordinates.push((params.rates.clone(), point.rate.clone()));
                let mut values = vec![part.last.to_string()];
                values.extend(data::of_mean(point.retain));
                values.extend(data::of_mean(point.forget));
                records.push((coordinates, values));
            }
        }
    }
    let retain = ["A_r_percent_before", "A_r_half_width", "A_r_n"];
    let forget = ["A_f_percent_after", "A_f_half_width", "A_f_n"];
    data::csv(&[&["epochs"][..], &retain, &forget].concat(), &records)
}
