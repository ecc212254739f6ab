//! `unlearn/jit`: just-in-time unlearning: makes the network flat around the forget images (Lipschitz regularisation).
//!
//! Foster and others, "Zero-shot machine unlearning at scale via Lipschitz regularization", arXiv:2402.01401. With
//! z = f(x) and `noises` copies x' = clamp(x + sigma n) of x, each with normal noise n of its own,
//!
//! loss = mean over copies of the sum over samples of |z - f(x')| / |x' - x|,
//!
//! Euclidean norms of flattened samples; f(x') carries no gradient. The clamp is to the smallest and largest pixel of
//! the batch. A norm of a zero difference has gradient 0, and where x' = x the term is 0. All forwards are in the mode of
//! `batch_norm`, the one of x first, so in train mode the running statistics see the noisy images too. Labels are never
//! used. Needs forget data. Pixels are those in [0, 1], before normalisation. `noises`, `sigma`, rate and the single
//! epoch are those of the method's code for VGG16; the batch is that of the PRU paper's methods.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/jit`.
pub struct Jit;

/// Settings of just-in-time unlearning.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Passes over the forget data.
    #[serde(default = "one_epoch")]
    pub epochs: u32,
    /// Samples a step.
    #[serde(default = "params::batches_of_128")]
    pub batch_size: u32,
    /// The step's rule.
    #[serde(default = "usual_optimizer")]
    pub optimizer: Optimizer,
    /// Noisy copies of each image.
    #[serde(default = "usual_noises")]
    pub noises: u32,
    /// Standard deviation of the noise, in units of pixels from 0 to 1.
    #[serde(default = "usual_sigma")]
    pub sigma: f64,
    /// Order of the samples.
    #[serde(default)]
    pub order: Order,
    /// Random changes of the images.
    #[serde(default)]
    pub augment: Augment,
    /// Per-channel normalisation; as in training.
    #[serde(default)]
    pub normalise: Option<Normalise>,
    /// BatchNorm's statistics while training.
    #[serde(default)]
    pub batch_norm: BatchNorm,
    /// The arithmetic.
    #[serde(default)]
    pub precision: Precision,
    /// Decides the noise, the order and the augmentation.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

const fn one_epoch() -> u32 {
    1
}

const fn usual_noises() -> u32 {
    25
}

const fn usual_sigma() -> f64 {
    0.5
}

const fn usual_optimizer() -> Optimizer {
    Optimizer::new(3e-4, 0.0)
}

impl Params {
    fn recipe(&self) -> Recipe {
        Recipe {
            epochs: self.epochs,
            batch_size: self.batch_size,
            optimizer: self.optimizer.clone(),
            momentum_reset: false,
            order: self.order,
            augment: self.augment.clone(),
            batch_norm: self.batch_norm,
            seed: self.seed,
            purpose: "unlearn/",
        }
    }
}

impl Stage for Jit {
    type Params = Params;

    const NAME: &'static str = "unlearn/jit";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Makes the network flat around the forget images (just-in-time unlearning).";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network that is to forget"), Port::data("data", Sees::Forget, "the forget data")];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_with(params.normalise.as_ref());
        params::at_least_one("noises", params.noises, &mut problems);
        params::positive("sigma", params.sigma, &mut problems);
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let (network, images) = super::open(io, params.precision, params.normalise.as_ref(), params.forget_class)?;
        torch::unlearn(&network, &images, &params, &torch::drawn_noise(&params), io)?;
        crate::train::session::save_network(io, &network)
    }
}

#[cfg(feature = "torch")]
pub use torch::{drawn_noise, noisy, slopes, step, unlearn};

#[cfg(feature = "torch")]
mod torch {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use rand_chacha::ChaCha20Rng;
    use tch::{Tensor, no_grad};

    use super::Params;
    use crate::model::network::Network;
    use crate::rng;
    use crate::stage::StageError;
    use crate::train::fit::{Observer, Step, fit};
    use crate::train::images::{Batch, Images};

    /// Noise of mean 0 and deviation 1: (epoch from 1, batch, copy from 1) to a tensor of the shape of the batch's pixels.
    pub type Noise<'a> = dyn Fn(u32, &Batch, u32) -> Tensor + 'a;

    /// Normal noise, drawn in the order of the epoch, each copy from a stream of its own.
    pub fn drawn_noise(params: &Params) -> impl Fn(u32, &Batch, u32) -> Tensor {
        let recipe = params.recipe();
        let streams: RefCell<BTreeMap<(u32, u32), ChaCha20Rng>> = RefCell::default();
        move |epoch, batch, copy| {
            let mut streams = streams.borrow_mut();
            let fresh = || recipe.stream(&format!("jit/epoch-{epoch}/copy-{copy}"));
            let noise = rng::normal(streams.entry((epoch, copy)).or_insert_with(fresh), batch.pixels.numel());
            Tensor::from_slice(&noise)
                .view(batch.pixels.size().as_slice())
                .to_kind(batch.pixels.kind())
                .to_device(batch.pixels.device())
        }
    }

    /// The images x with `noise` added, kept within the smallest and the largest pixel of x; of one shape.
    pub fn noisy(x: &Tensor, noise: &Tensor) -> Tensor {
        (x + noise).clamp_tensor(Some(x.min()), Some(x.max()))
    }

    /// |z - `z_noisy`| / |x - `x_noisy`| of each sample, [n]: how steep the network is from x to its noisy copy. Logits
    /// [n, K], images [n, ...].
    pub fn slopes(z: &Tensor, z_noisy: &Tensor, x: &Tensor, x_noisy: &Tensor) -> Tensor {
        // libtorch's norm has gradient 0 where it is 0.
        let norm = |difference: Tensor| difference.flatten(1, -1).norm_scalaropt_dim(2, [1_i64].as_slice(), false);
        let distances = no_grad(|| norm(x - x_noisy));
        let steepness = distances.reciprocal().masked_fill(&distances.eq(0.0), 0.0);
        norm(z - z_noisy) * steepness
    }

    /// The loss of one batch; `noise` gives each copy, from 1, its noise of deviation 1.
    #[must_use]
    pub fn step(network: &Network, batch: &Batch, noise: &dyn Fn(u32) -> Tensor, params: &Params) -> Step {
        let mode = params.batch_norm.into();
        let logits = network.forward(&batch.pixels, mode);
        let sums: Vec<Tensor> = (1..=params.noises)
            .map(|copy| {
                let x_noisy = noisy(&batch.pixels, &(noise(copy) * params.sigma));
                let z_noisy = no_grad(|| network.forward(&x_noisy, mode));
                slopes(&logits, &z_noisy, &batch.pixels, &x_noisy).sum(logits.kind())
            })
            .collect();
        Step { loss: Tensor::stack(&sums, 0).mean(logits.kind()), logits }
    }

    /// Trains all weights; gives the loss of each step.
    ///
    /// # Errors
    /// When a loss is NaN, or the run was asked to stop.
    pub fn unlearn(
        network: &Network,
        images: &Images,
        params: &Params,
        noise: &Noise<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f64>, StageError> {
        let tallies = fit(network, images, &params.recipe(), observer, |epoch, batch| {
            Ok(step(network, batch, &|copy| noise(epoch, batch, copy), params))
        })?;
        Ok(tallies.into_iter().flat_map(|tally| tally.losses).collect())
    }
}

#[cfg(all(test, feature = "torch"))]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::train::images::Batch;

    /// The noise of an epoch's `copy` of 500 images of 2x2 pixels in batches of `batch_size`, drawn alone or after
    /// that of the earlier epochs and copies.
    fn noise(seed: u64, epoch: u32, copy: u32, batch_size: i64, alone: bool) -> Vec<f64> {
        let params: Params = serde_json::from_value(serde_json::json!({"forget_class": 0, "seed": seed})).unwrap();
        let (noise, mut all) = (drawn_noise(&params), Vec::new());
        let first = |last: u32| if alone { last } else { 1 };
        for now in first(epoch)..=epoch {
            for start in (0..500).step_by(batch_size as usize) {
                let size = batch_size.min(500 - start);
                let zeros = |kind| Tensor::zeros([size], (kind, Device::Cpu));
                let pixels = Tensor::zeros([size, 1, 2, 2], (Kind::Double, Device::Cpu));
                let batch = Batch { pixels, labels: zeros(Kind::Int64), rows: zeros(Kind::Int64) };
                for other in first(copy)..=copy {
                    let drawn = noise(now, &batch, other);
                    assert_eq!(drawn.size(), [size, 1, 2, 2]);
                    if (now, other) == (epoch, copy) {
                        all.extend(Vec::<f64>::try_from(drawn.flatten(0, -1)).unwrap());
                    }
                }
            }
        }
        all
    }

    #[test]
    fn each_epoch_image_and_copy_has_noise_of_its_own_whatever_the_batches() {
        let first = noise(7, 1, 1, 128, true);
        assert_ne!(first[..4], first[4..8]);
        for (seed, epoch, copy) in [(8, 1, 1), (7, 2, 1), (7, 1, 2), (7, 2, 2)] {
            let other = noise(seed, epoch, copy, 128, true);
            assert_eq!(other, noise(seed, epoch, copy, 33, false));
            let product = first.iter().zip(&other).map(|(a, b)| a * b).sum::<f64>() / first.len() as f64;
            let square = other.iter().map(|b| b * b).sum::<f64>() / other.len() as f64;
            assert!(product.abs() < 0.1 && (square - 1.0).abs() < 0.15, "{product} {square}");
        }
    }
}
