//! How the methods of a figure are told apart: colour, marker and dashes together, so that each alone is enough.
//!
//! The colours are those of Okabe and Ito (2008), which readers with any colour vision tell apart, without their yellow,
//! which is lost on white. More methods than can be told apart in one panel are shown in several.

use std::fmt::Write;

use super::svg::{BLACK, Canvas, Colour, GREY, Stroke, WHITE, number};

pub(super) const BLUE: Colour = "#0072b2";
pub(super) const VERMILLION: Colour = "#d55e00";
pub(super) const GREEN: Colour = "#009e73";
pub(super) const PURPLE: Colour = "#cc79a7";
pub(super) const ORANGE: Colour = "#e69f00";
pub(super) const SKY: Colour = "#56b4e9";

/// Methods in one panel, beside the references.
const TOGETHER_MAX: usize = 6;

/// The outline of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    Inverted,
    Pentagon,
    Plus,
}

/// How one method is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Style {
    pub colour: Colour,
    pub marker: Marker,
    /// Whether the marker is only an outline.
    pub hollow: bool,
    pub dashes: &'static str,
}

/// One method of a panel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    /// Its place among the columns.
    pub column: usize,
    pub style: Style,
}

/// Styles of methods that are compared with each other.
const STYLES: [Style; TOGETHER_MAX] = [
    Style { colour: BLUE, marker: Marker::Circle, hollow: false, dashes: "" },
    Style { colour: VERMILLION, marker: Marker::Square, hollow: false, dashes: "5 1.6" },
    Style { colour: GREEN, marker: Marker::Triangle, hollow: false, dashes: "1.6 1.6" },
    Style { colour: PURPLE, marker: Marker::Diamond, hollow: false, dashes: "6 1.6 1.4 1.6" },
    Style { colour: ORANGE, marker: Marker::Inverted, hollow: false, dashes: "3 1.4" },
    Style { colour: SKY, marker: Marker::Pentagon, hollow: false, dashes: "9 2" },
];

/// Styles of what every method is compared with.
const REFERENCES: [Style; 3] = [
    Style { colour: BLACK, marker: Marker::Circle, hollow: true, dashes: "" },
    Style { colour: BLACK, marker: Marker::Square, hollow: true, dashes: "4 2" },
    Style { colour: GREY, marker: Marker::Plus, hollow: false, dashes: "2 2" },
];

/// The methods in groups that can be told apart, the references first in each. References beyond the third count as
/// methods.
pub(super) fn groups(columns: &[String], references: &[String]) -> Vec<Vec<Series>> {
    let place = |name: &String| columns.iter().position(|column| column == name);
    let mut known: Vec<usize> = Vec::new();
    for column in references.iter().filter_map(place) {
        if known.len() < REFERENCES.len() && !known.contains(&column) {
            known.push(column);
        }
    }
    let common: Vec<Series> = known.iter().zip(REFERENCES).map(|(&column, style)| Series { column, style }).collect();
    let others: Vec<usize> = (0..columns.len()).filter(|column| !known.contains(column)).collect();
    if others.is_empty() {
        return vec![common];
    }
    // As equal as can be: 7 methods are 4 and 3, not 6 and 1.
    let count = others.len().div_ceil(TOGETHER_MAX);
    let (each, larger) = (others.len() / count, others.len() % count);
    let mut rest = others.as_slice();
    let group = |number: usize| {
        let (own, after) = rest.split_at(each + usize::from(number < larger));
        rest = after;
        let own = own.iter().zip(STYLES).map(|(&column, style)| Series { column, style });
        common.iter().cloned().chain(own).collect()
    };
    (0..count).map(group).collect()
}

impl Style {
    /// The method's line.
    pub(super) fn stroke(&self, width: f64) -> Stroke {
        Stroke::new(self.colour, width).dashed(self.dashes)
    }

    /// The method's markers, `size` points across.
    pub(super) fn mark(&self, canvas: &mut Canvas, at: &[(f64, f64)], size: f64) {
        self.mark_each(canvas, at.iter().map(|at| (*at, size)));
    }

    /// As [`Self::mark`], each with a size of its own.
    pub(super) fn mark_each(&self, canvas: &mut Canvas, marks: impl Iterator<Item = ((f64, f64), f64)>) {
        let d: String = marks.map(|(at, size)| self.marker.path(at, size / 2.0)).collect();
        if d.is_empty() {
            return;
        }
        match (self.marker, self.hollow) {
            (Marker::Plus, _) => canvas.outline(&d, Stroke::new(self.colour, 1.1)),
            // What lies below shows through: a reference at 0 hides no method there.
            (_, true) => canvas.outline(&d, Stroke::new(self.colour, 0.9)),
            (_, false) => canvas.shape(&d, self.colour, Stroke::new(WHITE, 0.4)),
        }
    }
}

impl Marker {
    /// Markers of one size look equally large: their areas are nearly equal.
    fn path(self, (x, y): (f64, f64), r: f64) -> String {
        let polygon = |corners: u32, radius: f64, first: f64| {
            let corner = |n: u32| {
                let angle = (first + 360.0 * f64::from(n) / f64::from(corners)).to_radians();
                (x + radius * angle.sin(), y - radius * angle.cos())
            };
            let points: Vec<(f64, f64)> = (0..corners).map(corner).collect();
            format!("{}Z", super::svg::path(&points))
        };
        match self {
            Self::Circle => {
                let (left, across, radius) = (number(x - r), number(2.0 * r), number(r));
                let mut d = format!("M{left} {}", number(y));
                _ = write!(d, "a{radius} {radius} 0 1 0 {across} 0a{radius} {radius} 0 1 0 -{across} 0Z");
                d
            }
            Self::Square => polygon(4, 1.25 * r, 45.0),
            Self::Triangle => polygon(3, 1.4 * r, 0.0),
            Self::Inverted => polygon(3, 1.4 * r, 180.0),
            Self::Diamond => polygon(4, 1.35 * r, 0.0),
            Self::Pentagon => polygon(5, 1.15 * r, 0.0),
            Self::Plus => {
                let (arm, whole) = (number(1.2 * r), number(2.4 * r));
                format!("M{} {}m-{arm} 0h{whole}m-{arm} -{arm}v{whole}", number(x), number(y))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|n| format!("m{n}")).collect()
    }

    #[test]
    fn every_method_is_in_one_group_and_every_reference_in_all() {
        for n in 0..40 {
            let columns = names(n);
            let references = ["m1".to_owned(), "m0".to_owned(), "m1".to_owned(), "absent".to_owned()];
            let groups = groups(&columns, &references);
            let known = n.min(2);
            let mut seen: Vec<usize> = Vec::new();
            for group in &groups {
                assert!(group.len() <= TOGETHER_MAX + known, "{n}");
                assert_eq!(group[..known].iter().map(|s| s.column).collect::<Vec<_>>(), [1, 0][2 - known..], "{n}");
                seen.extend(group[known..].iter().map(|series| series.column));
                for (place, one) in group.iter().enumerate() {
                    let like = |other: &Series| other.style.colour == one.style.colour && one.style.colour != BLACK;
                    assert!(!group[..place].iter().any(like), "a colour is used twice");
                    let same = |other: &Series| {
                        (other.style.marker, other.style.hollow) == (one.style.marker, one.style.hollow)
                    };
                    assert!(!group[..place].iter().any(same), "a marker is used twice");
                }
            }
            seen.sort_unstable();
            assert_eq!(seen, (known..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn groups_are_of_nearly_equal_size() {
        let sizes = |n: usize| groups(&names(n), &[]).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(6), [6]);
        assert_eq!(sizes(7), [4, 3]);
        assert_eq!(sizes(27), [6, 6, 5, 5, 5]);
    }
}
