//! The ten glyphs as strokes in a box from -1 to 1. Pairs that resemble each other, as 4 and 9 do among digits, are
//! drawn on purpose: 4 and 9, 1 and 7, 3 and 8, 0 and 6.

use super::raster::{Point, sin_cos_degrees};

/// Number of glyphs.
pub(super) const CLASSES: usize = 10;

/// One stroke of the pen.
pub(super) enum Stroke {
    /// Straight lines from point to point; closed when it ends where it starts.
    Path(&'static [Point]),
    /// A part of an ellipse.
    Arc {
        /// Its middle.
        center: Point,
        /// Half its width and height.
        radii: Point,
        /// First and last angle in degrees: 0 is to the right, 90 is down.
        angles: Point,
    },
}

const FULL: Point = [-90.0, 270.0];

const fn arc(center: Point, radii: Point, angles: Point) -> Stroke {
    Stroke::Arc { center, radii, angles }
}

/// The strokes of every class.
pub(super) const GLYPHS: [&[Stroke]; CLASSES] = [
    // 0: a ring.
    &[arc([0.0, 0.0], [0.62, 0.88], FULL)],
    // 1: a stem with a flag.
    &[Stroke::Path(&[[-0.4, -0.5], [0.08, -0.88], [0.0, 0.9]])],
    // 2: a triangle.
    &[Stroke::Path(&[[0.0, -0.88], [0.72, 0.75], [-0.72, 0.75], [0.0, -0.88]])],
    // 3: two bumps, open to the left.
    &[arc([-0.08, -0.43], [0.5, 0.43], [-150.0, 90.0]), arc([-0.08, 0.45], [0.56, 0.45], [-90.0, 150.0])],
    // 4: an open corner against a stem.
    &[Stroke::Path(&[[-0.3, -0.85], [-0.58, 0.12], [0.62, 0.12]]), Stroke::Path(&[[0.38, -0.75], [0.3, 0.9]])],
    // 5: a cross.
    &[Stroke::Path(&[[0.0, -0.82], [0.0, 0.82]]), Stroke::Path(&[[-0.72, -0.05], [0.72, -0.05]])],
    // 6: a box.
    &[Stroke::Path(&[[-0.6, -0.78], [0.6, -0.78], [0.6, 0.78], [-0.6, 0.78], [-0.6, -0.78]])],
    // 7: a hook.
    &[Stroke::Path(&[[-0.58, -0.75], [0.5, -0.8], [-0.12, 0.9]])],
    // 8: two rings.
    &[arc([0.0, -0.44], [0.46, 0.42], FULL), arc([0.0, 0.45], [0.54, 0.45], FULL)],
    // 9: a ring on a stem.
    &[arc([-0.06, -0.38], [0.48, 0.46], FULL), Stroke::Path(&[[0.42, -0.42], [0.3, 0.9]])],
];

/// Segments in a full turn: at 20 pixels of diameter a corner is off the circle by less than 0.05 pixel.
const SEGMENTS_A_TURN: f64 = 32.0;

impl Stroke {
    /// The stroke as a polyline, each of its defining points first moved by `jitter`.
    pub(super) fn polyline(&self, mut jitter: impl FnMut() -> Point) -> Vec<Point> {
        let mut moved = |point: Point| {
            let [dx, dy] = jitter();
            [point[0] + dx, point[1] + dy]
        };
        match self {
            Self::Path(points) => {
                let mut line: Vec<Point> = points.iter().map(|&point| moved(point)).collect();
                if points.first() == points.last() {
                    line[points.len() - 1] = line[0];
                }
                line
            }
            Self::Arc { center, radii, angles } => {
                let (center, radii) = (moved(*center), moved(*radii));
                let turn = angles[1] - angles[0];
                let segments = (turn / 360.0 * SEGMENTS_A_TURN).ceil();
                (0..=segments as u32)
                    .map(|step| {
                        let (sin, cos) = sin_cos_degrees(angles[0] + turn * f64::from(step) / segments);
                        [center[0] + radii[0] * cos, center[1] + radii[1] * sin]
                    })
                    .collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_glyph_fills_its_box_without_leaving_it() {
        for (class, strokes) in GLYPHS.iter().enumerate() {
            let points: Vec<Point> = strokes.iter().flat_map(|stroke| stroke.polyline(|| [0.0, 0.0])).collect();
            let highest = points.iter().map(|p| p[1]).fold(f64::MAX, f64::min);
            let lowest = points.iter().map(|p| p[1]).fold(f64::MIN, f64::max);
            assert!(lowest - highest > 1.5, "glyph {class} is {} high", lowest - highest);
            assert!(points.iter().flatten().all(|value| value.abs() <= 1.0), "glyph {class} leaves its box");
        }
    }

    #[test]
    fn a_closed_path_stays_closed_when_its_points_move() {
        let mut step = 0.0;
        let line = GLYPHS[6][0].polyline(|| {
            step += 0.01;
            [step, -step]
        });
        assert_eq!(line.first(), line.last());
        assert!(line[0][0] > -0.6 && line[0][1] < -0.78);
    }
}
