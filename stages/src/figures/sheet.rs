//! A figure from top to bottom: title, explanation, legends, panels, tables, notes. Each thing takes its room and the
//! next follows below. Knows nothing of what the panels show.

use super::style::Style;
use super::svg::{self, BLACK, Canvas, PALE, Rect, Stroke, Text, Type, plain};
use crate::io::StageIo;
use crate::stage::StageError;

/// Width of every figure in points: a page's text, so that print shows it in its own size.
pub(super) const WIDTH: f64 = 480.0;
pub(super) const MARGIN: f64 = 6.0;
/// What lies between the margins.
pub(super) const INNER: f64 = WIDTH - 2.0 * MARGIN;

const TITLE: Type = Type::new(10.5).bold();
const HEADING: Type = Type::new(9.0).bold();
const CAPTION: Type = Type::new(7.5).dark();
const LEGEND: Type = Type::new(7.5);
const LEGEND_LINE: f64 = 11.0;
const TABLE: Type = Type::new(7.5);
/// The widest name in a legend.
const NAME_ROOM: f64 = 150.0;
/// Notes beyond these are counted, not printed.
const NOTES_MAX: usize = 12;

/// A finished drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// The SVG document: no identifiers, no style sheet, a white ground; it can be put into a page as it is.
    pub svg: String,
}

impl Drawing {
    /// The same as a PNG of 300 pixels an inch.
    ///
    /// # Errors
    /// When it is too large to hold.
    pub fn png(&self) -> Result<Vec<u8>, String> {
        super::picture::png(&self.svg)
    }

    /// Writes the outputs that every figure has.
    pub(super) fn write(&self, io: &StageIo) -> Result<(), StageError> {
        io.write("svg", self.svg.as_bytes())?;
        io.write("png", &self.png().map_err(StageError::failed)?)
    }
}

/// What a legend shows beside a name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Swatch {
    /// A line with its marker.
    Line(Style),
    /// A marker.
    Mark(Style),
    /// A filled box.
    Box(svg::Colour),
    /// A level line.
    Level(Stroke),
}

/// A figure in the making.
pub(super) struct Sheet {
    canvas: Canvas,
    /// Down to here it is full.
    y: f64,
    name: String,
}

impl Sheet {
    pub(super) fn new(title: &str, caption: &Text) -> Self {
        let mut sheet = Self { canvas: Canvas::default(), y: MARGIN, name: title.to_owned() };
        if !title.is_empty() {
            sheet.lines(&plain(title), TITLE, 13.0);
            sheet.y += 1.5;
        }
        sheet.lines(caption, CAPTION, 9.5);
        sheet.y += 5.0;
        sheet
    }

    /// Text over the whole width.
    fn lines(&mut self, text: &Text, font: Type, height: f64) {
        for line in svg::wrapped(text, font, INNER) {
            self.y += height;
            self.canvas.text((MARGIN, self.y - height * 0.25), &line, font);
        }
    }

    pub(super) fn heading(&mut self, text: &str) {
        if !text.is_empty() {
            self.y += 3.0;
            self.lines(&plain(text), HEADING, 12.0);
            self.y += 3.0;
        }
    }

    /// Names one after the other, on as many lines as they need.
    pub(super) fn legend(&mut self, entries: &[(Swatch, String)]) {
        let mut x = MARGIN;
        for (swatch, full) in entries {
            let name = svg::fitted(full, LEGEND, NAME_ROOM);
            let width = swatch.width() + 4.0 + svg::width(&plain(name.as_str()), LEGEND);
            if x > MARGIN && x + width > MARGIN + INNER {
                x = MARGIN;
                self.y += LEGEND_LINE;
            }
            self.entry((x, self.y + LEGEND_LINE / 2.0), *swatch, full, name);
            x += width + 13.0;
        }
        self.y += LEGEND_LINE + 4.0;
    }

    /// Names below each other, on the right of a panel that has its room already.
    pub(super) fn legend_at(&mut self, x: f64, top: f64, entries: &[(Swatch, String)]) {
        for (place, (swatch, name)) in entries.iter().enumerate() {
            let y = top + place as f64 * LEGEND_LINE + LEGEND_LINE / 2.0;
            let room = WIDTH - MARGIN - x - swatch.width() - 4.0;
            self.entry((x, y), *swatch, name, svg::fitted(name, LEGEND, room));
        }
    }

    fn entry(&mut self, (x, y): (f64, f64), swatch: Swatch, full: &str, name: String) {
        self.canvas.group(full, |canvas| {
            draw_swatch(canvas, swatch, x, y);
            canvas.text((x + swatch.width() + 4.0, y + LEGEND.size * 0.35), &plain(name), LEGEND);
        });
    }

    /// Takes the room for panels: `above` for their titles, `height` for the panels, `below` for names.
    pub(super) fn row(&mut self, above: f64, height: f64, below: f64) -> (&mut Canvas, f64) {
        let top = self.y + above;
        self.y = top + height + below;
        (&mut self.canvas, top)
    }

    pub(super) fn gap(&mut self, height: f64) {
        self.y += height;
    }

    /// Rows of text under heads, the first column left and the others right; each column as wide as its text.
    pub(super) fn table(&mut self, heads: &[Text], rows: &[Vec<String>]) {
        let cell = |text: &str| svg::width(&plain(text), TABLE);
        let width = |column: usize| {
            let cells = rows.iter().map(|row| cell(&row[column]));
            cells.chain([svg::width(&heads[column], TABLE.bold())]).fold(0.0, f64::max)
        };
        let name_room = width(0).min(NAME_ROOM);
        let mut rights = vec![MARGIN + name_room];
        for column in 1..heads.len() {
            rights.push(rights[column - 1] + 16.0 + width(column));
        }
        let whole = Rect { x: MARGIN, y: self.y, width: rights[heads.len() - 1] - MARGIN, height: 0.0 };
        self.y += 10.0;
        for (column, head) in heads.iter().enumerate() {
            let (x, font) = if column == 0 { (MARGIN, TABLE.bold()) } else { (rights[column], TABLE.bold().end()) };
            self.canvas.text((x, self.y - 2.5), head, font);
        }
        self.canvas.line((whole.x, self.y), (whole.right(), self.y), Stroke::new(BLACK, 0.6));
        for row in rows {
            self.y += 10.0;
            for (column, text) in row.iter().enumerate() {
                if column == 0 {
                    let name = svg::fitted(text, TABLE, name_room);
                    self.canvas.text((MARGIN, self.y - 2.5), &plain(name), TABLE);
                } else {
                    self.canvas.text((rights[column], self.y - 2.5), &plain(svg::minus(text)), TABLE.end());
                }
            }
            self.canvas.line((whole.x, self.y), (whole.right(), self.y), Stroke::new(PALE, 0.4));
        }
        self.y += 4.0;
    }

    /// What a reader must know of missing data.
    pub(super) fn notes(&mut self, notes: &[String]) {
        for note in notes.iter().take(NOTES_MAX) {
            self.lines(&plain(note.as_str()), CAPTION, 9.5);
        }
        if notes.len() > NOTES_MAX {
            self.lines(&plain(format!("And {} more such notes.", notes.len() - NOTES_MAX)), CAPTION, 9.5);
        }
    }

    pub(super) fn finish(self) -> Drawing {
        Drawing { svg: self.canvas.finish(&self.name, WIDTH, (self.y + MARGIN).ceil()) }
    }
}

impl Swatch {
    const fn width(self) -> f64 {
        match self {
            Self::Line(_) | Self::Level(_) => 20.0,
            Self::Mark(_) => 5.0,
            Self::Box(_) => 9.0,
        }
    }
}

fn draw_swatch(canvas: &mut Canvas, swatch: Swatch, x: f64, y: f64) {
    let width = swatch.width();
    let (end, middle) = ((x + width, y), (x + width / 2.0, y));
    match swatch {
        Swatch::Line(style) => {
            canvas.line((x, y), end, style.stroke(1.1));
            style.mark(canvas, &[middle], 4.5);
        }
        Swatch::Mark(style) => style.mark(canvas, &[middle], 4.5),
        Swatch::Box(colour) => canvas.rect(Rect { x, y: y - 3.5, width, height: 7.0 }, colour),
        Swatch::Level(stroke) => canvas.line((x, y), end, stroke),
    }
}

/// Panels of equal size side by side from left to right: where each lies. `lefts` is the room for names on the left of
/// each.
pub(super) fn beside(lefts: &[f64], top: f64, height: f64, gap: f64) -> Vec<Rect> {
    let taken: f64 = lefts.iter().sum::<f64>() + gap * lefts.len().saturating_sub(1) as f64;
    let width = (INNER - taken) / lefts.len().max(1) as f64;
    let mut x = MARGIN;
    lefts
        .iter()
        .map(|left| {
            let plot = Rect { x: x + left, y: top, width, height };
            x = plot.right() + gap;
            plot
        })
        .collect()
}

/// How many panels of equal rank stand side by side.
pub(super) fn columns(panels: usize) -> usize {
    match panels {
        0 | 1 => 1,
        2..=4 => panels,
        5 | 6 => 3,
        7 | 8 => 4,
        _ => 5,
    }
}
