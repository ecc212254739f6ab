//! Strokes to grey pixels, by the distance of every pixel's centre to the line segments of the stroke.
//!
//! Computes in f64 with + - * / and square roots alone, which IEEE 754 rounds the same everywhere: unlike the sines of
//! a machine's libm, these give the same bytes on every machine. Knows nothing of glyphs.

/// A point: x to the right, y downwards.
pub(super) type Point = [f64; 2];

/// A square grey image, `side` pixels a side, in [0, 1].
pub(super) struct Canvas {
    side: usize,
    pixels: Vec<f64>,
}

impl Canvas {
    /// A black canvas.
    pub(super) fn new(side: usize) -> Self {
        Self { side, pixels: vec![0.0; side * side] }
    }

    /// Draws a polyline with round ends and joints; `width` in pixels. Pixel (0, 0) has its centre at (0.5, 0.5).
    /// A pixel's edge is softened over one pixel; strokes that cross do not add up.
    pub(super) fn stroke(&mut self, line: &[Point], width: f64) {
        for pair in line.windows(2) {
            self.segment(pair[0], pair[1], width);
        }
    }

    fn segment(&mut self, from: Point, to: Point, width: f64) {
        let reach = width / 2.0 + 1.0;
        let [columns, rows] = [0, 1].map(|axis| {
            let low = (from[axis].min(to[axis]) - reach).floor().clamp(0.0, self.side as f64) as usize;
            let high = (from[axis].max(to[axis]) + reach).ceil().clamp(0.0, self.side as f64) as usize;
            low..high
        });
        for row in rows {
            for column in columns.clone() {
                let distance = distance([column as f64 + 0.5, row as f64 + 0.5], from, to);
                let cover = (width / 2.0 - distance + 0.5).clamp(0.0, 1.0);
                let pixel = &mut self.pixels[row * self.side + column];
                *pixel = pixel.max(cover);
            }
        }
    }

    /// The pixels, row by row.
    pub(super) fn into_pixels(self) -> Vec<f64> {
        self.pixels
    }
}

/// The distance from `p` to the segment between `a` and `b`.
fn distance(p: Point, a: Point, b: Point) -> f64 {
    let [ab_x, ab_y] = [b[0] - a[0], b[1] - a[1]];
    let [ap_x, ap_y] = [p[0] - a[0], p[1] - a[1]];
    let length_squared = ab_x * ab_x + ab_y * ab_y;
    let along = if length_squared > 0.0 { ((ap_x * ab_x + ap_y * ab_y) / length_squared).clamp(0.0, 1.0) } else { 0.0 };
    let [x, y] = [ap_x - along * ab_x, ap_y - along * ab_y];
    (x * x + y * y).sqrt()
}

/// Sine and cosine of an angle in degrees, within 1e-14 for angles up to some turns: the same bits everywhere.
pub(super) fn sin_cos_degrees(degrees: f64) -> (f64, f64) {
    let quarters = (degrees / 90.0).round();
    let x = (degrees - quarters * 90.0) * (std::f64::consts::PI / 180.0);
    // Taylor series on [-pi/4, pi/4], from the highest power down: the first term left out is below 1e-16.
    let square = x * x;
    let series = |divisors: [f64; 8]| divisors.iter().fold(1.0, |sum, divisor| 1.0 - square / divisor * sum);
    let sin = x * series([272.0, 210.0, 156.0, 110.0, 72.0, 42.0, 20.0, 6.0]);
    let cos = series([240.0, 182.0, 132.0, 90.0, 56.0, 30.0, 12.0, 2.0]);
    match (quarters as i64).rem_euclid(4) {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sine_and_cosine_agree_with_the_machines() {
        for tenth in -7200..7200 {
            let degrees = f64::from(tenth) / 10.0;
            let (sin, cos) = sin_cos_degrees(degrees);
            let radians = degrees.to_radians();
            assert!((sin - radians.sin()).abs() < 1e-14 && (cos - radians.cos()).abs() < 1e-14, "{degrees}");
        }
    }

    #[test]
    fn a_stroke_two_pixels_wide_covers_two_rows_in_full_and_nothing_beyond() {
        let mut canvas = Canvas::new(8);
        canvas.stroke(&[[-4.0, 4.0], [12.0, 4.0]], 2.0);
        let rows: Vec<f64> = canvas.into_pixels().chunks(8).map(|row| row.iter().sum::<f64>() / 8.0).collect();
        assert_eq!(rows, [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_point_is_a_disc_and_distances_end_at_the_ends() {
        assert!((distance([3.0, 4.0], [0.0, 0.0], [0.0, 0.0]) - 5.0).abs() < 1e-12);
        assert!((distance([5.0, 3.0], [0.0, 0.0], [1.0, 0.0]) - 5.0).abs() < 1e-12);
        assert!((distance([0.5, 2.0], [0.0, 0.0], [1.0, 0.0]) - 2.0).abs() < 1e-12);
    }
}
