//! Resizing on the device, each image of a batch its own part: bilinear with antialiasing, as torchvision resizes
//! tensors (`interpolate(mode="bilinear", antialias=True, align_corners=False)`), in float, without rounding to bytes.
//!
//! Pixel centres lie at j + 1/2. An output pixel is the weighted mean of the stored pixels of its part, with weights
//! max(0, 1 - |distance| / s): distance from the output pixel's centre in stored pixels, s = max(1, stored pixels an
//! output pixel). Rows and columns are weighted apart, so a batch is two products of matrices.

use tch::{Device, Kind, Tensor};

use crate::model::view::{Side, View};

/// A part of an image: in stored pixels, inside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rectangle {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// A part of each of n images, and which images are mirrored, on the device.
pub struct Parts {
    /// First row, rows, first column, columns: float64 [n] each.
    bounds: [Tensor; 4],
    /// 1 where left and right are exchanged, else 0: float64 [n].
    mirrored: Tensor,
}

impl Parts {
    /// One part and whether it is mirrored for each image.
    #[must_use]
    pub fn new(parts: &[(Rectangle, bool)], device: Device) -> Self {
        let on_device = |value: &dyn Fn(&(Rectangle, bool)) -> usize| {
            let values: Vec<f64> = parts.iter().map(|part| value(part) as f64).collect();
            Tensor::from_slice(&values).to_device(device)
        };
        Self {
            bounds: [
                on_device(&|(part, _)| part.top),
                on_device(&|(part, _)| part.height),
                on_device(&|(part, _)| part.left),
                on_device(&|(part, _)| part.width),
            ],
            mirrored: on_device(&|(_, mirrored)| usize::from(*mirrored)),
        }
    }

    /// Those of the images from `start` on.
    #[must_use]
    pub fn narrow(&self, start: i64, count: i64) -> Self {
        let narrow = |values: &Tensor| values.narrow(0, start, count);
        Self { bounds: self.bounds.each_ref().map(narrow), mirrored: narrow(&self.mirrored) }
    }

    /// Each image's part, resized to `rows` and `columns`: [n, channels, height, width] to [n, channels, seen rows,
    /// seen columns]. A single part is that of every image.
    ///
    /// # Panics
    /// When there are neither one nor n parts.
    pub fn resample(&self, x: &Tensor, [rows, columns]: [Side; 2]) -> Tensor {
        let &[_, _, height, width] = x.size().as_slice() else { unreachable!("images have four dimensions") };
        let [top, part_height, left, part_width] = &self.bounds;
        let rows = weights(rows, top, part_height, &self.mirrored.zeros_like(), height);
        let columns = weights(columns, left, part_width, &self.mirrored, width);
        let [rows, columns] = [rows, columns].map(|weights| weights.to_kind(x.kind()).unsqueeze(1));
        rows.matmul(x).matmul(&columns.transpose(2, 3))
    }
}

/// Stored images as `view` shows them.
pub fn show(x: &Tensor, view: View) -> Tensor {
    if view == View::AsStored {
        return x.shallow_clone();
    }
    let &[_, _, height, width] = x.size().as_slice() else { unreachable!("images have four dimensions") };
    let (height, width) = (height as usize, width as usize);
    let whole = Rectangle { top: 0, left: 0, height, width };
    Parts::new(&[(whole, false)], x.device()).resample(x, view.sides(height, width))
}

/// How much each of `stored` pixels counts for each seen pixel of a side: float64 [n, seen, stored]. `start`, `length`
/// and `mirrored`: [n].
fn weights(side: Side, start: &Tensor, length: &Tensor, mirrored: &Tensor, stored: i64) -> Tensor {
    let options = (Kind::Double, start.device());
    let column = |values: &Tensor| values.view([-1, 1, 1]);
    let (start, length, mirrored) = (column(start), column(length), column(mirrored));
    let seen = (Tensor::arange(side.count as i64, options) + side.first as f64).view([1, -1, 1]);
    let across = (2 * side.first + side.count) as f64 - 1.0;
    let seen = &seen + (across - &seen * 2.0) * mirrored;
    let scale = &length / side.length as f64;
    let centre = (seen + 0.5) * &scale + &start;
    let pixel = Tensor::arange(stored, options).view([1, 1, -1]);
    let distance: Tensor = (&pixel + 0.5 - centre) / scale.clamp_min(1.0);
    let inside = pixel.ge_tensor(&start).logical_and(&pixel.lt_tensor(&(start + length)));
    let weights: Tensor = 1.0 - distance.abs();
    let weights = weights.clamp_min(0.0) * inside;
    let sum = weights.sum_dim_intlist([2_i64].as_slice(), true, Kind::Double);
    weights / sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(x: &Tensor) -> Vec<f64> {
        Vec::try_from(x.flatten(0, -1).to_kind(Kind::Double)).unwrap()
    }

    fn image(rows: i64, columns: i64) -> Tensor {
        let pixels: Vec<f64> = (0..rows * columns).map(|i| (i * 37 % 101) as f64).collect();
        Tensor::from_slice(&pixels).view([1, 1, rows, columns])
    }

    fn whole(height: usize, width: usize) -> Rectangle {
        Rectangle { top: 0, left: 0, height, width }
    }

    fn sides(height: usize, width: usize) -> [Side; 2] {
        [height, width].map(|length| Side { length, first: 0, count: length })
    }

    #[test]
    fn an_image_of_the_right_size_stays_as_it_is_bit_by_bit() {
        for kind in [Kind::Float, Kind::Double] {
            let x = image(9, 7).to_kind(kind) / 255.0;
            let parts = Parts::new(&[(whole(9, 7), false)], Device::Cpu);
            assert_eq!(values(&parts.resample(&x, sides(9, 7))), values(&x));
            assert_eq!(values(&show(&image(8, 8), View::Resized { shorter: 8, crop: 8 })), values(&image(8, 8)));
        }
    }

    #[test]
    fn weights_are_those_of_the_definition_upwards_and_downwards() {
        let row = |pixels: &[f64], to: usize| {
            let x = Tensor::from_slice(pixels).view([1, 1, 1, -1]);
            let parts = Parts::new(&[(whole(1, pixels.len()), false)], Device::Cpu);
            values(&parts.resample(&x, sides(1, to)))
        };
        // Twice as large: centres at 1/4, 3/4, 5/4, 7/4; the ends have one neighbour only.
        assert_eq!(row(&[0.0, 4.0], 4), [0.0, 1.0, 3.0, 4.0]);
        // Half as large, s = 2: centres at 1 and 3, weights 3/4, 3/4, 1/4 (and 1/4 on the other side), normalised.
        let expected = [(3.0 * 1.0 + 3.0 * 2.0 + 4.0) / 7.0, (2.0 + 3.0 * 4.0 + 3.0 * 8.0) / 7.0];
        let down = row(&[1.0, 2.0, 4.0, 8.0], 2);
        assert!(down.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-14), "{down:?}");
    }

    #[test]
    fn each_image_gets_its_own_part_and_nothing_from_outside_it() {
        let (x, part) = (image(12, 10), Rectangle { top: 3, left: 2, height: 5, width: 7 });
        let alone = x.narrow(2, 3, 5).narrow(3, 2, 7);
        let both = Tensor::cat(&[&x, &x], 0);
        let parts = Parts::new(&[(whole(12, 10), false), (part, true)], Device::Cpu);
        let seen = parts.resample(&both, sides(6, 9));
        let expected = Parts::new(&[(whole(5, 7), false)], Device::Cpu).resample(&alone, sides(6, 9));
        let difference = (seen.narrow(0, 1, 1) - expected.flip([3])).abs().max().double_value(&[]);
        assert!(difference < 1e-12, "{difference:e}");
        assert_eq!(values(&parts.narrow(1, 1).resample(&x, sides(6, 9))), values(&seen.narrow(0, 1, 1)));
    }
}
