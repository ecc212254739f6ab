//! Random changes of training images: drawn here in Rust, a sample at a time in the order of the pass, and made on the
//! device for a whole batch.
//!
//! Knows nothing of labels and epochs. Crops and flips alone move pixels and compute none.

use rand::Rng;
use tch::{Device, Kind, Tensor};

use super::params::{Augment, Recipe, Rule};
use super::resample::{Parts, Rectangle, show};
use crate::model::view::{Side, View};

/// torchvision's defaults for `RandomResizedCrop`: share of the image's area, and width over height.
const AREA: [f64; 2] = [0.08, 1.0];
const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

/// How often it draws a part that does not fit before it takes the centre.
const TRIES: usize = 10;

/// The random changes of one pass, one of each a sample, in the order of the pass.
pub struct Changes<'a> {
    augment: &'a Augment,
    crop: Crop,
    view: View,
}

enum Crop {
    /// Rows and columns to begin the crop of the padded image at, and whether to mirror (0 or 1): i64 [N] each.
    Padded { top: Tensor, left: Tensor, mirror: Tensor },
    /// A part of each image, to be resized to the network's input.
    Resized(Parts),
}

impl<'a> Changes<'a> {
    /// For `count` images of `size` (height and width) that a network sees through `view`.
    #[must_use]
    pub fn draw<R: Rule>(
        recipe: &'a Recipe<R>,
        pass: &str,
        count: usize,
        size: [usize; 2],
        view: View,
        device: Device,
    ) -> Self {
        let mut stream = recipe.stream(&format!("augment/{pass}"));
        let augment = &recipe.augment;
        let crop = if augment.random_resized_crop {
            let draw = |_| {
                let part = random_part(&mut || stream.random(), size);
                (part, augment.flip && stream.random::<bool>())
            };
            Crop::Resized(Parts::new(&(0..count).map(draw).collect::<Vec<_>>(), device))
        } else {
            let most = 2 * i64::from(augment.crop_padding);
            let (mut top, mut left, mut mirror) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..count {
                top.push(stream.random_range(0..=most));
                left.push(stream.random_range(0..=most));
                mirror.push(i64::from(augment.flip && stream.random::<bool>()));
            }
            let on_device = |values: &[i64]| Tensor::from_slice(values).to_device(device);
            Crop::Padded { top: on_device(&top), left: on_device(&left), mirror: on_device(&mirror) }
        };
        Self { augment, crop, view }
    }

    /// The network's input from the stored images of the batch whose first sample is the `start`-th of the pass.
    pub fn apply(&self, x: &Tensor, start: i64) -> Tensor {
        let &[n, _, height, width] = x.size().as_slice() else { unreachable!("images have four dimensions") };
        match &self.crop {
            Crop::Resized(parts) => {
                let whole = |length| Side { length, first: 0, count: length };
                parts.narrow(start, n).resample(x, self.view.input_size(height as usize, width as usize).map(whole))
            }
            Crop::Padded { top, left, mirror } => {
                let drawn = [top, left, mirror].map(|values| values.narrow(0, start, n).view([n, 1]));
                show(&self.cropped(x, &drawn), self.view)
            }
        }
    }

    fn cropped(&self, x: &Tensor, [top, left, mirror]: &[Tensor; 3]) -> Tensor {
        let &[n, _, height, width] = x.size().as_slice() else { unreachable!("images have four dimensions") };
        let padding = i64::from(self.augment.crop_padding);
        let padded = match (padding, self.augment.reflect) {
            (0, _) => x.shallow_clone(),
            (p, true) => x.reflection_pad2d([p; 4]),
            (p, false) => x.constant_pad_nd([p; 4]),
        };
        let options = (Kind::Int64, x.device());
        let rows: Tensor = Tensor::arange(height, options).view([1, height]) + top;
        let columns = Tensor::arange(width, options).view([1, width]);
        let columns: Tensor = &columns * (1 - mirror) + (width - 1 - &columns) * mirror + left;
        let sample = Tensor::arange(n, options).view([n, 1, 1]);
        // Index tensors on both sides of a whole dimension put that dimension last: [n, H, W, C].
        let index = [Some(sample), None, Some(rows.view([n, height, 1])), Some(columns.view([n, 1, width]))];
        padded.index(&index).permute([0, 3, 1, 2]).contiguous()
    }
}

/// The part that torchvision's `RandomResizedCrop` would take of an image (Szegedy et al. 2015): its area is a
/// uniform share, the logarithm of its width over its height uniform. Each call of `uniform` gives a number from 0 to
/// below 1: for the area, the ratio, and, when the part fits, its first row and column.
pub fn random_part(uniform: &mut dyn FnMut() -> f64, [height, width]: [usize; 2]) -> Rectangle {
    let mut between = |[low, high]: [f64; 2]| low + (high - low) * uniform();
    let whole = (height * width) as f64;
    for _ in 0..TRIES {
        let area = whole * between(AREA);
        let ratio = between(RATIO.map(f64::ln)).exp();
        let part_width = (area * ratio).sqrt().round_ties_even() as usize;
        let part_height = (area / ratio).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&part_width) && (1..=height).contains(&part_height) {
            let top = between([0.0, (height - part_height + 1) as f64]) as usize;
            let left = between([0.0, (width - part_width + 1) as f64]) as usize;
            return Rectangle { top, left, height: part_height, width: part_width };
        }
    }
    let ratio = width as f64 / height as f64;
    let (mut part_height, mut part_width) = (height, width);
    if ratio < RATIO[0] {
        part_height = (width as f64 / RATIO[0]).round_ties_even() as usize;
    } else if ratio > RATIO[1] {
        part_width = (height as f64 * RATIO[1]).round_ties_even() as usize;
    }
    let (top, left) = ((height - part_height) / 2, (width - part_width) / 2);
    Rectangle { top, left, height: part_height, width: part_width }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn parts_lie_within_the_image_and_their_areas_and_ratios_are_spread_as_published() {
        let mut stream = rng::stream(7, "parts");
        let (height, width) = (200, 240);
        let parts: Vec<_> = (0..4000).map(|_| random_part(&mut || stream.random(), [height, width])).collect();
        assert!(parts.iter().all(|p| p.top + p.height <= height && p.left + p.width <= width));
        let areas: Vec<f64> = parts.iter().map(|p| (p.height * p.width) as f64 / (height * width) as f64).collect();
        assert!(areas.iter().all(|area| (0.075..=1.0).contains(area)));
        // Uniform shares, of which the largest fit less often.
        let small = areas.iter().filter(|area| **area < 0.31).count() as f64 / 4000.0;
        assert!((0.24..0.36).contains(&small), "{small}");
        let ratios: Vec<f64> = parts.iter().map(|p| p.width as f64 / p.height as f64).collect();
        assert!(ratios.iter().all(|ratio| (0.72..=1.38).contains(ratio)));
        let wide = ratios.iter().filter(|ratio| **ratio > 1.0).count() as f64 / 4000.0;
        assert!((0.47..0.58).contains(&wide), "{wide}");
        assert!(parts.iter().any(|p| p.top == 0) && parts.iter().any(|p| p.top + p.height == height));
    }
}
