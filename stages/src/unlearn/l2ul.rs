//! `unlearn/l2ul`: climbs the loss on the forget images and descends it on adversarial neighbours of them.
//!
//! Cha, Cho, Hwang, Lee, Moon, Lee, "Learning to unlearn" (L2UL), AAAI 2024, without its optional penalty on changes of
//! important weights, as compared with in shaaaaron/DELETE. With y' a wrong label drawn once a sample and x' the image that
//! the original network (frozen, eval mode) is led to take for y',
//!
//! loss = -CE(f(x), y) + weight CE(f(x'), y').
//!
//! x' comes from projected gradient descent in the Euclidean norm: x' <- x' - step g / |g|, with g the gradient of
//! CE(f0(x'), y') and 1e-12 added to |g|; then x' is drawn back to within `radius` of x and to pixels in [0, 1]. It begins
//! at x, as augmented, so without augmentation it is the same in every epoch. f(x) is in the mode of `batch_norm`, f(x')
//! after it and always in eval mode. The loss has no lower bound, so gradients are clipped and training stops once the
//! class is forgotten ([`super::ascent`]; this project's bounds). Needs forget data. The attack's defaults and `weight`
//! are those of that comparison (which begins at random and lets y' be the class itself); rate and epochs are those of
//! `unlearn/gradient_ascent`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ascent;
use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/l2ul`.
pub struct L2ul;

/// Settings of L2UL.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Passes over the forget data, at most.
    #[serde(default = "params::ten_epochs")]
    pub epochs: u32,
    /// Samples a step.
    #[serde(default = "params::batches_of_128")]
    pub batch_size: u32,
    /// The step's rule.
    #[serde(default = "usual_optimizer")]
    pub optimizer: Optimizer,
    /// Weight of the loss on adversarial neighbours, 0 or more.
    #[serde(default = "usual_weight")]
    pub weight: f64,
    /// How far from its image a neighbour may lie, in the Euclidean norm of all its pixels in [0, 1].
    #[serde(default = "usual_radius")]
    pub radius: f64,
    /// How far one iteration moves it.
    #[serde(default = "usual_step")]
    pub step: f64,
    /// Iterations of the attack.
    #[serde(default = "usual_iterations")]
    pub iterations: u32,
    /// The norm that the gradients of a step, taken together, are scaled down to; null: as they are.
    #[serde(default = "ascent::usual_clip_norm")]
    pub clip_norm: Option<f64>,
    /// Stops after the first epoch with an accuracy on the forget data (eval mode, unchanged images) below this; null:
    /// never.
    #[serde(default = "ascent::usual_stop_below")]
    pub stop_below: Option<f64>,
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
    /// Decides the wrong labels, the order and the augmentation.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

const fn usual_weight() -> f64 {
    0.1
}

const fn usual_radius() -> f64 {
    0.4
}

const fn usual_step() -> f64 {
    0.1
}

const fn usual_iterations() -> u32 {
    10
}

const fn usual_optimizer() -> Optimizer {
    Optimizer::new(1e-4, 0.0)
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

impl Stage for L2ul {
    type Params = Params;

    const NAME: &'static str = "unlearn/l2ul";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Climbs the loss on forget images and descends it on adversarial neighbours.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] =
        &[Port::one("model", "the network that is to forget"), Port::data("data", Sees::Forget, "the forget data")];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe().check_with(params.normalise.as_ref());
        params::not_negative("weight", params.weight, &mut problems);
        params::positive("radius", params.radius, &mut problems);
        params::positive("step", params.step, &mut problems);
        params::at_least_one("iterations", params.iterations, &mut problems);
        ascent::check(params.clip_norm, params.stop_below, &mut problems);
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let (network, images) = super::open(io, params.precision, params.normalise.as_ref(), params.forget_class)?;
        let labels = super::wrong_labels(images.labels(), network.architecture().classes, params.seed);
        torch::unlearn(&network, &images, &labels, &params, io)?;
        crate::train::session::save_network(io, &network)
    }
}

#[cfg(feature = "torch")]
pub use torch::{neighbours, step, unlearn};

#[cfg(feature = "torch")]
mod torch {
    use tch::Tensor;

    use super::Params;
    use crate::model::network::{Mode, Network};
    use crate::stage::StageError;
    use crate::train::fit::{Observer, Step, gradients};
    use crate::train::images::{Batch, Images};
    use crate::train::loss;
    use crate::unlearn::ascent::{Bounds, climb};

    /// Keeps quotients finite where a norm is 0.
    const TINY: f64 = 1e-12;

    /// The Euclidean norm of each sample, [n, 1, 1, 1].
    fn norms(x: &Tensor) -> Tensor {
        x.norm_scalaropt_dim(2, [1_i64, 2, 3].as_slice(), true)
    }

    /// Neighbours of a batch, pixels of the batch's shape, that the frozen network `original` is to take for `labels`, i64
    /// [n].
    ///
    /// # Errors
    /// When no gradient can be computed.
    pub fn neighbours(
        original: &Network,
        batch: &Batch,
        labels: &Tensor,
        params: &Params,
    ) -> Result<Tensor, StageError> {
        let x = &batch.pixels;
        let mut neighbours = x.shallow_clone();
        for _ in 0..params.iterations {
            let at = neighbours.detach().set_requires_grad(true);
            // The sum over the batch: each sample's gradient is its own.
            let loss = loss::cross_entropy(&original.forward(&at, Mode::Eval), labels) * labels.size()[0] as f64;
            let gradient = &gradients(&loss, std::slice::from_ref(&at))?[0];
            let moved = at.detach() - gradient / (norms(gradient) + TINY) * params.step;
            let change: Tensor = moved - x;
            let within: Tensor = params.radius / (norms(&change) + TINY);
            neighbours = (x + change * within.clamp_max(1.0)).clamp(0.0, 1.0);
        }
        Ok(neighbours)
    }

    /// The loss of one batch; `original` is the network before unlearning, `labels`, i64 [n], are wrong ones.
    ///
    /// # Errors
    /// When no gradient can be computed.
    pub fn step(
        network: &Network,
        original: &Network,
        batch: &Batch,
        labels: &Tensor,
        params: &Params,
    ) -> Result<Step, StageError> {
        let neighbours = neighbours(original, batch, labels, params)?;
        let logits = network.forward(&batch.pixels, params.batch_norm.into());
        let kept = loss::cross_entropy(&network.forward(&neighbours, Mode::Eval), labels);
        Ok(Step { loss: kept * params.weight - loss::cross_entropy(&logits, &batch.labels), logits })
    }

    /// Trains all weights; `labels` are wrong ones, one a sample. Gives the loss of each step.
    ///
    /// # Errors
    /// When a loss is NaN or infinite, or the run was asked to stop.
    pub fn unlearn(
        network: &Network,
        images: &Images,
        labels: &[i64],
        params: &Params,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f64>, StageError> {
        let (original, labels) = (network.frozen_copy(), images.per_sample(labels));
        let bounds = Bounds { clip_norm: params.clip_norm, stop_below: params.stop_below };
        climb(network, images, &params.recipe(), &bounds, params.forget_class, observer, |_, batch| {
            step(network, &original, batch, &labels.index_select(0, &batch.rows), params)
        })
    }
}
