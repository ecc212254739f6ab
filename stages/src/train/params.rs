//! The params that trainers share: their types, defaults and ranges, and the [`Recipe`] that collects them.
//!
//! Knows nothing of tensors, so the engine can read and check every trainer's params without libtorch.

use rand_chacha::ChaCha20Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rng;

/// A param that is out of range: (dotted path of the field, what is wrong).
pub type Problem = (&'static str, String);

/// Stochastic gradient descent as PyTorch defines it: g = gradient + `weight_decay` w; v = `momentum` v + g
/// (v = g in the first step); w = w - lr v, or with Nesterov's momentum w = w - lr (g + `momentum` v).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// Learning rate, above 0.
    pub lr: f64,
    /// Momentum, from 0 to below 1.
    #[serde(default = "Optimizer::usual_momentum")]
    pub momentum: f64,
    /// Weight decay (L2 penalty, added to the gradient), 0 or more. Must be written wherever `optimizer` is.
    pub weight_decay: f64,
    /// Nesterov's momentum.
    #[serde(default)]
    pub nesterov: bool,
}

impl Optimizer {
    /// Momentum 0.9, no Nesterov.
    #[must_use]
    pub const fn new(lr: f64, weight_decay: f64) -> Self {
        Self { lr, momentum: 0.9, weight_decay, nesterov: false }
    }

    pub(crate) const fn usual_momentum() -> f64 {
        0.9
    }
}

/// What a recipe says of its optimizer: [`Optimizer`], [`super::adam::AdamSettings`], or nothing (`()`) where passes are
/// made without one or with several.
pub trait Rule {
    /// Adds what is out of range.
    fn check(&self, problems: &mut Vec<Problem>);
}

impl Rule for Optimizer {
    fn check(&self, problems: &mut Vec<Problem>) {
        positive("optimizer.lr", self.lr, problems);
        momentum_in_range("optimizer.momentum", self.momentum, problems);
        not_negative("optimizer.weight_decay", self.weight_decay, problems);
        if self.nesterov && self.momentum == 0.0 {
            problems.push(("optimizer.nesterov", "needs a momentum above 0".to_owned()));
        }
    }
}

impl Rule for () {
    fn check(&self, _problems: &mut Vec<Problem>) {}
}

/// The order in which an epoch goes through the samples. The last batch may be smaller; none is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// A new permutation each epoch, decided by `seed`.
    #[default]
    Shuffled,
    /// As stored.
    Sequential,
}

/// Which statistics BatchNorm normalises by while training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchNorm {
    /// Those of the batch; the running statistics move (PyTorch's train mode).
    #[default]
    Train,
    /// The running statistics, which stay as they are (eval mode); scale and shift are trained all the same.
    Frozen,
}

/// The arithmetic, the same on every device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 64-bit throughout.
    F64,
    /// 32-bit throughout; never TF32.
    #[default]
    F32,
    /// 32-bit; the inputs and weights of convolutions are rounded to 10 bits of mantissa (NVIDIA's TF32).
    Tf32,
    /// 32-bit; the inputs and weights of convolutions and matrix products are rounded to bfloat16.
    Bf16,
}

/// Random changes of the training images; none when left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Pixels of padding on each side before a crop of the image's own size is cut out at a random place; 0: no crop.
    #[serde(default)]
    pub crop_padding: u32,
    /// Pad by reflection instead of zeros.
    #[serde(default)]
    pub reflect: bool,
    /// Mirror left and right with probability 1/2.
    #[serde(default)]
    pub flip: bool,
    /// Take a random part of the stored image (8 % to all of its area, width over height from 3/4 to 4/3) and resize it,
    /// bilinear and antialiased, to the network's input: torchvision's `RandomResizedCrop` with its defaults.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schemars(extend("default" = false))]
    pub random_resized_crop: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl Augment {
    /// Whether images are left as they are.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.crop_padding == 0 && !self.flip && !self.random_resized_crop
    }
}

/// Pixels p, in [0, 1], enter the network as (p - mean) / std; one number a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Normalise {
    /// The mean of each channel.
    pub mean: Vec<f64>,
    /// The standard deviation of each channel, above 0.
    pub std: Vec<f64>,
}

/// What every trainer does around its loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe<R = Optimizer> {
    /// Passes over the data.
    pub epochs: u32,
    /// Samples a step.
    pub batch_size: u32,
    /// The step's rule.
    pub optimizer: R,
    /// Whether every epoch starts with a fresh optimizer (zero momentum).
    pub momentum_reset: bool,
    /// The order of the samples.
    pub order: Order,
    /// Changes of the images.
    pub augment: Augment,
    /// BatchNorm's statistics.
    pub batch_norm: BatchNorm,
    /// Decides order and augmentation.
    pub seed: u64,
    /// Prefix of every random stream: trainers with the same prefix and seed draw the same order.
    pub purpose: &'static str,
}

impl<R: Rule> Recipe<R> {
    /// The random stream of this recipe for one purpose.
    #[must_use]
    pub fn stream(&self, purpose: &str) -> ChaCha20Rng {
        rng::stream(self.seed, &format!("{}{purpose}", self.purpose))
    }

    /// What is out of range.
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = self.check_passes();
        self.optimizer.check(&mut problems);
        problems
    }

    /// As [`Self::check`], without the optimizer: for methods whose optimizers have fields of their own.
    #[must_use]
    pub fn check_passes(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = Vec::new();
        at_least_one("epochs", self.epochs, &mut problems);
        at_least_one("batch_size", self.batch_size, &mut problems);
        check_augment(&self.augment, &mut problems);
        problems
    }

    /// As [`Self::check`], with the network's normalisation.
    #[must_use]
    pub fn check_with(&self, normalise: Option<&Normalise>) -> Vec<Problem> {
        let mut problems = self.check();
        check_normalise(normalise, &mut problems);
        problems
    }
}

pub(crate) fn at_least_one(field: &'static str, value: u32, problems: &mut Vec<Problem>) {
    if value == 0 {
        problems.push((field, "is 0; at least 1 is needed".to_owned()));
    }
}

pub(crate) fn positive(field: &'static str, value: f64, problems: &mut Vec<Problem>) {
    if !(value.is_finite() && value > 0.0) {
        problems.push((field, format!("is {value}; a finite number above 0 is needed")));
    }
}

pub(crate) fn not_negative(field: &'static str, value: f64, problems: &mut Vec<Problem>) {
    if !(value.is_finite() && value >= 0.0) {
        problems.push((field, format!("is {value}; a finite number of 0 or more is needed")));
    }
}

pub(crate) fn momentum_in_range(field: &'static str, value: f64, problems: &mut Vec<Problem>) {
    if !(0.0..1.0).contains(&value) {
        problems.push((field, format!("is {value}; 0 <= momentum < 1 is needed")));
    }
}

pub(crate) fn fraction(field: &'static str, value: f64, problems: &mut Vec<Problem>) {
    if !(value > 0.0 && value <= 1.0) {
        problems.push((field, format!("is {value}; a number above 0 and at most 1 is needed")));
    }
}

fn check_augment(augment: &Augment, problems: &mut Vec<Problem>) {
    // The smallest images here are 28 pixels wide, and reflection cannot reach beyond the opposite edge.
    if augment.crop_padding > 27 {
        problems.push(("augment.crop_padding", format!("is {}; at most 27 makes sense", augment.crop_padding)));
    }
    if augment.reflect && augment.crop_padding == 0 {
        problems.push(("augment.reflect", "needs a crop_padding above 0".to_owned()));
    }
    if augment.random_resized_crop && augment.crop_padding > 0 {
        problems.push(("augment.random_resized_crop", "takes the place of crop_padding; give one of them".to_owned()));
    }
}

pub(crate) fn check_normalise(normalise: Option<&Normalise>, problems: &mut Vec<Problem>) {
    let Some(Normalise { mean, std }) = normalise else { return };
    if mean.len() != std.len() || mean.is_empty() {
        let problem = format!("has {} means and {} deviations; one of each a channel is needed", mean.len(), std.len());
        problems.push(("normalise", problem));
    }
    if mean.iter().any(|m| !m.is_finite()) {
        problems.push(("normalise.mean", "must be finite".to_owned()));
    }
    if std.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
        problems.push(("normalise.std", "must be finite and above 0".to_owned()));
    }
}

pub(crate) const fn usual_seed() -> u64 {
    7
}

pub(crate) const fn frozen_batch_norm() -> BatchNorm {
    BatchNorm::Frozen
}

pub(crate) const fn ten_epochs() -> u32 {
    10
}

pub(crate) const fn batches_of_64() -> u32 {
    64
}

pub(crate) const fn batches_of_128() -> u32 {
    128
}

pub(crate) const fn batches_of_256() -> u32 {
    256
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        Recipe {
            epochs: 1,
            batch_size: 1,
            optimizer: Optimizer::new(0.01, 0.0),
            momentum_reset: false,
            order: Order::Shuffled,
            augment: Augment::default(),
            batch_norm: BatchNorm::Train,
            seed: 7,
            purpose: "",
        }
    }

    #[test]
    fn a_usual_recipe_has_no_problem_and_every_bad_field_is_named() {
        assert_eq!(recipe().check(), Vec::new());
        let bad = Recipe {
            epochs: 0,
            batch_size: 0,
            optimizer: Optimizer { lr: f64::INFINITY, momentum: 1.0, weight_decay: -1.0, nesterov: false },
            augment: Augment { reflect: true, ..Augment::default() },
            ..recipe()
        };
        let fields: Vec<_> = bad.check().into_iter().map(|(field, _)| field).collect();
        let expected =
            ["epochs", "batch_size", "augment.reflect", "optimizer.lr", "optimizer.momentum", "optimizer.weight_decay"];
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_crop_is_either_padded_or_resized_and_one_left_out_is_not_written() {
        let both = Augment { crop_padding: 4, random_resized_crop: true, ..Augment::default() };
        let problems = Recipe { augment: both, ..recipe() }.check();
        assert_eq!(problems[0].0, "augment.random_resized_crop");
        let text = serde_json::to_string(&Augment::default()).unwrap();
        assert_eq!(text, r#"{"crop_padding":0,"reflect":false,"flip":false}"#);
        assert!(!Augment { random_resized_crop: true, ..Augment::default() }.is_none());
    }

    #[test]
    fn normalisation_needs_one_positive_deviation_a_channel() {
        let check = |mean: &[f64], std: &[f64]| {
            let mut problems = Vec::new();
            check_normalise(Some(&Normalise { mean: mean.to_vec(), std: std.to_vec() }), &mut problems);
            problems.len()
        };
        assert_eq!(check(&[0.5], &[0.2]), 0);
        assert_eq!(check(&[0.5], &[0.2, 0.2]), 1);
        assert_eq!(check(&[0.5], &[0.0]), 1);
    }
}
