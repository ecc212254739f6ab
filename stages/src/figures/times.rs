//! How long methods take, on a logarithmic axis (Figure S1 of the PRU paper). Not a stage: times are in the records of nodes,
//! never in artifacts, so that only the engine knows them.

use super::panel::{self, Look, Panel, TITLE_HEIGHT};
use super::scale::Axis;
use super::sheet::{self, Drawing, Sheet, Swatch};
use super::style::{BLUE, Marker, Style};
use super::svg::{self, BLACK, Text, plain};

/// What was unlearned where: one panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Printed above the panel.
    pub name: String,
    /// From top to bottom.
    pub times: Vec<Time>,
}

/// How long one method takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Time {
    /// Its printed name.
    pub method: String,
    /// Mean over nodes; none where no node was measured.
    pub seconds: Option<f64>,
    /// Half the width of the interval of that mean.
    pub half_width: Option<f64>,
    /// Nodes that were measured.
    pub n: usize,
    /// What the paper shows, in seconds.
    pub published: Option<f64>,
}

const OURS: Style = Style { colour: BLUE, marker: Marker::Circle, hollow: false, dashes: "" };
const PUBLISHED: Style = Style { colour: BLACK, marker: Marker::Diamond, hollow: true, dashes: "" };
const ROW: f64 = 12.0;
const GAP: f64 = 12.0;
/// Panels side by side.
const BESIDE: usize = 3;

/// Draws the time of each method in each setting; methods without a value keep their row and say so. `notes` are printed
/// below, as how many nodes were left out. Values that are no positive numbers are not drawn.
#[must_use]
pub fn times(title: &str, settings: &[Setting], notes: &[String]) -> Drawing {
    let mut sheet = Sheet::new(title, &plain(caption(settings)));
    let all = || settings.iter().flat_map(|setting| &setting.times);
    if all().any(|time| time.published.is_some()) {
        let entries = [(Swatch::Mark(OURS), "ours".to_owned()), (Swatch::Mark(PUBLISHED), "published".to_owned())];
        sheet.legend(&entries);
    }
    let x = Axis::log(plain("seconds"), all().flat_map(values).filter(|value| *value > 0.0));
    for settings in settings.chunks(BESIDE) {
        let mut methods: Vec<String> = Vec::new();
        for time in settings.iter().flat_map(|setting| &setting.times) {
            if !methods.contains(&time.method) {
                methods.push(time.method.clone());
            }
        }
        draw_row(&mut sheet, settings, &methods, &x);
    }
    sheet.notes(notes);
    sheet.finish()
}

fn caption(settings: &[Setting]) -> String {
    let mut text = "Seconds of unlearning, logarithmic; nodes that ran alone on their machine.".to_owned();
    if settings.iter().flat_map(|setting| &setting.times).any(|time| time.half_width.is_some()) {
        text.push_str(" Lines are 95 % intervals of the mean.");
    }
    text
}

/// All that is drawn of a time.
fn values(time: &Time) -> Vec<f64> {
    let half = time.half_width.unwrap_or(0.0);
    let ends = time.seconds.into_iter().flat_map(|mean| [mean - half, mean, mean + half]);
    ends.chain(time.published).filter(|value| value.is_finite() && *value > 0.0).collect()
}

fn draw_row(sheet: &mut Sheet, settings: &[Setting], methods: &[String], x: &Axis) {
    // The first method is on top.
    let names: Vec<String> =
        methods.iter().rev().map(|name| svg::fitted(name, panel::TICKS, 120.0)).collect();
    let y = Axis::parts(Text::new(), &names);
    let height = ROW * methods.len() as f64;
    let mut lefts = vec![0.0; settings.len()];
    lefts[0] = panel::room_left(&y);
    let (canvas, top) = sheet.row(TITLE_HEIGHT, height, panel::room_below(x, false) + 8.0);
    let plots = sheet::beside(&lefts, top, height, GAP);
    for (place, (setting, plot)) in settings.iter().zip(plots).enumerate() {
        let title = plain(svg::fitted(&setting.name, panel::TITLE, plot.width));
        let look = Look { title, names_x: true, names_y: place == 0, ..Look::default() };
        let mut panel = Panel::new(canvas, plot, x, &y, &look);
        for (row, method) in methods.iter().rev().enumerate() {
            let row = row as f64;
            match setting.times.iter().find(|time| time.method == *method) {
                Some(time) if !values(time).is_empty() => draw_time(&mut panel, row, time),
                _ => panel.beside_place(0.03, row, &plain("not measured")),
            }
        }
    }
}

fn draw_time(panel: &mut Panel, row: f64, time: &Time) {
    let positive = |value: Option<f64>| value.filter(|value| value.is_finite() && *value > 0.0);
    if let Some(at) = positive(time.published).and_then(|value| panel.at(value, row)) {
        PUBLISHED.mark(panel.canvas(), &[at], 5.0);
    }
    let Some(mean) = positive(time.seconds) else { return };
    if let Some(half) = positive(time.half_width) {
        // An interval that reaches 0 ends at the edge: a logarithm has no place for it.
        panel.whisker(row, (mean - half, mean + half), BLUE);
    }
    if let Some(at) = panel.at(mean, row) {
        OURS.mark(panel.canvas(), &[at], 4.5);
    }
    let right = values(time).into_iter().fold(mean, f64::max);
    let text = format!("{}{}", seconds(mean), if time.n > 1 { format!(" (n = {})", time.n) } else { String::new() });
    panel.label(right, row, &plain(text));
}

/// Two digits: no more is known of a time.
fn seconds(value: f64) -> String {
    let decimals = if value >= 10.0 { 0 } else if value >= 1.0 { 1 } else { 2 };
    format!("{value:.decimals$} s")
}
