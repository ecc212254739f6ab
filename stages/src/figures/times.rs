//! How long methods take, on a logarithmic axis (Figure S1 of the PRU paper). Not a stage: times are in the records of nodes,
//! never in artifacts, so that only the engine knows them.

use super::panel::{self, Look, Panel, TITLE_HEIGHT};
use super::scale::Axis;
use super::sheet::{self, Drawing, Sheet, Swatch};
use super::style::{BLUE, Marker, Style};
use super::svg::{self, BLACK, Rect, Text, plain};

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
    let counts = common_n(settings).is_none();
    for settings in settings.chunks(BESIDE) {
        let mut methods: Vec<String> = Vec::new();
        for time in settings.iter().flat_map(|setting| &setting.times) {
            if !methods.contains(&time.method) {
                methods.push(time.method.clone());
            }
        }
        draw_row(&mut sheet, settings, &methods, &x, counts);
    }
    sheet.notes(notes);
    sheet.finish()
}

fn caption(settings: &[Setting]) -> String {
    let mut text = "Seconds of unlearning, logarithmic; nodes that ran alone on their machine.".to_owned();
    if settings.iter().flat_map(|setting| &setting.times).any(|time| time.half_width.is_some()) {
        text.push_str(" Lines are 95 % intervals of the mean.");
    }
    if let Some(n) = common_n(settings) {
        text.push_str(&format!(" Each value is the mean of {n} node{}.", if n == 1 { "" } else { "s" }));
    }
    text
}

/// The number of nodes that every value is over, if it is one number.
fn common_n(settings: &[Setting]) -> Option<usize> {
    let mut all = settings.iter().flat_map(|setting| &setting.times).filter(|time| time.seconds.is_some());
    let first = all.next()?.n;
    all.all(|time| time.n == first).then_some(first)
}

/// All that is drawn of a time.
fn values(time: &Time) -> Vec<f64> {
    let half = time.half_width.unwrap_or(0.0);
    let ends = time.seconds.into_iter().flat_map(|mean| [mean - half, mean, mean + half]);
    ends.chain(time.published).filter(|value| value.is_finite() && *value > 0.0).collect()
}

fn draw_row(sheet: &mut Sheet, settings: &[Setting], methods: &[String], x: &Axis, counts: bool) {
    // The first method is on top.
    let names: Vec<String> = methods.iter().rev().map(|name| svg::fitted(name, panel::TICKS, 120.0)).collect();
    let y = Axis::parts(Text::new(), &names);
    let height = ROW * methods.len() as f64;
    let mut lefts = vec![0.0; settings.len()];
    lefts[0] = panel::room_left(&y);
    let texts =
        settings.iter().flat_map(|setting| &setting.times).map(|time| svg::width(&value(time, counts), panel::TICKS));
    let room = texts.fold(0.0, f64::max) + 8.0;
    let (canvas, top) = sheet.row(TITLE_HEIGHT, height, panel::room_below(x, false) + 8.0);
    let plots = sheet::beside(&lefts, top, height, GAP);
    for (place, (setting, whole)) in settings.iter().zip(plots).enumerate() {
        let title = plain(svg::fitted(&setting.name, panel::TITLE, whole.width));
        // The values are written on the right of each panel.
        let plot = Rect { width: (whole.width - room).max(40.0), ..whole };
        let look = Look { title, names_x: true, names_y: place == 0, ..Look::default() };
        let mut panel = Panel::new(canvas, plot, x, &y, &look);
        for (row, method) in methods.iter().rev().enumerate() {
            let row = row as f64;
            let time = setting.times.iter().find(|time| time.method == *method);
            if let Some(time) = time {
                draw_time(&mut panel, row, time);
            }
            panel.label(row, &time.map_or_else(not_measured, |time| value(time, counts)));
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
}

fn not_measured() -> Text {
    plain("not measured")
}

/// The value in words; `counts` says whether with the number of nodes.
fn value(time: &Time, counts: bool) -> Text {
    let Some(mean) = time.seconds.filter(|mean| mean.is_finite() && *mean > 0.0) else { return not_measured() };
    // Two digits: no more is known of a time.
    let decimals = if mean >= 10.0 { 0 } else { 1 + usize::from(mean < 1.0) };
    let nodes = if counts { format!(" (n = {})", time.n) } else { String::new() };
    plain(format!("{mean:.decimals$} s{nodes}"))
}
