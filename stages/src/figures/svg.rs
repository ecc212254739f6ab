//! A drawing as an SVG document: shapes and text in points, y downwards.
//!
//! Only plain elements with attributes of their own: no style sheet, no script, no identifier, nothing from outside. Many
//! drawings fit into one page without touching it or each other. All text from outside is escaped here and only here.
//! Knows nothing of axes and data.

use std::fmt::Write;

use super::font;

/// Families with the same widths as the one embedded, so that a drawing looks the same wherever it is shown.
const FAMILIES: &str = "Arimo, 'Liberation Sans', Arial, Helvetica, sans-serif";
/// By how much a subscript is smaller, lower, or as an exponent higher, in parts of the size.
const SMALL: f64 = 0.72;
const LOWER: f64 = 0.2;
const HIGHER: f64 = 0.38;

/// A colour as `#rrggbb`.
pub(super) type Colour = &'static str;

pub(super) const BLACK: Colour = "#000000";
pub(super) const WHITE: Colour = "#ffffff";
/// Text beside the point.
pub(super) const DARK: Colour = "#404040";
/// Marks of context; still seen in print.
pub(super) const GREY: Colour = "#8c8c8c";
/// Lines that only guide the eye.
pub(super) const PALE: Colour = "#dedede";

/// A piece of text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Span {
    Plain(String),
    /// A letter in italics with a subscript, perhaps an empty one.
    Symbol(&'static str, &'static str),
    /// A power of ten.
    Power(i32),
}

/// A line of text.
pub(super) type Text = Vec<Span>;

/// Text without symbols.
pub(super) fn plain(text: impl Into<String>) -> Text {
    vec![Span::Plain(text.into())]
}

/// How text is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Type {
    pub size: f64,
    pub bold: bool,
    pub colour: Colour,
    pub anchor: Anchor,
    /// Degrees counterclockwise about the anchor.
    pub turned: f64,
}

/// Which point of the text lies where it is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Type {
    pub(super) const fn new(size: f64) -> Self {
        Self { size, bold: false, colour: BLACK, anchor: Anchor::Start, turned: 0.0 }
    }

    pub(super) const fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(super) const fn dark(self) -> Self {
        Self { colour: DARK, ..self }
    }

    pub(super) const fn middle(self) -> Self {
        Self { anchor: Anchor::Middle, ..self }
    }

    pub(super) const fn end(self) -> Self {
        Self { anchor: Anchor::End, ..self }
    }

    pub(super) const fn turned(self, degrees: f64) -> Self {
        Self { turned: degrees, ..self }
    }
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stroke {
    pub colour: Colour,
    pub width: f64,
    /// Lengths of dashes and gaps, as the attribute `stroke-dasharray` has them; empty for a whole line.
    pub dashes: &'static str,
}

impl Stroke {
    pub(super) const fn new(colour: Colour, width: f64) -> Self {
        Self { colour, width, dashes: "" }
    }

    pub(super) const fn dashed(self, dashes: &'static str) -> Self {
        Self { dashes, ..self }
    }

    fn attributes(&self) -> String {
        let mut text = format!("stroke=\"{}\" stroke-width=\"{}\"", self.colour, number(self.width));
        if !self.dashes.is_empty() {
            _ = write!(text, " stroke-dasharray=\"{}\"", self.dashes);
        }
        text
    }
}

/// A rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Rect {
    pub(super) fn right(&self) -> f64 {
        self.x + self.width
    }

    pub(super) fn bottom(&self) -> f64 {
        self.y + self.height
    }
}

/// The elements drawn so far, later ones above earlier ones.
#[derive(Default)]
pub(super) struct Canvas {
    body: String,
}

impl Canvas {
    pub(super) fn rect(&mut self, rect: Rect, fill: Colour) {
        let Rect { x, y, width, height } = rect;
        let [x, y, width, height] = [x, y, width, height].map(number);
        self.push(&format!("<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\"/>"));
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: Stroke) {
        self.polyline(&[from, to], stroke);
    }

    /// Nothing for fewer than two points.
    pub(super) fn polyline(&mut self, points: &[(f64, f64)], stroke: Stroke) {
        if points.len() >= 2 {
            self.outline(&path(points), stroke);
        }
    }

    /// A path that is not filled.
    pub(super) fn outline(&mut self, d: &str, stroke: Stroke) {
        let attributes = stroke.attributes();
        self.push(&format!("<path d=\"{d}\" fill=\"none\" {attributes} stroke-linejoin=\"round\"/>"));
    }

    /// A path that is filled, as light as `opacity` says.
    pub(super) fn area(&mut self, d: &str, fill: Colour, opacity: f64) {
        self.push(&format!("<path d=\"{d}\" fill=\"{fill}\" fill-opacity=\"{}\"/>", number(opacity)));
    }

    /// A path that is filled and has a line around it.
    pub(super) fn shape(&mut self, d: &str, fill: Colour, stroke: Stroke) {
        self.push(&format!("<path d=\"{d}\" fill=\"{fill}\" {}/>", stroke.attributes()));
    }

    /// Short lines with round ends: with no length they are dots.
    pub(super) fn dots(&mut self, d: &str, stroke: Stroke, opacity: f64) {
        let (attributes, opacity) = (stroke.attributes(), number(opacity));
        self.push(&format!(
            "<path d=\"{d}\" fill=\"none\" {attributes} stroke-linecap=\"round\" stroke-opacity=\"{opacity}\"/>"
        ));
    }

    /// What is drawn meanwhile belongs together and shows `name` when pointed at.
    pub(super) fn group(&mut self, name: &str, draw: impl FnOnce(&mut Self)) {
        self.push(&format!("<g><title>{}</title>", escape(name)));
        draw(self);
        self.push("</g>");
    }

    pub(super) fn text(&mut self, at: (f64, f64), text: &[Span], font: Type) {
        let (x, y) = (number(at.0), number(at.1));
        let mut attributes =
            format!("x=\"{x}\" y=\"{y}\" font-size=\"{}\" fill=\"{}\"", number(font.size), font.colour);
        if font.bold {
            attributes.push_str(" font-weight=\"bold\"");
        }
        match font.anchor {
            Anchor::Start => {}
            Anchor::Middle => attributes.push_str(" text-anchor=\"middle\""),
            Anchor::End => attributes.push_str(" text-anchor=\"end\""),
        }
        if font.turned != 0.0 {
            _ = write!(attributes, " transform=\"rotate({} {x} {y})\"", number(-font.turned));
        }
        let line = spans(text, font);
        self.push(&format!("<text {attributes}>{line}</text>"));
    }

    fn push(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    /// The whole document; `name` is what a reader hears who cannot see it.
    pub(super) fn finish(self, name: &str, width: f64, height: f64) -> String {
        let (w, h) = (number(width), number(height));
        let name = escape(name);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}pt\" height=\"{h}pt\" viewBox=\"0 0 {w} {h}\" \
             role=\"img\" aria-label=\"{name}\" font-family=\"{FAMILIES}\">\n<title>{name}</title>\n\
             <rect x=\"0\" y=\"0\" width=\"{w}\" height=\"{h}\" fill=\"{WHITE}\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// The attribute `d` of a line through points.
pub(super) fn path(points: &[(f64, f64)]) -> String {
    let mut d = String::new();
    for (place, (x, y)) in points.iter().enumerate() {
        _ = write!(d, "{}{} {}", if place == 0 { 'M' } else { 'L' }, number(*x), number(*y));
    }
    d
}

/// The attribute `d` of short lines that all begin somewhere else; places are rounded to a tenth of a point, because there
/// are thousands of them.
pub(super) fn specks(at: &[(f64, f64)], line: &str) -> String {
    let mut path = String::new();
    for (x, y) in at {
        path.push_str(&format!("M{x:.1} {y:.1}{line}"));
    }
    path
}

/// At most two decimals: a hundredth of a point is seen by nobody.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn spans(text: &[Span], font: Type) -> String {
    let (mut line, size) = (String::new(), font.size);
    // The embedded font has no bold italics, and a machine's own would be of another width.
    let italic = if font.bold { " font-style=\"italic\" font-weight=\"normal\"" } else { " font-style=\"italic\"" };
    // How far the last span moved the baseline: the next one moves it back.
    let mut moved = 0.0;
    let back = |moved: f64| if moved == 0.0 { String::new() } else { format!(" dy=\"{}\"", number(-moved)) };
    let small = number(size * SMALL);
    for span in text {
        match span {
            Span::Plain(text) if moved == 0.0 => line.push_str(&escape(text)),
            Span::Plain(text) => _ = write!(line, "<tspan{}>{}</tspan>", back(moved), escape(text)),
            Span::Symbol(letter, _) => {
                _ = write!(line, "<tspan{}{italic}>{}</tspan>", back(moved), escape(letter));
            }
            Span::Power(_) => _ = write!(line, "<tspan{}>10</tspan>", back(moved)),
        }
        moved = 0.0;
        let (shift, beside, style) = match span {
            Span::Symbol(_, below) if !below.is_empty() => (size * LOWER, (*below).to_owned(), italic),
            Span::Power(exponent) => (-size * HIGHER, minus(&exponent.to_string()), ""),
            _ => continue,
        };
        _ = write!(line, "<tspan dy=\"{}\" font-size=\"{small}\"{style}>{}</tspan>", number(shift), escape(&beside));
        moved = shift;
    }
    line
}

/// A number's text with the sign that is as wide as a digit.
pub(super) fn minus(text: &str) -> String {
    text.replace('-', "\u{2212}")
}

/// How wide a line is.
pub(super) fn width(text: &[Span], font: Type) -> f64 {
    let of = |text: &str, size: f64| font::width(text, font.bold) * size;
    let italic = |text: &str, size: f64| font::width(text, false) * size;
    text.iter()
        .map(|span| match span {
            Span::Plain(text) => of(&printable(text), font.size),
            Span::Symbol(letter, below) => italic(letter, font.size) + italic(below, font.size * SMALL),
            Span::Power(exponent) => of("10", font.size) + of(&minus(&exponent.to_string()), font.size * SMALL),
        })
        .sum()
}

/// The text, cut and ended with three dots where it is wider than `room`.
pub(super) fn fitted(text: &str, font: Type, room: f64) -> String {
    let text = printable(text);
    let is_fitting = |text: &str| font::width(text, font.bold) * font.size <= room;
    if is_fitting(&text) {
        return text;
    }
    let mut ends = text.char_indices().map(|(at, _)| at).rev();
    let cut = |end: usize| format!("{}\u{2026}", text[..end].trim_end());
    ends.find_map(|end| Some(cut(end)).filter(|short| is_fitting(short))).unwrap_or_else(|| "\u{2026}".to_owned())
}

/// The text broken between words into lines no wider than `room`; a longer word has a line of its own.
pub(super) fn wrapped(text: &[Span], font: Type, room: f64) -> Vec<Text> {
    let mut lines: Vec<Text> = Vec::new();
    let mut line = Text::new();
    for word in words(text) {
        let mut longer = line.clone();
        longer.extend(word.iter().cloned());
        if !line.is_empty() && width(&trimmed(&longer), font) > room {
            lines.push(trimmed(&line));
            line = word;
        } else {
            line = longer;
        }
    }
    lines.push(trimmed(&line));
    lines.retain(|line| !line.is_empty());
    lines
}

/// Pieces that stay on one line, each with the space after it.
fn words(text: &[Span]) -> Vec<Text> {
    let mut words: Vec<Text> = vec![Text::new()];
    for span in text {
        let Span::Plain(text) = span else {
            words.last_mut().expect("there is always one").push(span.clone());
            continue;
        };
        for piece in text.split_inclusive(' ') {
            words.last_mut().expect("there is always one").push(Span::Plain(piece.to_owned()));
            if piece.ends_with(' ') {
                words.push(Text::new());
            }
        }
    }
    words
}

/// Without a space at the end; neighbouring plain spans become one.
fn trimmed(line: &[Span]) -> Text {
    let mut joined = Text::new();
    for span in line {
        match (joined.last_mut(), span) {
            (Some(Span::Plain(before)), Span::Plain(text)) => before.push_str(text),
            _ => joined.push(span.clone()),
        }
    }
    if let Some(Span::Plain(last)) = joined.last_mut() {
        last.truncate(last.trim_end().len());
        if last.is_empty() {
            joined.pop();
        }
    }
    joined
}

/// Without what XML forbids, and without marks that would turn the rest of the line round.
fn printable(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let forbidden = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    text.chars().map(|c| if turns(c) || forbidden(c) { ' ' } else { c }).collect()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        assert_eq!(escape("a<b> & \"c\"\u{1b}[2J\u{202e}x"), "a&lt;b&gt; &amp; &quot;c&quot; [2J x");
        let mut canvas = Canvas::default();
        canvas.text((1.0, 2.0), &plain("</text><script>"), Type::new(8.0));
        let svg = canvas.finish("\"/><x", 10.0, 10.0);
        assert!(svg.contains("&lt;/text&gt;&lt;script&gt;</text>"), "{svg}");
        assert!(svg.contains("aria-label=\"&quot;/&gt;&lt;x\""), "{svg}");
    }

    #[test]
    fn numbers_are_short_and_never_negative_zero() {
        assert_eq!([1.0, -0.001, 2.505, 1.1999, 100.0].map(number), ["1", "0", "2.5", "1.2", "100"]);
    }

    #[test]
    fn the_baseline_comes_back_after_a_subscript_and_an_exponent() {
        let text = [Span::Symbol("A", "f"), Span::Plain(" at ".to_owned()), Span::Power(-3), Span::Power(2)];
        let line = spans(&text, Type::new(10.0));
        let shifts: Vec<&str> = line.match_indices("dy=\"").map(|(at, _)| &line[at + 4..at + 8]).collect();
        assert_eq!(shifts, ["2\" f", "-2\">", "-3.8", "3.8\"", "-3.8"], "{line}");
        assert!(line.contains(">\u{2212}3</tspan>"), "{line}");
    }

    #[test]
    fn lines_are_broken_between_words_only_and_lose_nothing() {
        let text = vec![Span::Plain("one two ".to_owned()), Span::Symbol("A", "f"), Span::Plain(", four".to_owned())];
        let font = Type::new(10.0);
        let lines = wrapped(&text, font, 45.0);
        assert_eq!(lines, [plain("one two"), vec![Span::Symbol("A", "f"), Span::Plain(", four".to_owned())],]);
        assert!(lines.iter().all(|line| width(line, font) <= 45.0));
        assert_eq!(wrapped(&plain("incomprehensibilities no"), font, 20.0).len(), 2);
    }

    #[test]
    fn long_names_are_cut_to_the_room_there_is() {
        let font = Type::new(8.0);
        let short = fitted("boundary_shrink_with_a_long_name", font, 60.0);
        assert!(short.starts_with("boundary") && short.ends_with('\u{2026}'), "{short}");
        assert!(width(&plain(short), font) <= 60.0);
        assert_eq!(fitted("pru", font, 60.0), "pru");
    }
}
