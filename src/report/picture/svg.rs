//! A picture as SVG: alone, with its own colours for light and dark, or as part of a page that has them.

use maud::{Markup, PreEscaped, html};

use super::layout::{Layout, Line, layout};
use super::{Picture, Shape};
use crate::report::shortened;

const STYLE: &str = include_str!("picture.css");

const HEIGHT: f64 = 30.0;
/// A box with a bar for how far it is.
const HEIGHT_WITH_BAR: f64 = 38.0;
/// Columns of text that fit into a box.
const LABEL_MAX: usize = 38;
/// What a character of the label takes, in an ordinary sans-serif font of 12 pixels.
const CHARACTER: f64 = 6.9;

/// A file of its own.
#[must_use]
pub fn file(picture: &Picture) -> String {
    let style = html! { style { (PreEscaped(STYLE)) } };
    format!("{}\n", svg(picture, Some("http://www.w3.org/2000/svg"), &style).into_string())
}

/// A part of a page, which gives it its colours.
#[must_use]
pub fn part(picture: &Picture) -> Markup {
    svg(picture, None, &html! {})
}

fn svg(picture: &Picture, xmlns: Option<&str>, style: &Markup) -> Markup {
    let sizes: Vec<(f64, f64)> = picture.shapes.iter().map(|shape| size(picture, shape)).collect();
    let from: Vec<Vec<usize>> = picture.shapes.iter().map(|shape| shape.from.clone()).collect();
    let layout = layout(&sizes, &from);
    let (width, height) = layout.size;
    html! {
        svg.graph xmlns=[xmlns] width=(width) height=(height)
            viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(format!("Graph of {}", picture.title)) {
            (style)
            (lines(&layout))
            @for (shape, place) in picture.shapes.iter().zip(&layout.boxes) {
                g class=(format!("stage {}", picture.state(shape).class()))
                    transform=(format!("translate({} {})", place.x, place.y)) {
                    title { (in_words(picture, shape)) }
                    @if shape.nodes > 1 {
                        rect.behind x="3" y="3" width=(place.width) height=(place.height) rx="5" {}
                    }
                    rect.box width=(place.width) height=(place.height) rx="5" {}
                    text x="9" y="19" { (shortened(&shape.name, LABEL_MAX)) @if shape.nodes > 1 { tspan.count { " ×" (shape.nodes) } } }
                    @if has_bar(picture, shape) {
                        @let bar = place.width - 18.0;
                        rect.bar x="9" y=(HEIGHT_WITH_BAR - 10.0) width=(bar) height="3" rx="1.5" {}
                        rect.full x="9" y=(HEIGHT_WITH_BAR - 10.0) height="3" rx="1.5"
                            width=((bar * 10.0 * shape.cached as f64 / shape.nodes as f64).round() / 10.0) {}
                    }
                }
            }
        }
    }
}

fn has_bar(picture: &Picture, shape: &Shape) -> bool {
    picture.states && shape.nodes > 1
}

fn size(picture: &Picture, shape: &Shape) -> (f64, f64) {
    let count = if shape.nodes > 1 { format!(" ×{}", shape.nodes) } else { String::new() };
    let characters = shortened(&shape.name, LABEL_MAX).chars().chain(count.chars()).map(wide).sum::<f64>();
    let height = if has_bar(picture, shape) { HEIGHT_WITH_BAR } else { HEIGHT };
    ((characters * CHARACTER + 20.0).ceil().max(60.0), height)
}

/// Ideographs take twice as much.
fn wide(c: char) -> f64 {
    unicode_width::UnicodeWidthChar::width(c).unwrap_or(0) as f64
}

fn in_words(picture: &Picture, shape: &Shape) -> String {
    let nodes = if shape.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", shape.nodes) };
    let cached = if picture.states { format!(", {} cached", shape.cached) } else { String::new() };
    let fails = if shape.fails > 0 { format!(", {} would fail", shape.fails) } else { String::new() };
    format!("{}: {nodes}{cached}{fails}", shape.name)
}

fn lines(layout: &Layout) -> Markup {
    let paths = |arrow: bool| layout.lines.iter().filter(move |line| line.arrow == arrow).map(path).collect::<String>();
    let heads: String = layout.lines.iter().filter(|line| line.arrow).map(head).collect();
    html! {
        path.edge d=(paths(false)) {}
        path.edge d=(paths(true)) {}
        path.head d=(heads) {}
    }
}

/// A curve that leaves and arrives level.
fn path(line: &Line) -> String {
    let ((x0, y0), (x1, y1)) = (line.from, line.to);
    if y0.to_bits() == y1.to_bits() {
        return format!("M{x0} {y0}H{x1}");
    }
    let middle = (f64::midpoint(x0, x1) * 10.0).round() / 10.0;
    // A line back swings out on both sides.
    let (bend0, bend1) = if x1 > x0 { (middle, middle) } else { (x0 + 60.0, x1 - 60.0) };
    format!("M{x0} {y0}C{bend0} {y0} {bend1} {y1} {x1} {y1}")
}

fn head(line: &Line) -> String {
    let (x, y) = line.to;
    format!("M{x} {y}l-6 -3v6z")
}
