//! One panel: its axes, and marks put where they belong by value. Knows nothing of what is shown and of other panels.

use super::scale::{Axis, Scale};
use super::style::{Marker, Style};
use super::svg::{self, BLACK, Canvas, GREY, PALE, Rect, Stroke, Text, Type};

/// Names of ticks, of axes, and of panels.
pub(super) const TICKS: Type = Type::new(7.0).dark();
const AXES: Type = Type::new(7.5);
pub(super) const TITLE: Type = Type::new(8.0).bold();
pub(super) const BESIDE: Type = Type::new(7.0).dark();

const TICK_LENGTH: f64 = 2.5;
/// Room between a tick's name and its axis.
const TICK_GAP: f64 = 4.0;
/// Height of a line of an axis's name, with the gap before it.
const AXIS_LINE: f64 = 10.5;
/// The longest name of a part that is written out.
const PART_ROOM: f64 = 54.0;
/// Parts closer than this share a name.
const PART_PITCH: f64 = 7.0;
/// Room above a panel for its title.
pub(super) const TITLE_HEIGHT: f64 = 13.0;

/// What is written around a panel.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// Above it, on the left.
    pub title: Text,
    /// Above it, on the right.
    pub beside: Text,
    /// Whether the axis below names its ticks and itself.
    pub names_x: bool,
    /// Whether the axis on the left does.
    pub names_y: bool,
    /// Whether names of ticks below are written upwards.
    pub upwards: bool,
}

/// A panel whose axes are drawn.
pub(super) struct Panel<'a> {
    canvas: &'a mut Canvas,
    plot: Rect,
    x: &'a Axis,
    y: &'a Axis,
}

/// Room that the names on the left of a panel take.
pub(super) fn room_left(y: &Axis) -> f64 {
    let widest = y.ticks.iter().map(|tick| svg::width(&tick.label, TICKS)).fold(0.0, f64::max);
    widest + TICK_GAP + if y.label.is_empty() { 0.0 } else { AXIS_LINE }
}

/// Room that the names below a panel take.
pub(super) fn room_below(x: &Axis, upwards: bool) -> f64 {
    let longest = || {
        let widths = x.ticks.iter().map(|tick| svg::width(&shortened(&tick.label), TICKS));
        widths.fold(0.0, f64::max)
    };
    let ticks = if upwards { longest() } else { TICKS.size };
    ticks + TICK_GAP + 1.0 + if x.label.is_empty() { 0.0 } else { AXIS_LINE }
}

/// The name of a part, cut where it is too long to be written upwards.
fn shortened(label: &Text) -> Text {
    match label.as_slice() {
        [svg::Span::Plain(text)] => svg::plain(svg::fitted(text, TICKS, PART_ROOM)),
        _ => label.clone(),
    }
}

impl<'a> Panel<'a> {
    /// Draws the axes around `plot`; names are written outside it.
    pub(super) fn new(canvas: &'a mut Canvas, plot: Rect, x: &'a Axis, y: &'a Axis, look: &Look) -> Self {
        let mut panel = Self { canvas, plot, x, y };
        panel.guides();
        panel.frame();
        panel.titles(look);
        panel.below(look);
        panel.left(look);
        panel
    }

    fn across(&self, place: f64) -> f64 {
        self.plot.x + place * self.plot.width
    }

    fn up(&self, place: f64) -> f64 {
        self.plot.bottom() - place * self.plot.height
    }

    /// Lines that guide the eye from the ticks of the left axis; the line of exact zeros stands out.
    fn guides(&mut self) {
        let (left, right) = (self.plot.x, self.plot.right());
        for tick in &self.y.ticks {
            let y = self.up(tick.at);
            self.canvas.line((left, y), (right, y), Stroke::new(PALE, 0.5));
        }
        if self.y.scale.gap().is_some()
            && let Some(zero) = self.y.scale.place(0.0)
        {
            let y = self.up(zero);
            self.canvas.line((left, y), (right, y), Stroke::new(GREY, 0.7).dashed("1 1.5"));
        }
    }

    fn frame(&mut self) {
        let (left, right, top, bottom) = (self.plot.x, self.plot.right(), self.plot.y, self.plot.bottom());
        let stroke = Stroke::new(BLACK, 0.7);
        self.canvas.line((left, bottom), (right, bottom), stroke);
        let Some(gap) = self.y.scale.gap() else {
            self.canvas.line((left, top), (left, bottom), stroke);
            return;
        };
        // Two strokes across the axis say that it is broken between 0 and the logarithms.
        let y = self.up(gap);
        self.canvas.line((left, top), (left, y - 1.5), stroke);
        self.canvas.line((left, y + 1.5), (left, bottom), stroke);
        for shift in [-1.5, 1.5] {
            self.canvas.line((left - 2.5, y + shift + 1.2), (left + 2.5, y + shift - 1.2), stroke);
        }
    }

    fn titles(&mut self, look: &Look) {
        let y = self.plot.y - 4.5;
        self.canvas.text((self.plot.x, y), &look.title, TITLE);
        if !look.beside.is_empty() {
            self.canvas.text((self.plot.right(), y), &look.beside, BESIDE.end());
        }
    }

    fn below(&mut self, look: &Look) {
        let bottom = self.plot.bottom();
        let part = matches!(self.x.scale, Scale::Parts(_));
        let pitch = self.plot.width / self.x.ticks.len().max(1) as f64;
        let every = if part { (PART_PITCH / pitch).ceil().max(1.0) as usize } else { 1 };
        for (place, tick) in self.x.ticks.iter().enumerate() {
            let x = self.across(tick.at);
            self.canvas.line((x, bottom), (x, bottom + TICK_LENGTH), Stroke::new(BLACK, 0.6));
            if !look.names_x || place % every != 0 {
                continue;
            }
            if look.upwards {
                let at = (x + TICKS.size * 0.35, bottom + TICK_GAP);
                self.canvas.text(at, &shortened(&tick.label), TICKS.end().turned(90.0));
            } else {
                self.canvas.text((x, bottom + TICK_GAP + TICKS.size * 0.85), &tick.label, TICKS.middle());
            }
        }
        if look.names_x {
            let y = bottom + room_below(self.x, look.upwards) - 1.5;
            let at = (self.plot.x + self.plot.width / 2.0, y);
            self.canvas.text(at, &self.x.label, AXES.middle());
        }
    }

    fn left(&mut self, look: &Look) {
        let left = self.plot.x;
        for tick in &self.y.ticks {
            let y = self.up(tick.at);
            self.canvas.line((left - TICK_LENGTH, y), (left, y), Stroke::new(BLACK, 0.6));
            if look.names_y {
                self.canvas.text((left - TICK_GAP, y + TICKS.size * 0.35), &tick.label, TICKS.end());
            }
        }
        if look.names_y && !self.y.label.is_empty() {
            let at = (left - room_left(self.y) + AXES.size * 0.8, self.plot.y + self.plot.height / 2.0);
            self.canvas.text(at, &self.y.label, AXES.middle().turned(90.0));
        }
    }

    /// Where a pair of values lies; what is out of range lies on the edge.
    pub(super) fn at(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        let inside = |place: f64| place.clamp(0.0, 1.0);
        Some((self.across(inside(self.x.scale.place(x)?)), self.up(inside(self.y.scale.place(y)?))))
    }

    /// The places of points that have one.
    pub(super) fn places(&self, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
        points.iter().filter_map(|(x, y)| self.at(*x, *y)).collect()
    }

    /// A line with markers through the points. A point without a value breaks the line.
    pub(super) fn series(&mut self, name: &str, style: Style, points: &[(f64, Option<f64>)], size: f64) {
        let places: Vec<Option<(f64, f64)>> = points.iter().map(|(x, y)| self.at(*x, (*y)?)).collect();
        self.canvas.group(name, |canvas| {
            for whole in places.split(Option::is_none) {
                let whole: Vec<(f64, f64)> = whole.iter().copied().flatten().collect();
                canvas.polyline(&whole, style.stroke(1.1));
            }
            let all: Vec<(f64, f64)> = places.iter().copied().flatten().collect();
            style.mark(canvas, &all, size);
        });
    }

    /// A band between two values at each x.
    pub(super) fn band(&mut self, style: Style, points: &[(f64, f64, f64)]) {
        let high = points.iter().filter_map(|(x, _, high)| self.at(*x, *high));
        let low = points.iter().rev().filter_map(|(x, low, _)| self.at(*x, *low));
        let outline: Vec<(f64, f64)> = high.chain(low).collect();
        if outline.len() >= 4 {
            self.canvas.area(&format!("{}Z", svg::path(&outline)), style.colour, 0.13);
        }
    }

    /// A horizontal line over the whole width.
    pub(super) fn level(&mut self, y: f64, stroke: Stroke) {
        if let Some((_, y)) = self.at(0.0, y) {
            self.canvas.line((self.plot.x, y), (self.plot.right(), y), stroke);
        }
    }

    /// Bars from 0, one for each part, as wide as `share` of the part.
    pub(super) fn bars(&mut self, values: &[f64], colour: svg::Colour, share: f64) {
        let width = share * self.plot.width / values.len().max(1) as f64;
        for (part, &value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
            if let (Some((x, top)), Some((_, bottom))) = (self.at(part as f64, value), self.at(part as f64, 0.0)) {
                self.canvas.rect(Rect { x: x - width / 2.0, y: top, width, height: bottom - top }, colour);
            }
        }
    }

    /// A level line over each part, joined into steps.
    pub(super) fn steps(&mut self, values: &[f64], stroke: Stroke) {
        let half = self.plot.width / values.len().max(1) as f64 / 2.0;
        let level = |(part, &value): (usize, &f64)| {
            let (x, y) = self.at(part as f64, value)?;
            Some([(x - half, y), (x + half, y)])
        };
        let points: Vec<(f64, f64)> = values.iter().enumerate().filter_map(level).flatten().collect();
        self.canvas.polyline(&points, stroke);
    }

    /// A line in the background, with small marks.
    pub(super) fn context(&mut self, points: &[(f64, f64)]) {
        let places = self.places(points);
        self.canvas.polyline(&places, Stroke::new(PALE, 1.0));
        let style = Style { colour: PALE, marker: Marker::Circle, hollow: false, dashes: "" };
        style.mark(self.canvas, &places, 3.0);
    }

    /// As [`Self::series`], with marks of different sizes.
    pub(super) fn trace(&mut self, name: &str, style: Style, points: &[Option<(f64, f64)>], sizes: &[f64]) {
        let places: Vec<_> = points.iter().map(|point| point.and_then(|(x, y)| self.at(x, y))).collect();
        self.canvas.group(name, |canvas| {
            let line: Vec<(f64, f64)> = places.iter().copied().flatten().collect();
            canvas.polyline(&line, style.stroke(1.0));
            let marks = places.iter().zip(sizes).filter_map(|(place, size)| Some(((*place)?, *size)));
            style.mark_each(canvas, marks);
        });
    }

    /// A level line between two values.
    pub(super) fn whisker(&mut self, y: f64, (low, high): (f64, f64), colour: svg::Colour) {
        let least = self.at(low, y).or_else(|| Some((self.plot.x, self.at(high, y)?.1)));
        if let (Some(from), Some(to)) = (least, self.at(high, y)) {
            self.canvas.line(from, to, Stroke::new(colour, 1.0));
        }
    }

    /// Text on the right of the panel.
    pub(super) fn label(&mut self, y: f64, text: &Text) {
        if let Some(up) = self.y.scale.place(y) {
            let at = (self.plot.right() + 5.0, self.up(up) + TICKS.size * 0.35);
            self.canvas.text(at, text, TICKS);
        }
    }

    /// Draws what the panel has no word for.
    pub(super) fn canvas(&mut self) -> &mut Canvas {
        self.canvas
    }
}
