//! `unlearn/boundary_shrink`: fine-tunes on the forget class with the labels that adversarial neighbours get.
//!
//! Chen, Gao, Liu, Peng, Wang, "Boundary Unlearning", CVPR 2023, with the attack of the PRU paper's baselines: for
//! each forget image x, projected gradient ascent (L-infinity) on the cross-entropy of the frozen original network gives
//! a neighbour x'; the label that the original gives x' becomes the target for x. It may still be the class itself: such
//! a failed attack is kept, as upstream does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/boundary_shrink`.
pub struct BoundaryShrink;

/// Settings of Boundary Shrink.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Passes over the forget data.
    #[serde(default = "params::ten_epochs")]
    pub epochs: u32,
    /// Samples a step.
    #[serde(default = "params::batches_of_128")]
    pub batch_size: u32,
    /// The step's rule.
    #[serde(default = "usual_optimizer")]
    pub optimizer: Optimizer,
    /// How far each pixel, in [0, 1], may be moved.
    #[serde(default = "usual_bound")]
    pub bound: f64,
    /// How far one iteration moves each pixel.
    #[serde(default = "usual_step")]
    pub step: f64,
    /// Iterations of the attack.
    #[serde(default = "usual_iterations")]
    pub iterations: u32,
    /// Begin at a random point within the bound instead of at the image.
    #[serde(default = "yes")]
    pub random_start: bool,
    /// Round the neighbour to multiples of 1/255.
    #[serde(default = "yes")]
    pub round: bool,
    /// Order of the samples.
    #[serde(default)]
    pub order: Order,
    /// Random changes of the images.
    #[serde(default)]
    pub augment: Augment,
    /// Per-channel normalisation; as in training. The attack works on pixels before it.
    #[serde(default)]
    pub normalise: Option<Normalise>,
    /// BatchNorm's statistics while training.
    #[serde(default)]
    pub batch_norm: BatchNorm,
    /// The arithmetic.
    #[serde(default)]
    pub precision: Precision,
    /// Decides the attack's start, the order and the augmentation.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

const fn usual_optimizer() -> Optimizer {
    Optimizer::new(5e-5, 0.0)
}

const fn usual_bound() -> f64 {
    0.1
}

const fn usual_step() -> f64 {
    8.0 / 255.0
}

const fn usual_iterations() -> u32 {
    5
}

const fn yes() -> bool {
    true
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

impl Stage for BoundaryShrink {
    type Params = Params;

    const NAME: &'static str = "unlearn/boundary_shrink";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Fine-tunes on the forget class with the labels of adversarial neighbours.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network that is to forget"), Port::data("data", Sees::Forget, "the forget data")];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_with(params.normalise.as_ref());
        params::fraction("bound", params.bound, &mut problems);
        params::fraction("step", params.step, &mut problems);
        params::at_least_one("iterations", params.iterations, &mut problems);
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let (network, images) = super::open(io, params.precision, params.normalise.as_ref(), params.forget_class)?;
        torch::unlearn(&network, &images, &params, &torch::drawn_start(&params), io)?;
        crate::train::session::save_network(io, &network)
    }
}

#[cfg(feature = "torch")]
pub use torch::{drawn_start, neighbours, unlearn};

#[cfg(feature = "torch")]
mod torch {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use rand::Rng;
    use rand_chacha::ChaCha20Rng;
    use tch::{Tensor, no_grad};

    use super::Params;
    use crate::model::network::{Mode, Network};
    use crate::stage::StageError;
    use crate::train::fit::{Observer, Step, fit};
    use crate::train::images::{Batch, Images};
    use crate::train::loss;

    /// Where the attack begins, relative to the images of a batch and within the bound: (epoch from 1, batch) to noise
    /// of the shape of the batch's pixels.
    pub type Start<'a> = dyn Fn(u32, &Batch) -> Tensor + 'a;

    /// Noise drawn uniformly within the bound, or none, as the params say.
    pub fn drawn_start(params: &Params) -> impl Fn(u32, &Batch) -> Tensor {
        let (recipe, bound, random) = (params.recipe(), params.bound, params.random_start);
        let streams: RefCell<BTreeMap<u32, ChaCha20Rng>> = RefCell::default();
        move |epoch, batch| {
            if !random {
                return batch.pixels.zeros_like();
            }
            let mut streams = streams.borrow_mut();
            let stream = streams.entry(epoch).or_insert_with(|| recipe.stream(&format!("attack/epoch-{epoch}")));
            let draw = || bound * (2.0 * stream.random::<f64>() - 1.0);
            let noise: Vec<f64> = std::iter::repeat_with(draw).take(batch.pixels.numel()).collect();
            Tensor::from_slice(&noise)
                .view(batch.pixels.size().as_slice())
                .to_kind(batch.pixels.kind())
                .to_device(batch.pixels.device())
        }
    }

    /// Adversarial neighbours of a batch: pixels, of the batch's shape, that the frozen network `original` is to take
    /// for another class. `noise` is where the attack begins, relative to the images.
    ///
    /// # Errors
    /// When no gradient can be computed.
    pub fn neighbours(
        original: &Network,
        batch: &Batch,
        noise: &Tensor,
        params: &Params,
    ) -> Result<Tensor, StageError> {
        let (lowest, highest) = (&batch.pixels - params.bound, &batch.pixels + params.bound);
        let mut neighbours = (&batch.pixels + noise).clamp(0.0, 1.0);
        for _ in 0..params.iterations {
            let at = neighbours.detach().set_requires_grad(true);
            let loss = loss::cross_entropy(&original.forward(&at, Mode::Eval), &batch.labels);
            let gradient = Tensor::f_run_backward(&[&loss], &[&at], false, false)
                .map_err(|e| StageError::failed(format!("computing the attack's gradient: {e}")))?;
            let moved = at.detach() + gradient[0].sign() * params.step;
            neighbours = moved.maximum(&lowest).minimum(&highest).clamp(0.0, 1.0);
        }
        Ok(if params.round { (neighbours * 255.0).round() / 255.0 } else { neighbours })
    }

    /// Trains all weights by cross-entropy with adversarial labels, drawn anew each epoch; gives the loss of each step.
    ///
    /// # Errors
    /// When a loss is NaN, or the run was asked to stop.
    pub fn unlearn(
        network: &Network,
        images: &Images,
        params: &Params,
        start: &Start<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f64>, StageError> {
        let original = network.frozen_copy();
        let tallies = fit(network, images, &params.recipe(), observer, |epoch, batch| {
            let neighbours = neighbours(&original, batch, &start(epoch, batch), params)?;
            let labels = no_grad(|| original.forward(&neighbours, Mode::Eval)).argmax(1, false);
            let logits = network.forward(&batch.pixels, params.batch_norm.into());
            Step::cross_entropy(logits, &labels)
        })?;
        Ok(tallies.into_iter().flat_map(|tally| tally.losses).collect())
    }
}
