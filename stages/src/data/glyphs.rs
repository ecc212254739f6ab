//! `data/glyphs`: ten classes of small grey glyphs, drawn here: a data set for pipelines that must run anywhere.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::{self, Facts};
use super::raster::{Canvas, Point, sin_cos_degrees};
use super::shapes::{CLASSES, GLYPHS};
use super::{in_file_order, on_threads, write_train_and_test};
use crate::dataset::{Dataset, Pixels};
use crate::io::{Progress, StageIo};
use crate::rng;
use crate::stage::{OutputPort, Port, Resources, Stage, StageError};

/// Height and width in pixels.
const SIDE: usize = 28;
/// Half the height of a glyph at scale 1, in pixels.
const HALF: f64 = 10.5;
/// Images drawn between two looks at whether to stop.
const CHUNK: usize = 2000;
/// Most images a part may have.
const MAX_IMAGES: u32 = 1_000_000;

/// Draws 28 x 28 grey images (u8) of ten glyphs. Every run of ten images holds each class once. An image depends on
/// the seed, its part and its place alone, so a smaller set is the beginning of a larger one.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Decides every image.
    pub seed: u64,
    /// Number of training images.
    pub train: u32,
    /// Number of test images.
    pub test: u32,
    /// Largest rotation to either side, in degrees.
    pub rotation_degrees: f64,
    /// Smallest and largest size; at 1 a glyph is about 20 pixels high. Width and height are drawn apart.
    pub scale: [f64; 2],
    /// Largest slant to either side: pixels to the side a pixel of height.
    pub slant: f64,
    /// Largest shift in each direction, in pixels.
    pub shift: f64,
    /// Thinnest and thickest stroke, in pixels.
    pub stroke: [f64; 2],
    /// Largest move of each point that defines a glyph, as a part of half its height.
    pub wobble: f64,
    /// Faintest and strongest ink; 1 is white on black.
    pub contrast: [f64; 2],
    /// Standard deviation of the noise added to every pixel, as a part of white.
    pub noise: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            seed: 0,
            train: 4000,
            test: 1000,
            rotation_degrees: 15.0,
            scale: [0.7, 1.0],
            slant: 0.2,
            shift: 2.0,
            stroke: [1.4, 3.0],
            wobble: 0.14,
            contrast: [0.7, 1.0],
            noise: 0.1,
        }
    }
}

/// See the file.
pub struct Glyphs;

impl Stage for Glyphs {
    type Params = Params;
    const NAME: &'static str = "data/glyphs";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "draws ten classes of 28 x 28 glyphs, some of which resemble each other";
    const INPUTS: &'static [Port] = &[];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort::file("train", "train.safetensors", "training set: u8 images [N, 1, 28, 28] and labels"),
        OutputPort::file("test", "test.safetensors", "test set, in the same form"),
        facts::OUTPUT,
    ];

    fn check(params: &Params) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        for (field, count) in [("train", params.train), ("test", params.test)] {
            if count == 0 || count > MAX_IMAGES {
                problems.push((field, format!("{count} is not between 1 and {MAX_IMAGES}")));
            }
        }
        let single = [
            ("rotation_degrees", params.rotation_degrees, 180.0),
            ("slant", params.slant, 1.0),
            ("shift", params.shift, 10.0),
            ("wobble", params.wobble, 0.5),
            ("noise", params.noise, 1.0),
        ];
        for (field, value, highest) in single {
            if !(0.0..=highest).contains(&value) {
                problems.push((field, format!("{value} is not between 0 and {highest}")));
            }
        }
        let ranges = [
            ("scale", params.scale, [0.2, 1.3]),
            ("stroke", params.stroke, [0.5, 6.0]),
            ("contrast", params.contrast, [0.1, 1.0]),
        ];
        for (field, [low, high], [lowest, highest]) in ranges {
            if !(lowest <= low && low <= high && high <= highest) {
                problems.push((field, format!("[{low}, {high}] is no range between {lowest} and {highest}")));
            }
        }
        problems
    }

    fn resources(_: &Params) -> Resources {
        Resources { cpus: 2, ..Resources::default() }
    }

    fn run(params: Params, io: &mut StageIo) -> Result<(), StageError> {
        let train = draw_part(&params, io, "train", params.train)?;
        let test = draw_part(&params, io, "test", params.test)?;
        Facts::unpublished("glyphs", &train, &test, CLASSES).write(io)?;
        write_train_and_test(io, &train, &test)
    }
}

fn draw_part(params: &Params, io: &mut StageIo, part: &str, count: u32) -> Result<Dataset, StageError> {
    let count = count as usize;
    let labels: Vec<i64> = (0..count.div_ceil(CLASSES)).flat_map(|block| labels(params.seed, part, block)).collect();
    let labels = labels[..count].to_vec();
    let mut pixels: Vec<u8> = Vec::with_capacity(count * SIDE * SIDE);
    let places: Vec<usize> = (0..count).collect();
    for chunk in places.chunks(CHUNK) {
        io.check_cancelled()?;
        let drawn: Vec<Vec<u8>> = on_threads(io, || {
            chunk.par_iter().map(|&place| draw(params, part, place, labels[place] as usize)).collect()
        })?;
        pixels.extend(drawn.into_iter().flatten());
        let done = (pixels.len() / (SIDE * SIDE)) as u64;
        io.progress(Progress { unit: format!("{part} image"), done, total: count as u64, ..Progress::default() });
    }
    Ok(in_file_order([count, 1, SIDE, SIDE], Pixels::U8(pixels), labels))
}

/// The labels of ten images in a row: every class once.
fn labels(seed: u64, part: &str, block: usize) -> impl Iterator<Item = i64> {
    let order = rng::permutation(&mut rng::stream(seed, &format!("glyphs/{part}/labels-{block}")), CLASSES);
    order.into_iter().map(|class| class as i64)
}

/// Draws one image from a stream of its own.
fn draw(params: &Params, part: &str, place: usize, class: usize) -> Vec<u8> {
    let mut draws = Draws(rng::stream(params.seed, &format!("glyphs/{part}/image-{place}")));
    let view = View::draw(params, &mut draws);
    let width = draws.between(params.stroke);
    let ink = draws.between(params.contrast);
    let mut canvas = Canvas::new(SIDE);
    for stroke in GLYPHS[class] {
        let line = stroke.polyline(|| [draws.around_zero(params.wobble), draws.around_zero(params.wobble)]);
        let line: Vec<Point> = line.into_iter().map(|point| view.place(point)).collect();
        canvas.stroke(&line, width);
    }
    let noisy = |cover: f64| (cover * ink + params.noise * draws.normal()).clamp(0.0, 1.0);
    canvas.into_pixels().into_iter().map(noisy).map(|value| (value * 255.0).round() as u8).collect()
}

/// Where a glyph's box lies in the image: an affine map.
struct View {
    rows: [Point; 2],
    center: Point,
}

impl View {
    fn draw(params: &Params, draws: &mut Draws) -> Self {
        let (sin, cos) = sin_cos_degrees(draws.around_zero(params.rotation_degrees));
        let [width, height] = [0, 1].map(|_| HALF * draws.between(params.scale));
        let slant = draws.around_zero(params.slant);
        let middle = SIDE as f64 / 2.0;
        let center = [0, 1].map(|_| middle + draws.around_zero(params.shift));
        // Scaled, then slanted (x - slant * y), then rotated.
        let (x, y) = ([width, -slant * height], [0.0, height]);
        Self {
            rows: [
                [cos * x[0] - sin * y[0], cos * x[1] - sin * y[1]],
                [sin * x[0] + cos * y[0], sin * x[1] + cos * y[1]],
            ],
            center,
        }
    }

    fn place(&self, point: Point) -> Point {
        [0, 1].map(|axis| self.center[axis] + self.rows[axis][0] * point[0] + self.rows[axis][1] * point[1])
    }
}

/// Random numbers made of the stream's integers by exact arithmetic.
struct Draws(ChaCha20Rng);

impl Draws {
    /// Uniform in [0, 1), a multiple of 2^-53.
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.unit()
    }

    fn around_zero(&mut self, most: f64) -> f64 {
        self.between([-most, most])
    }

    /// Nearly normal, mean 0 and deviation 1: the sum of four uniform 16-bit numbers, whose logarithm-free arithmetic
    /// is exact everywhere. Never beyond 3.5.
    fn normal(&mut self) -> f64 {
        let word = self.0.next_u64();
        let sum: u64 = (0..4).map(|part| (word >> (16 * part)) & 0xffff).sum();
        // Each part has mean 65535/2 and a variance of nearly 65536^2/12; four add up to 65536^2/3.
        (sum as f64 - 131_070.0) / 65_536.0 * 3.0_f64.sqrt()
    }
}
