//! `unlearn/unroll`: descends on the forget data first and then on the rest, and takes the first part back.
//!
//! Thudi, Deza, Chandrasekaran, Papernot, "Unrolling SGD", EuroS&P 2022, as the baselines of the PRU paper have it: plain
//! SGD without momentum or weight decay, one epoch from the original weights, all forget batches with their true labels,
//! then all remaining ones. G is the sum of the gradients of the forget steps, each taken before its step; last,
//!
//! theta <- theta + sigma G.
//!
//! BatchNorm's running statistics are not corrected. Needs forget and retain data. The defaults of `lr` and `sigma` are
//! those for MNIST with AllCNN of the public repository uqyqiu/Post-hoc-restoration, a follow-up of the PRU code; the PRU
//! paper states none. (The method's own code, cleverhans-lab/unrolling-sgd, has sigma = lr and the gradient of the first
//! step alone.)

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{OutputPort, Port, Sees, Stage, Tool};
use crate::train::params::{self, Augment, BatchNorm, Normalise, Optimizer, Order, Precision, Problem, Recipe};

/// The stage `unlearn/unroll`.
pub struct Unroll;

/// Settings of unrolling.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The class to be forgotten.
    pub forget_class: u32,
    /// Learning rate of both parts of the epoch.
    #[serde(default = "usual_lr")]
    pub lr: f64,
    /// How much of the forget gradients is added at the end; `lr` would undo the forget steps to first order.
    #[serde(default = "usual_sigma")]
    pub sigma: f64,
    /// Samples a step.
    #[serde(default = "params::batches_of_128")]
    pub batch_size: u32,
    /// Samples a forget step; as `batch_size` when left out.
    #[serde(default)]
    pub forget_batch_size: Option<u32>,
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
    /// Decides the order and the augmentation.
    #[serde(default = "params::usual_seed")]
    pub seed: u64,
}

const fn usual_lr() -> f64 {
    0.25
}

const fn usual_sigma() -> f64 {
    0.05
}

impl Params {
    /// What is done around the loss in steps of `batch_size` samples.
    fn recipe(&self, batch_size: u32) -> Recipe {
        Recipe {
            epochs: 1,
            batch_size,
            optimizer: plain(self.lr),
            momentum_reset: false,
            order: self.order,
            augment: self.augment.clone(),
            batch_norm: self.batch_norm,
            seed: self.seed,
            purpose: "unlearn/",
        }
    }
}

/// Neither momentum nor weight decay.
pub(super) const fn plain(lr: f64) -> Optimizer {
    Optimizer { lr, momentum: 0.0, weight_decay: 0.0, nesterov: false }
}

impl Stage for Unroll {
    type Params = Params;

    const NAME: &'static str = "unlearn/unroll";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Descends on the forget data, then on the rest, and takes the first part back.";
    const TOOLCHAIN: &'static [Tool] = &[Tool::Libtorch];
    const INPUTS: &'static [Port] = &[
        Port::one("model", "the network that is to forget"),
        Port::data("data", Sees::Both, "the forget data and the remaining ones"),
    ];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::file("model", "model.safetensors", "the network after it")];

    fn check(params: &Params) -> Vec<Problem> {
        let mut problems = params.recipe(params.batch_size).check_passes();
        params::positive("lr", params.lr, &mut problems);
        params::positive("sigma", params.sigma, &mut problems);
        if let Some(batch_size) = params.forget_batch_size {
            params::at_least_one("forget_batch_size", batch_size, &mut problems);
        }
        params::check_normalise(params.normalise.as_ref(), &mut problems);
        problems
    }

    fn forget_class(params: &Params) -> Option<u32> {
        Some(params.forget_class)
    }

    #[cfg(feature = "torch")]
    fn run(params: Params, io: &mut crate::io::StageIo) -> Result<(), crate::StageError> {
        let (network, forget, retain) =
            super::open_both(io, params.precision, params.normalise.as_ref(), params.forget_class)?;
        torch::unlearn(&network, &forget, &retain, &params, io)?;
        crate::train::session::save_network(io, &network)
    }
}

#[cfg(feature = "torch")]
pub use torch::unlearn;
#[cfg(feature = "torch")]
pub(super) use torch::unrolled;

#[cfg(feature = "torch")]
mod torch {
    use tch::no_grad;

    use super::Params;
    use crate::model::network::{Network, Part};
    use crate::stage::StageError;
    use crate::train::fit::{Observer, Step, pass, timed};
    use crate::train::images::Images;
    use crate::train::params::Recipe;
    use crate::train::sgd::Sgd;

    /// Unlearns; gives the loss of each step, those of the forget data first.
    ///
    /// # Errors
    /// When a loss is NaN, or the run was asked to stop.
    pub fn unlearn(
        network: &Network,
        forget: &Images,
        retain: &Images,
        params: &Params,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f64>, StageError> {
        let forget_recipe = params.recipe(params.forget_batch_size.unwrap_or(params.batch_size));
        let recipe = params.recipe(params.batch_size);
        unrolled(network, (forget, &forget_recipe), Some((retain, &recipe)), params.sigma, observer)
    }

    /// One pass over the forget data, one over the rest where there is one, and the correction.
    pub(crate) fn unrolled(
        network: &Network,
        (forget, recipe): (&Images, &Recipe),
        rest: Option<(&Images, &Recipe)>,
        sigma: f64,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f64>, StageError> {
        timed(observer, |observer| {
            let mut sgd = Sgd::new(network.train_only(Part::All), &recipe.optimizer).summing();
            let mut descend = |images: &Images, recipe: &Recipe, pass_name: &str, sgd: &mut Sgd| {
                pass(1, images.batches(recipe, pass_name), sgd, &mut *observer, |batch| {
                    let logits = network.forward(&batch.pixels, recipe.batch_norm.into());
                    Step::cross_entropy(logits, &batch.labels)
                })
            };
            let mut tally = descend(forget, recipe, "epoch-1/pass-0", &mut sgd)?;
            let sum = sgd.take_sum();
            if let Some((retain, recipe)) = rest {
                tally = descend(retain, recipe, "epoch-1/pass-1", &mut sgd)?.after(tally);
            }
            no_grad(|| {
                for (parameter, gradient) in network.train_only(Part::All).iter_mut().zip(&sum) {
                    let _ = parameter.g_add_(&(gradient * sigma));
                }
            });
            observer.epoch(1, 1, &tally);
            Ok(tally.losses)
        })
    }
}
